package node

import (
	"fmt"
	"strconv"
)

// seed wants names that k3s and the API take, and all of it where a cluster is
// created: nobody else's would be looked at.
func (v *validator) seed(k *K3s) {
	if !k.Init && (len(k.Seed.Manifests) > 0 || len(k.Seed.Secrets) > 0) {
		v.refuse("k3s.seed", "is for the server that creates the cluster (k3s: init: true)")
	}
	for _, name := range sortedKeys(k.Seed.Manifests) {
		v.want("k3s.seed.manifests."+name, checkDNSLabel(name))
	}
	for i, s := range k.Seed.Secrets {
		at := "k3s.seed.secrets." + strconv.Itoa(i)
		v.want(at+".namespace", checkDNSLabel(s.Namespace))
		v.want(at+".name", checkDNSLabel(s.Name))
		if len(s.Data) == 0 {
			v.refuse(at+".data", "is missing: a secret without anything in it")
		}
	}
}

// checkDNSLabel judges what Kubernetes takes for most names (RFC 1123). k3s cuts
// an addon's at its first dot, where two could meet.
func checkDNSLabel(name string) error {
	if !dnsLabel.MatchString(name) {
		return fmt.Errorf("want a name of small letters, digits and hyphens, at most 63")
	}
	return nil
}
