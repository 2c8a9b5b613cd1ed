package seed

import (
	"slices"
	"strconv"
	"strings"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/firstboot/secret"
)

const systemSpace = "kube-system" // of k3s' own

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
// number, at every start. Equal bounds are kept without a metric. That manifest spreads
// pods over nodes and knows no zones: where both are at one site, the doctor says which
// to delete.
func scaler() object {
	return object{"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": object{"name": "coredns", "namespace": systemSpace}, "spec": object{
		"scaleTargetRef": object{"apiVersion": "apps/v1", "kind": "Deployment", "name": "coredns"},
		"minReplicas":    2, "maxReplicas": 2,
	}}
}

// traefik adds to the values of k3s' own chart. It gives a request a minute to come
// in, by default, which cuts the upload of a large file off.
//
// Its second pod waits for a second site: what may be put anywhere lands beside the
// first while that is the only one, and nothing moves it later. While a site is lost
// one is enough, as every node leads to it. Each revision is spread by itself
// (matchLabelKeys), else one that takes the other's place ends up at one site.
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
    whenUnsatisfiable: DoNotSchedule
    minDomains: 2
    nodeTaintsPolicy: Honor
    labelSelector: {matchLabels: {app.kubernetes.io/name: traefik}}
    matchLabelKeys: [pod-template-hash]
`
	}
	return object{"apiVersion": "helm.cattle.io/v1", "kind": "HelmChartConfig", "metadata": object{"name": Traefik, "namespace": systemSpace}, "spec": object{
		"valuesContent": values,
	}}
}

// EtcdBackup is where snapshots of etcd go.
type EtcdBackup struct {
	*node.S3
	// Folder in the bucket, below which each cluster that is made has its own.
	Folder string
	// Keep is how many stay there, of all servers together.
	Keep int
}

// etcdSecret has the names of k3s' flags (docs.k3s.io, "etcd-snapshot", S3
// Configuration Secret Support): so no key is in a file. An endpoint has no scheme
// there. The number to keep is a flag, too, since 1.34, but k3s 1.34 and 1.35 ignore
// the Secret of who sets it as one; without it they keep five of all servers together,
// which is a day.
func etcdSecret(b *EtcdBackup) node.Secret {
	scheme, host, _ := strings.Cut(strings.TrimSuffix(b.Endpoint, "/"), "://")
	data := map[string]secret.String{
		"etcd-s3-endpoint": secret.String(host), "etcd-s3-region": secret.String(b.Region), "etcd-s3-bucket": secret.String(b.Bucket),
		"etcd-s3-access-key": secret.String(b.AccessKey), "etcd-s3-secret-key": b.SecretKey,
		"etcd-s3-folder": secret.String(b.Folder), "etcd-s3-retention": secret.String(strconv.Itoa(b.Keep)),
	}
	if scheme == "http" {
		data["etcd-s3-insecure"] = "true"
	}
	return node.Secret{Namespace: systemSpace, Name: contract.EtcdSecret, Data: data}
}
