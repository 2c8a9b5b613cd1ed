package seed

import (
	"slices"
	"strings"

	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/firstboot/secret"
)

const systemSpace = "kube-system" // of k3s' own

// EtcdSecret is where k3s finds the bucket for snapshots of etcd, by its flag
// etcd-s3-config-secret: no key is in a file.
const EtcdSecret = "k3s-etcd-snapshot-s3-config"

// Doubled are those of k3s' own add-ons that a cluster of several sites runs at
// two of them.
var Doubled = []string{"coredns", Traefik}

// Traefik is k3s' add-on that lets requests in.
const Traefik = "traefik"

func (b *builder) addons(in Input) {
	if slices.Contains(in.Twice, "coredns") {
		b.file("coredns-twice", scaler())
	}
	if in.Traefik {
		b.file(Traefik, traefik(slices.Contains(in.Twice, Traefik)))
	}
}

// scaler keeps two pods of CoreDNS: k3s applies its own manifest, which gives no
// number, at every start. Equal bounds are kept without a metric. The scheduler
// puts pods of one Deployment into several zones where it can.
func scaler() object {
	return object{"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": object{"name": "coredns", "namespace": systemSpace}, "spec": object{
		"scaleTargetRef": object{"apiVersion": "apps/v1", "kind": "Deployment", "name": "coredns"},
		"minReplicas":    2, "maxReplicas": 2,
	}}
}

// traefik adds to the values of k3s' own chart. It gives a request a minute to come
// in, by default, which cuts the upload of a large file off.
func traefik(twice bool) object {
	values := `ports:
  web: {transport: {respondingTimeouts: {readTimeout: 1h}}}
  websecure: {transport: {respondingTimeouts: {readTimeout: 1h}}}
`
	if twice {
		values += `deployment: {replicas: 2}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: topology.kubernetes.io/zone
    whenUnsatisfiable: ScheduleAnyway
    labelSelector: {matchLabels: {app.kubernetes.io/name: traefik}}
`
	}
	return object{"apiVersion": "helm.cattle.io/v1", "kind": "HelmChartConfig", "metadata": object{"name": Traefik, "namespace": systemSpace}, "spec": object{
		"valuesContent": values,
	}}
}

// etcdSecret has the names of k3s' flags (docs.k3s.io, "etcd-snapshot", S3
// Configuration Secret Support). An endpoint has no scheme there.
func etcdSecret(s *node.S3) node.Secret {
	scheme, host, _ := strings.Cut(strings.TrimSuffix(s.Endpoint, "/"), "://")
	data := map[string]secret.String{
		"etcd-s3-endpoint": secret.String(host), "etcd-s3-region": secret.String(s.Region), "etcd-s3-bucket": secret.String(s.Bucket),
		"etcd-s3-access-key": secret.String(s.AccessKey), "etcd-s3-secret-key": s.SecretKey,
	}
	if scheme == "http" {
		data["etcd-s3-insecure"] = "true"
	}
	if folder := strings.Trim(s.Prefix, "/"); folder != "" {
		data["etcd-s3-folder"] = secret.String(folder)
	}
	return node.Secret{Namespace: systemSpace, Name: EtcdSecret, Data: data}
}
