// Package k3sflags knows the flags of k3s, which are the settings of its config.yaml, and the
// values that each of them takes.
//
// It judges what a person has written, at home. A node does not use it: its k3s may be newer than
// these lists, and itself refuses what it does not accept. k3s as a server ignores an unknown
// setting, with a line in a log that nobody reads: secret-encryption, misspelt for
// secrets-encryption, would leave a cluster unencrypted for ever. As an agent it exits.
package k3sflags

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/nearest"
)

// Version is the version of k3s that the lists are made from.
const Version = "v1.36"

// The long names of the flags of "k3s server" and "k3s agent" (docs.k3s.io/cli/server and /agent),
// and the undocumented ones.
var (
	agent = strings.Fields(`config debug v vmodule log alsologtostderr data-dir token token-file server node-name with-node-id
		node-label node-taint image-credential-provider-bin-dir image-credential-provider-config selinux
		lb-server-port protect-kernel-defaults enable-pprof rootless prefer-bundled-bin
		node-ip bind-address node-external-ip node-internal-dns node-external-dns resolv-conf flannel-iface
		flannel-conf flannel-cni-conf vpn-auth vpn-auth-file kubelet-arg kube-proxy-arg container-runtime-endpoint
		default-runtime disable-default-registry-endpoint disable-apiserver-lb image-service-endpoint
		nonroot-devices pause-image private-registry snapshotter airgap-extra-registry docker`)
	server = append(strings.Fields(`https-listen-port supervisor-port apiserver-port apiserver-bind-address
		advertise-address advertise-port tls-san tls-san-security cluster-cidr service-cidr
		service-node-port-range cluster-dns cluster-domain flannel-backend flannel-ipv6-masq flannel-external-ip
		egress-selector-mode servicelb-namespace write-kubeconfig write-kubeconfig-mode write-kubeconfig-group
		helm-job-image agent-token agent-token-file cluster-init cluster-reset cluster-reset-restore-path
		kube-apiserver-arg etcd-arg kube-controller-manager-arg kube-scheduler-arg kube-cloud-controller-manager-arg
		kine-tls datastore-endpoint datastore-cafile datastore-certfile datastore-keyfile etcd-expose-metrics
		etcd-disable-snapshots etcd-snapshot-name etcd-snapshot-schedule-cron etcd-snapshot-retention
		etcd-snapshot-reconcile-interval etcd-snapshot-dir etcd-snapshot-compress etcd-s3 etcd-s3-endpoint etcd-s3-endpoint-ca
		etcd-s3-skip-ssl-verify etcd-s3-access-key etcd-s3-secret-key etcd-s3-session-token etcd-s3-bucket
		etcd-s3-bucket-lookup-type etcd-s3-region etcd-s3-folder etcd-s3-proxy etcd-s3-config-secret
		etcd-s3-insecure etcd-s3-timeout etcd-s3-retention default-local-storage-path disable disable-scheduler
		disable-cloud-controller disable-kube-proxy disable-network-policy disable-helm-controller
		disable-apiserver disable-controller-manager disable-etcd embedded-registry supervisor-metrics
		secrets-encryption secrets-encryption-provider system-default-registry helm-controller-arg
		kube-controller-arg kube-cloud-controller-arg disable-agent`), agent...)
)

// repeatable are the flags that take a list.
var repeatable = strings.Fields(`node-label node-taint kubelet-arg kube-proxy-arg tls-san node-ip node-external-ip disable
	cluster-cidr service-cidr cluster-dns kube-apiserver-arg etcd-arg kube-controller-manager-arg
	kube-scheduler-arg kube-cloud-controller-manager-arg kube-controller-arg kube-cloud-controller-arg helm-controller-arg airgap-extra-registry node-internal-dns node-external-dns`)

// judges check the flags whose values k3s parses at start, and exits if it cannot. All other values
// are text to k3s.
var judges = map[string]func(string) error{
	"cluster-cidr": networks, "service-cidr": networks, "cluster-dns": addresses, "etcd-s3-timeout": duration,
	"flannel-backend":      one("none", "vxlan", "host-gw", "wireguard-native"),
	"egress-selector-mode": one("agent", "cluster", "pod", "disabled"),

	"secrets-encryption-provider": one("aescbc", "secretbox"),
	"etcd-s3-bucket-lookup-type":  one("auto", "dns", "path"),

	"etcd-snapshot-reconcile-interval": duration,
}

func init() {
	for _, name := range strings.Fields(`debug alsologtostderr with-node-id selinux protect-kernel-defaults enable-pprof rootless
		prefer-bundled-bin disable-default-registry-endpoint disable-apiserver-lb nonroot-devices docker tls-san-security
		flannel-ipv6-masq flannel-external-ip cluster-init cluster-reset kine-tls etcd-expose-metrics etcd-disable-snapshots
		etcd-snapshot-compress etcd-s3 etcd-s3-skip-ssl-verify etcd-s3-insecure disable-scheduler disable-cloud-controller
		disable-kube-proxy disable-network-policy disable-helm-controller disable-apiserver disable-controller-manager
		disable-etcd embedded-registry supervisor-metrics secrets-encryption disable-agent`) {
		judges[name] = truth
	}
	for _, name := range strings.Fields(`v https-listen-port supervisor-port apiserver-port advertise-port lb-server-port
		etcd-snapshot-retention etcd-s3-retention`) {
		judges[name] = number
	}
}

// Of returns the flags of "k3s server" or of "k3s agent".
func Of(isAgent bool) []string {
	if isAgent {
		return agent
	}
	return server
}

// Repeatable reports whether a flag takes a list.
func Repeatable(name string) bool { return slices.Contains(repeatable, name) }

// Check returns an error if k3s would refuse or ignore a setting. The error does not quote the
// value, which may be a secret. A name may end in +, which adds the value to those of k3s' other
// files (docs.k3s.io/installation/configuration).
func Check(isAgent bool, name string, value any) error {
	name = strings.TrimSuffix(name, "+")
	if !slices.Contains(Of(isAgent), name) {
		return unknown(name, isAgent)
	}
	list, isList := value.([]any)
	if !isList {
		list = []any{value}
	}
	if len(list) > 1 && !Repeatable(name) {
		return errors.New("takes one value, and no list")
	}
	for _, v := range list {
		if err := check(name, v); err != nil {
			return err
		}
	}
	return nil
}

func check(name string, value any) error {
	switch value.(type) {
	case nil:
		return errors.New("is empty: write a value, or leave it out")
	case map[string]any, []any:
		if strings.HasSuffix(name, "-arg") {
			return errors.New("want NAME=VALUE, or a list of such")
		}
		return errors.New("want text")
	}
	if judge := judges[name]; judge != nil {
		return judge(fmt.Sprint(value))
	}
	return nil
}

func unknown(name string, isAgent bool) error {
	if isAgent && slices.Contains(server, name) {
		return errors.New("is for servers: k3s on an agent does not start with it")
	}
	const newer = `; one that only a newer k3s has goes into a file on the node (files: path: /etc/rancher/k3s/config.yaml.d/own.yaml)`
	if near := nearest.Name(name, Of(isAgent)); near != "" {
		return fmt.Errorf("is no flag of k3s %s (did you mean %q?)%s", Version, near, newer)
	}
	return fmt.Errorf("is no flag of k3s %s, as docs.k3s.io lists them%s", Version, newer)
}

func truth(v string) error {
	if _, err := strconv.ParseBool(v); err != nil {
		return errors.New("want true or false")
	}
	return nil
}

func number(v string) error {
	if _, err := strconv.Atoi(v); err != nil {
		return errors.New("want a whole number")
	}
	return nil
}

func duration(v string) error {
	if _, err := time.ParseDuration(v); err != nil {
		return errors.New("want a duration such as 90s or 5m")
	}
	return nil
}

// networks accepts a list in one text with commas, as k3s does (docs.k3s.io).
func networks(v string) error {
	for part := range strings.SplitSeq(v, ",") {
		if _, err := netip.ParsePrefix(strings.TrimSpace(part)); err != nil {
			return errors.New("want a network with its prefix length, like 172.20.0.0/16")
		}
	}
	return nil
}

func addresses(v string) error {
	for part := range strings.SplitSeq(v, ",") {
		if _, err := netip.ParseAddr(strings.TrimSpace(part)); err != nil {
			return errors.New("want an IP address, like 172.21.0.10")
		}
	}
	return nil
}

func one(of ...string) func(string) error {
	return func(v string) error {
		if !slices.Contains(of, v) {
			return fmt.Errorf("want one of %s", strings.Join(of, ", "))
		}
		return nil
	}
}
