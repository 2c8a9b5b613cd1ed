package k3sflags

import (
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

// TestCheck: what k3s would refuse or ignore is refused at home, and what it accepts is not,
// however it is written.
func TestCheck(t *testing.T) {
	for _, c := range []struct{ setting, server, agent string }{
		{"secrets-encryption: true", "", "is for servers"},
		{"secrets-encryption: [true]", "", "is for servers"},
		{"secrets-encryption: 'false'", "", "is for servers"},
		{"secret-encryption: true", `did you mean "secrets-encryption"?`, "is no flag of k3s"},
		{"secrets-encryption: yes please", "want true or false", "is for servers"},
		{"secrets-encryption: yes", "want true or false", "is for servers"}, // text in YAML 1.2, and to k3s' flags
		{"cluster-cidr: 10.42.0.0", "want a network", "is for servers"},
		{"cluster-cidr: 10.42.0.0/16", "", "is for servers"},
		{"cluster-cidr: '10.42.0.0/16,fd00::/56'", "", "is for servers"},
		{"cluster-cidr: [10.42.0.0/16, fd00::/56]", "", "is for servers"},
		{"service-cidr: [10.43.0.0/16, x]", "want a network", "is for servers"},
		{"cluster-dns: 10.43.0.0/16", "want an IP address", "is for servers"},
		{"flannel-backend: bogus", "want one of none, vxlan", "is for servers"},
		{"flannel-backend: host-gw", "", "is for servers"},
		{"flannel-backend: [host-gw, vxlan]", "takes one value", "is for servers"},
		{"etcd-snapshot-retention: many", "want a whole number", "is for servers"},
		{"etcd-snapshot-retention: 28", "", "is for servers"},
		{"etcd-s3-timeout: 5m", "", "is for servers"},
		{"etcd-s3-timeout: 5", "want a duration", "is for servers"},
		{"disable: traefik", "", "is for servers"},
		{"etcd-arg: [snapshot-count=1]", "", "is for servers"},
		{"kubelet-arg: max-pods=50", "", ""},
		{"kubelet-arg: [max-pods=50, v=2]", "", ""},
		{"kubelet-arg+: [max-pods=50, v=2]", "", ""},
		{"kubelet-arg+: {max-pods: 50}", "want NAME=VALUE", "want NAME=VALUE"},
		{"kubelet-args+: v=2", `did you mean "kubelet-arg"?`, `did you mean "kubelet-arg"?`},
		{"kubelet-arg++: v=2", "is no flag of k3s", "is no flag of k3s"},
		{"tls-san+: a.example.net", "", "is for servers"},
		{"etcd-snapshot-reconcile-interval: 10m", "", "is for servers"},
		{"etcd-snapshot-reconcile-interval: 10", "want a duration", "is for servers"},
		{"helm-controller-arg: [a=b, c=d]", "", "is for servers"},
		{"kube-controller-arg: [a=b, c=d]", "", "is for servers"},
		{"kube-cloud-controller-arg: [a=b, c=d]", "", "is for servers"},
		{"disable-agent: true", "", "is for servers"},
		{"disable-agent: 1.5", "want true or false", "is for servers"},
		{"kubelet-arg: {max-pods: 50}", "want NAME=VALUE", "want NAME=VALUE"},
		{"kubelet-arg: [max-pods: 50]", "want NAME=VALUE", "want NAME=VALUE"},
		{"resolv-conf: {a: b}", "want text", "want text"},
		{"resolv-conf:", "is empty", "is empty"},
		{"bogus: verysecret", "config.yaml.d", "config.yaml.d"},
	} {
		var setting map[string]any
		if err := yaml.Unmarshal([]byte(c.setting), &setting); err != nil {
			t.Fatal(err)
		}
		for name, value := range setting {
			for isAgent, want := range map[bool]string{false: c.server, true: c.agent} {
				err := Check(isAgent, name, value)
				if (err == nil) != (want == "") || err != nil && (!strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "verysecret")) {
					t.Errorf("%s, agent %v: %v, want %q", c.setting, isAgent, err, want)
				}
			}
		}
	}
}

// TestListsAgree: every flag in the lists about values is in the list of flags.
func TestListsAgree(t *testing.T) {
	names := slices.Clone(repeatable)
	for name := range judges {
		names = append(names, name)
	}
	for _, name := range names {
		if !slices.Contains(server, name) {
			t.Errorf("there is no flag %s", name)
		}
	}
}
