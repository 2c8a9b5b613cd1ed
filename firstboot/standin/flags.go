package main

import "strings"

// The long names of the flags of "k3s server" and "k3s agent" (v1.36,
// docs.k3s.io/cli/server and /agent). A key of config.yaml is one of these or
// a fault.
var (
	agentFlags = words(`config debug v vmodule log alsologtostderr data-dir token token-file server node-name with-node-id
		node-label node-taint image-credential-provider-bin-dir image-credential-provider-config selinux
		lb-server-port protect-kernel-defaults enable-pprof rootless prefer-bundled-bin
		node-ip bind-address node-external-ip node-internal-dns node-external-dns resolv-conf flannel-iface
		flannel-conf flannel-cni-conf vpn-auth vpn-auth-file kubelet-arg kube-proxy-arg container-runtime-endpoint
		default-runtime disable-default-registry-endpoint disable-apiserver-lb image-service-endpoint
		nonroot-devices pause-image private-registry snapshotter airgap-extra-registry docker`)
	serverFlags = append(words(`https-listen-port supervisor-port apiserver-port apiserver-bind-address
		advertise-address advertise-port tls-san tls-san-security cluster-cidr service-cidr
		service-node-port-range cluster-dns cluster-domain flannel-backend flannel-ipv6-masq flannel-external-ip
		egress-selector-mode servicelb-namespace write-kubeconfig write-kubeconfig-mode write-kubeconfig-group
		helm-job-image agent-token agent-token-file cluster-init cluster-reset cluster-reset-restore-path
		kube-apiserver-arg etcd-arg kube-controller-manager-arg kube-scheduler-arg kube-cloud-controller-manager-arg
		kine-tls datastore-endpoint datastore-cafile datastore-certfile datastore-keyfile etcd-expose-metrics
		etcd-disable-snapshots etcd-snapshot-name etcd-snapshot-schedule-cron etcd-snapshot-retention
		etcd-snapshot-dir etcd-snapshot-compress etcd-s3 etcd-s3-endpoint etcd-s3-endpoint-ca
		etcd-s3-skip-ssl-verify etcd-s3-access-key etcd-s3-secret-key etcd-s3-session-token etcd-s3-bucket
		etcd-s3-bucket-lookup-type etcd-s3-region etcd-s3-folder etcd-s3-proxy etcd-s3-config-secret
		etcd-s3-insecure etcd-s3-timeout etcd-s3-retention default-local-storage-path disable disable-scheduler
		disable-cloud-controller disable-kube-proxy disable-network-policy disable-helm-controller
		disable-apiserver disable-controller-manager disable-etcd embedded-registry supervisor-metrics
		secrets-encryption secrets-encryption-provider system-default-registry`), agentFlags...)
)

// repeatable are the flags that take a list.
var repeatable = words(`node-label node-taint kubelet-arg kube-proxy-arg tls-san node-ip node-external-ip disable
	cluster-cidr service-cidr cluster-dns kube-apiserver-arg etcd-arg kube-controller-manager-arg
	kube-scheduler-arg kube-cloud-controller-manager-arg airgap-extra-registry node-internal-dns node-external-dns`)

func words(s string) []string { return strings.Fields(s) }
