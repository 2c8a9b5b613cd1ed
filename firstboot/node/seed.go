package node

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// seed requires names that k3s and the API accept. It refuses a seed on any node but the one that
// creates the cluster: nothing would read it.
func (v *validator) seed(k *K3s) {
	if !k.Init && (len(k.Seed.Manifests) > 0 || len(k.Seed.Secrets) > 0 || k.Seed.Restore != nil) {
		v.refuse("k3s.seed", "is for the server that creates the cluster (k3s: init: true)")
	}
	for _, name := range sortedKeys(k.Seed.Manifests) {
		v.want("k3s.seed.manifests."+name, checkDNSLabel(name))
	}
	v.restore(k.Seed)
	seen := map[string]bool{}
	for i, s := range k.Seed.Secrets {
		at := "k3s.seed.secrets." + strconv.Itoa(i) + "."
		problems := s.Problems()
		for _, field := range sortedKeys(problems) {
			v.refuse(at+field, "%s", problems[field])
		}
		if seen[s.String()] {
			v.refuse(at+"name", "%s is there twice", s)
		}
		seen[s.String()] = true
	}
}

// restore requires values that Kubernetes accepts for the object that requests the restore.
func (v *validator) restore(s Seed) {
	if s.Restore == nil {
		return
	}
	v.want("k3s.seed.restore.systemBackup", checkSubdomain(s.Restore.SystemBackup))
	for i, name := range s.Restore.Namespaces {
		v.want("k3s.seed.restore.namespaces."+strconv.Itoa(i), checkDNSLabel(name))
	}
	for _, claim := range sortedKeys(s.Restore.Claims) {
		at := "k3s.seed.restore.claims." + claim
		space, name, _ := strings.Cut(claim, "/")
		v.want(at, cmp.Or(checkDNSLabel(space), checkSubdomain(name)))
		if backup := s.Restore.Claims[claim]; backup != "" {
			v.want(at, checkSubdomain(backup))
		}
	}
	for _, name := range sortedKeys(s.Restore.Manifests) {
		v.want("k3s.seed.restore.manifests."+name, checkDNSLabel(name))
		if _, twice := s.Manifests[name]; twice {
			v.refuse("k3s.seed.restore.manifests."+name, "is among k3s.seed.manifests, too")
		}
	}
}

// String is NAMESPACE/NAME, without any of the secret's data.
func (s Secret) String() string { return s.Namespace + "/" + s.Name }

// secretKey is what Kubernetes accepts as a key of a Secret (apimachinery, IsConfigMapKey), which
// becomes a file's name where the Secret is mounted.
var secretKey = regexp.MustCompile(`^[-._a-zA-Z0-9]{1,253}$`)

// Problems returns what Kubernetes would refuse in the secret, by field.
func (s Secret) Problems() map[string]string {
	all := map[string]string{}
	if err := checkDNSLabel(s.Namespace); err != nil {
		all["namespace"] = err.Error()
	}
	if err := checkSubdomain(s.Name); err != nil {
		all["name"] = err.Error()
	}
	if len(s.Data) == 0 {
		all["data"] = "is missing: a secret without anything in it"
	}
	for _, key := range sortedKeys(s.Data) {
		if !secretKey.MatchString(key) || key == "." || strings.HasPrefix(key, "..") {
			all["data"] = fmt.Sprintf("want keys of letters, digits, hyphens, dots and underscores, as files are called, not %q", key)
		}
	}
	return all
}

// checkSubdomain accepts what Kubernetes accepts as the name of an object: DNS labels with dots
// between them (RFC 1123).
func checkSubdomain(name string) error {
	if len(name) > 253 || slices.ContainsFunc(strings.Split(name, "."), func(label string) bool { return !dnsLabel.MatchString(label) }) {
		return errors.New("want a name of small letters, digits, hyphens and dots, at most 253")
	}
	return nil
}

// checkDNSLabel accepts what Kubernetes accepts for most names (RFC 1123). A dot is not allowed,
// since k3s cuts an addon's name at its first dot, and two addons could end up with the same name.
func checkDNSLabel(name string) error {
	if !dnsLabel.MatchString(name) {
		return fmt.Errorf("want a name of small letters, digits and hyphens, at most 63")
	}
	return nil
}
