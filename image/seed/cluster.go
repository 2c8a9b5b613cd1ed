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

// Doubled are the add-ons of k3s that a cluster with several sites runs twice, at different
// sites.
var Doubled = []string{"coredns", Traefik}

// Traefik is k3s' ingress add-on.
const Traefik = "traefik"

func (b *builder) addons(in Input) {
	if slices.Contains(in.Twice, "coredns") {
		b.file("coredns-twice", scaler())
	}
	if in.Traefik {
		b.file(Traefik, traefik(slices.Contains(in.Twice, Traefik)))
	}
}

// scaler keeps two pods of CoreDNS by a HorizontalPodAutoscaler. A replica count in k3s' own
// manifest would not last: k3s applies that manifest, which has no count, at every start.
// Equal bounds work without metrics. k3s' manifest spreads the pods over nodes, but not over
// zones: if both are at one site, the doctor says which one to delete.
func scaler() object {
	return object{"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": object{"name": "coredns", "namespace": systemSpace}, "spec": object{
		"scaleTargetRef": object{"apiVersion": "apps/v1", "kind": "Deployment", "name": "coredns"},
		"minReplicas":    2, "maxReplicas": 2,
	}}
}

// traefik overrides values of k3s' own chart. The chart's default read timeout of one minute
// would cut off the upload of a large file.
//
// With twice, the second pod waits for a second site. If it could run anywhere, it would run
// beside the first while only one site is up, and nothing would move it later. While a site
// is lost one pod is enough, as every node forwards to it. Each revision is spread
// separately (matchLabelKeys): otherwise the pods of a new revision, placed around the old
// ones, could end up at one site.
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

// EtcdBackup is where etcd snapshots are stored.
type EtcdBackup struct {
	*node.S3
	// Folder in the bucket. Each cluster that is created has its own folder below it.
	Folder string
	// Keep is how many snapshots are kept there, of all servers together.
	Keep int
}

// etcdSecret uses the names of k3s' flags (docs.k3s.io, "etcd-snapshot", S3 Configuration
// Secret Support), so no file contains the key. The endpoint has no scheme there. The
// retention is in the Secret, too: since 1.34 there is also a flag for it, but k3s 1.34 and
// 1.35 ignore the Secret if that flag is set. Without a retention they keep five snapshots
// of all servers together, which is one day.
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
