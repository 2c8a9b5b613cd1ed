//go:build linux

package doctor_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot"
	"github.com/going-mobile/imagebuilder/firstboot/doctor"
)

// api is a cluster, by what it answers to the paths that contain a text.
type api map[string]string

func (a api) API(_ context.Context, conf, path string) ([]byte, error) {
	if conf != "/etc/rancher/k3s/k3s.yaml" {
		return nil, errors.New("not the administrator's")
	}
	for part, answer := range a {
		if !strings.Contains(path, part) {
			continue
		}
		if strings.HasPrefix(answer, "no ") {
			return nil, errors.New(answer)
		}
		return []byte(answer), nil
	}
	return nil, fmt.Errorf("%s: %w", path, firstboot.ErrNoObject)
}

func (a api) Etcd(context.Context, string) ([]byte, error) {
	if a["metrics"] == "" {
		return nil, errors.New("connection refused")
	}
	return []byte(a["metrics"]), nil
}

// network is an api as the doctor reaches it.
type network struct {
	firstboot.Net
	api
}

func (n network) API(ctx context.Context, conf, path string) ([]byte, error) {
	return n.api.API(ctx, conf, path)
}
func (n network) Etcd(ctx context.Context, path string) ([]byte, error) { return n.api.Etcd(ctx, path) }

type clock struct {
	firstboot.Clock
	now time.Time
}

func (c clock) Now() time.Time { return c.now }

// whole is a cluster of two sites with nothing to complain about, at noon.
func whole() api {
	return api{
		"/api/v1/nodes": `{"items":[
			{"metadata":{"name":"home-pi","labels":{"topology.kubernetes.io/zone":"home"}},"status":{"conditions":[{"type":"Ready","status":"True"}]}},
			{"metadata":{"name":"cabin-box","labels":{"topology.kubernetes.io/zone":"cabin"}},"status":{"conditions":[{"type":"Ready","status":"True"}]}}]}`,
		"/leases": `{"items":[
			{"metadata":{"name":"home-pi"},"spec":{"renewTime":"2026-11-29T11:59:55.123456Z"}},
			{"metadata":{"name":"cabin-box"},"spec":{"renewTime":"2026-11-29T12:00:01.000000Z"}}]}`,
		"/deployments": `{"items":[{"spec":{"replicas":2}}]}`,
		"kube-system/pods": `{"items":[
			{"metadata":{"name":"coredns-a"},"spec":{"nodeName":"home-pi"},"status":{"conditions":[{"type":"Ready","status":"True"}]}},
			{"metadata":{"name":"coredns-b"},"spec":{"nodeName":"cabin-box"},"status":{"conditions":[{"type":"Ready","status":"True"}]}}]}`,
		"status.phase%3DPending": `{"items":[{"metadata":{"name":"a"},"status":{"containerStatuses":[{"image":"docker.io/a:1","state":{"waiting":{"reason":"ContainerCreating"}}}]}}]}`,
		"3Dkube-system":          `{"items":[{"metadata":{"name":"kube-system","creationTimestamp":"2026-11-01T10:00:00Z"}}]}`,
		"3Dlonghorn-system":      `{"items":[{"metadata":{"name":"longhorn-system","creationTimestamp":"2026-11-02T10:00:00Z"}}]}`,
		"/etcdsnapshotfiles":     `{"items":[{"spec":{"s3":{}},"status":{"creationTime":"2026-11-29T00:00:00Z","readyToUse":true}},{"spec":{},"status":{"creationTime":"2026-11-20T00:00:00Z","readyToUse":true}}]}`,
		"longhorn-system/nodes":  `{"items":[{"metadata":{"name":"cabin-box"},"spec":{"disks":{"default":{"allowScheduling":true}}},"status":{"zone":"cabin","diskStatus":{"default":{"diskUUID":"6f1e","conditions":[{"type":"Schedulable","status":"True"},{"type":"Ready","status":"True","message":"record diskUUID doesn't match"}]}}}}]}`,
		"/helmcharts":            `{"items":[{"metadata":{"name":"traefik"},"status":{"conditions":[{"type":"JobCreated","status":"True"},{"type":"Failed","status":"False"}]}},{"metadata":{"name":"longhorn"},"spec":{"targetNamespace":"longhorn-system"}}]}`,
		"/volumes": `{"items":[{"metadata":{"name":"pvc-1","creationTimestamp":"2026-11-02T10:00:00Z"},"status":{"state":"attached","robustness":"healthy","currentImage":"engine:v2","lastBackupAt":"2026-11-29T02:23:00Z","kubernetesStatus":{"namespace":"nextcloud","pvcName":"data"}}},
			{"metadata":{"name":"pvc-2"},"status":{"robustness":"unknown","lastBackupAt":"","kubernetesStatus":{"namespace":"gone","pvcName":"data","pvStatus":"Released"}}},
			{"metadata":{"name":"pvc-3"},"status":{"robustness":"unknown","lastBackupAt":"","kubernetesStatus":{"pvName":"pvc-3","pvStatus":"Available"}}}]}`,
		"/systembackups": `{"items":[
			{"metadata":{"name":"system-n-1","creationTimestamp":"2026-11-20T05:11:00Z"},"status":{"state":"Error","createdAt":null,"conditions":[{"type":"Error","message":"timeout uploading"}]}},
			{"metadata":{"name":"system-n-2","creationTimestamp":"2026-11-29T05:11:00Z"},"status":{"state":"Ready","createdAt":"2026-11-29T05:12:00Z"}}]}`,
		"/cronjobs": `{"items":[
			{"metadata":{"namespace":"nextcloud","name":"dump","creationTimestamp":"2026-11-02T10:00:00Z"},"spec":{"suspend":false},"status":{"lastScheduleTime":"2026-11-29T01:47:00Z","lastSuccessfulTime":"2026-11-29T01:47:20Z"}},
			{"metadata":{"namespace":"a","name":"weekly","creationTimestamp":"2026-11-02T10:00:00Z"},"status":{"lastScheduleTime":"2026-11-24T01:00:00Z","lastSuccessfulTime":"2026-11-24T01:01:00Z"}},
			{"metadata":{"namespace":"a","name":"suspended","creationTimestamp":"2026-11-02T10:00:00Z"},"spec":{"suspend":true},"status":{"lastScheduleTime":"2026-11-20T01:00:00Z"}},
			{"metadata":{"namespace":"a","name":"new","creationTimestamp":"2026-11-28T10:00:00Z"},"status":{"lastScheduleTime":"2026-11-29T01:00:00Z"}},
			{"metadata":{"namespace":"a","name":"monthly","creationTimestamp":"2026-11-02T10:00:00Z"},"status":{}}]}`,
		"/settings": `{"items":[{"metadata":{"name":"default-engine-image"},"value":"engine:v2"}]}`,
		"/orphans?labelSelector=longhornnode%3Dcabin-box": `{"items":[{},{}]}`,
		"/backuptargets": `{"items":[{"spec":{"backupTargetURL":"s3://volumes@eu/"},"status":{"available":true}}]}`,
		"metrics": `# HELP etcd_network_peer_round_trip_time_seconds Round-Trip-Time histogram between peers
etcd_network_peer_round_trip_time_seconds_bucket{To="a b",le="0.1"} 10
etcd_network_peer_round_trip_time_seconds_sum{To="a b"} 0.4
etcd_network_peer_round_trip_time_seconds_count{To="a b"} 10
etcd_disk_wal_fsync_duration_seconds_sum 1e-1
etcd_disk_wal_fsync_duration_seconds_count 100
`,
	}
}

// server is a healthy node with an administrator's kubeconfig, of such a cluster.
func server(t *testing.T, a api) firstboot.Host {
	root, h := healthy(t)
	write(t, root, "etc/rancher/k3s/k3s.yaml", "x")
	write(t, root, "etc/rancher/k3s/config.yaml", "etcd-s3: true\n")
	h.Net, h.Clock = network{api: a}, clock{now: time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)}
	return h
}

// TestAWholeCluster: there is nothing to report of it, nor of a small one, and a node
// that is not a server does not ask.
func TestAWholeCluster(t *testing.T) {
	for _, absent := range []string{"", "longhorn-system/nodes", "/etcdsnapshotfiles", "/helmcharts"} {
		a := whole()
		delete(a, absent)
		if absent == "longhorn-system/nodes" {
			delete(a, "/helmcharts")
		}
		found := doctor.Examine(context.Background(), server(t, a))
		for _, f := range found {
			if f.Verdict != doctor.OK {
				t.Errorf("without %q: %+v", absent, f)
			}
		}
		table := doctor.Table(found)
		if !strings.Contains(table, "clocks agree") || strings.Contains(table, "volumes are whole") == (absent == "longhorn-system/nodes") {
			t.Error(table)
		}
	}
	_, h := healthy(t)
	if table := doctor.Table(doctor.Examine(context.Background(), h)); strings.Contains(table, "Cluster\n") {
		t.Error("a node without an administrator's kubeconfig was asked for the cluster")
	}
}

// young is a whole cluster of this morning: nothing that is done by night was done yet.
func young() api {
	a := whole()
	for _, ns := range []string{"3Dkube-system", "3Dlonghorn-system"} {
		a[ns] = strings.NewReplacer("2026-11-01", "2026-11-29", "2026-11-02", "2026-11-29").Replace(a[ns])
	}
	a["/volumes"] = strings.NewReplacer("2026-11-02", "2026-11-29", "2026-11-29T02:23:00Z", "").Replace(a["/volumes"])
	a["/systembackups"], a["/etcdsnapshotfiles"] = `{"items":[]}`, `{"items":[]}`
	return a
}

// TestAYoungCluster is not told of what its first night brings, but of what was tried
// and failed. A volume of this morning is young in an old cluster, too, and so is
// Longhorn.
func TestAYoungCluster(t *testing.T) {
	failed := `{"items":[{"spec":{"s3":{}},"status":{"error":{"message":"403"}}}]}`
	old := whole()
	for _, what := range []string{"/volumes", "3Dlonghorn-system", "/systembackups"} {
		old[what] = young()[what]
	}
	tried := young()
	tried["/etcdsnapshotfiles"] = failed
	for _, c := range []struct {
		of   api
		want string
	}{{young(), ""}, {old, ""}, {tried, "etcd's newest snapshot: there is none in the bucket: 403"}} {
		told := ""
		for _, f := range doctor.Examine(context.Background(), server(t, c.of)) {
			if f.Verdict != doctor.OK {
				told += f.Check + ": " + f.Detail
			}
		}
		if told != c.want {
			t.Errorf("told %q, want %q", told, c.want)
		}
	}
}

// TestAnIllCluster is warned of, in words that name what is ill; no node is unfit
// because of another.
func TestAnIllCluster(t *testing.T) {
	for want, c := range map[string]struct{ at, from, to string }{
		"answers: no answer within 10s": {"/api/v1/nodes", "", "no answer within 10s"},
		"nodes have their site: without the label topology.kubernetes.io/zone: cabin-box": {"/api/v1/nodes", `"topology.kubernetes.io/zone":"cabin"`, ""},
		"nodes are Ready: not Ready: home-pi":                                             {"/api/v1/nodes", `"status":"True"`, `"status":"Unknown"`},
		"clocks agree: cabin-box is 2m0s ahead of this one":                               {"/leases", "12:00:01", "12:02:00"},
		"clocks agree: home-pi is 5m0s behind this one":                                   {"/leases", "11:59:55.123456", "11:55:00.000000"},
		"clocks agree: no leases":                                                         {"/leases", "", "no leases"},
		"CoreDNS has replicas: one alone":                                                 {"/deployments", "2", "1"},
		"CoreDNS is at two sites: both are at home, and no pod finds a name while that is gone: kubectl cordon home-pi; kubectl -n kube-system delete pod coredns-b; kubectl uncordon home-pi": {"kube-system/pods", "cabin-box", "home-pi"},
		"container images are there: pods wait for docker.io/a:1":                {"status.phase%3DPending", "ContainerCreating", "ImagePullBackOff"},
		"etcd's newest snapshot: is 36 hours old, in the bucket":                 {"/etcdsnapshotfiles", "2026-11-29", "2026-11-28"},
		"etcd's newest snapshot: there is none in the bucket":                    {"/etcdsnapshotfiles", `"s3":{}`, ""},
		"etcd's newest snapshot: there is none in the bucket: 403":               {"/etcdsnapshotfiles", `"readyToUse":true`, `"error":{"message":"403"}`},
		"CronJobs succeed: nextcloud/dump not for 58 hours: kubectl get jobs -A": {"/cronjobs", "2026-11-29T01:47:20Z", "2026-11-27T01:47:20Z"},
		"CronJobs succeed: a/new not for 98 hours":                               {"/cronjobs", "2026-11-28T10", "2026-11-25T10"},
		"CronJobs succeed: no list":                                              {"/cronjobs", "", "no list"},
		"charts are installed: longhorn is not there":                            {"longhorn-system/nodes", "", "gone"},
		"charts are installed: longhorn failed, and is not tried again":          {"/helmcharts", `"spec":{`, `"status":{"conditions":[{"type":"Failed","status":"True"}]},"spec":{`},
		"there are disks: no node has one":                                       {"longhorn-system/nodes", "true", "false"},
		"disks can be used: default on cabin-box: record diskUUID doesn't match": {"longhorn-system/nodes", `"Ready","status":"True"`, `"Ready","status":"False"`},
		"disks can be used: default on cabin-box: record diskUUID doesn't match. Connect the disk that it knows or, where that is lost with what only it had, have it forgotten (kubectl -n longhorn-system edit nodes.longhorn.io cabin-box): set its allowScheduling to false, save, delete its replicas (kubectl -n longhorn-system delete replicas.longhorn.io -l longhorndiskuuid=6f1e)": {"longhorn-system/nodes", `"Ready","status":"True"`, `"Ready","status":"False","reason":"DiskFilesystemChanged"`},
		"volumes have Longhorn's engine: they get engine:v2 one by one, where they are whole, and no newer Longhorn may come before: nextcloud/data has engine:v1":                                                                                                                                                                                                                            {"/volumes", "engine:v2", "engine:v1"},
		"volumes have Longhorn's engine: no answer": {"/settings", "", "no answer"},
		"disks can be used: default on cabin-box takes no more replicas: 10 % are free. 2 directories there belong to no volume any more: kubectl -n longhorn-system delete orphans.longhorn.io -l longhornnode=cabin-box": {"longhorn-system/nodes", `"Schedulable","status":"True"`, `"Schedulable","status":"False","message":"10 % are free "`},
		"volumes' newest backups: nextcloud/data is 57 hours old (it is not attached":     {"/volumes", `"state":"attached","robustness":"healthy","currentImage":"engine:v2","lastBackupAt":"2026-11-29`, `"state":"detached","lastBackupAt":"2026-11-27`},
		"volumes can be used: no replica is left of nextcloud/data":                       {"/volumes", "healthy", "faulted"},
		"volumes are whole: a replica is missing of nextcloud/data":                       {"/volumes", "healthy", "degraded"},
		"volumes' newest backups: nextcloud/data has none":                                {"/volumes", "2026-11-29T02:23:00Z", ""},
		"volumes' newest backups: nextcloud/data is 57 hours old":                         {"/volumes", "2026-11-29", "2026-11-27"},
		"the system's newest backup: there is none in the bucket":                         {"/systembackups", "", `{"items":[]}`},
		"the system's newest backup: is 54 hours old, in the bucket":                      {"/systembackups", "2026-11-29T05:12", "2026-11-27T05:12"},
		"the system's backups succeed: failed since the last good one: system-n-1 (timeo": {"/systembackups", "2026-11-20T05:11", "2026-11-29T05:13"},
		"volumes' bucket answers: Longhorn cannot reach s3://volumes@eu/: no such bucket": {"/backuptargets", `"available":true`, `"conditions":[{"message":"no such bucket"}]`},
		"peers are near: a round trip to a b takes 400ms":                                 {"metrics", "} 0.4", "} 4"},
		"its disk is quick: a write takes 300ms":                                          {"metrics", "1e-1", "3e+1"},
		"tells what it measured: connection refused":                                      {"metrics", "", ""},
	} {
		a := whole()
		switch {
		case c.to == "gone":
			delete(a, c.at)
		case c.from != "":
			changed := strings.Replace(a[c.at], c.from, c.to, 1)
			if changed == a[c.at] {
				t.Fatalf("no %s in %s", c.from, a[c.at])
			}
			a[c.at] = changed
		default:
			a[c.at] = c.to
		}
		var told []string
		found := doctor.Examine(context.Background(), server(t, a))
		for _, f := range found {
			if f.Verdict != doctor.OK {
				told = append(told, f.Check+": "+f.Detail)
			}
		}
		if len(told) != 1 || !strings.HasPrefix(told[0], want) || !doctor.Fit(found) {
			t.Errorf("told %q, want %q", told, want)
		}
	}
}

// TestCoreDNSStaysWhereItIs while no node of another site takes it, and until both of its
// pods are ready.
func TestCoreDNSStaysWhereItIs(t *testing.T) {
	for what, c := range map[string]struct{ at, from, to string }{
		"another site is away":    {"/api/v1/nodes", `"cabin"}},"status":{"conditions":[{"type":"Ready","status":"True"}]}`, `"cabin"}},"status":{}`},
		"a witness takes none":    {"/api/v1/nodes", `"cabin"}}`, `"cabin"}},"spec":{"taints":[{"key":"node-role.kubernetes.io/etcd","effect":"NoExecute"}]}`},
		"the other is on its way": {"kube-system/pods", `"coredns-b"},"spec":{"nodeName":"home-pi"},"status":{"conditions":[{"type":"Ready","status":"True"}]}`, `"coredns-b"},"spec":{"nodeName":"home-pi"},"status":{}`},
		"a server takes it":       {"/api/v1/nodes", `"cabin"}}`, `"cabin"}},"spec":{"taints":[{"key":"node-role.kubernetes.io/control-plane","effect":"NoSchedule"}]}`},
	} {
		a := whole()
		a["kube-system/pods"] = strings.Replace(a["kube-system/pods"], "cabin-box", "home-pi", 1)
		changed := strings.Replace(a[c.at], c.from, c.to, 1)
		if changed == a[c.at] {
			t.Fatalf("no %s in %s", c.from, a[c.at])
		}
		a[c.at] = changed
		told := strings.Contains(doctor.Table(doctor.Examine(t.Context(), server(t, a))), "both are at home")
		if want := what == "a server takes it"; told != want {
			t.Errorf("%s: told %v, want %v", what, told, want)
		}
	}
}

// TestACordonedNodeStaysSo: who moves CoreDNS puts no work onto it.
func TestACordonedNodeStaysSo(t *testing.T) {
	a := whole()
	a["kube-system/pods"] = strings.Replace(a["kube-system/pods"], "cabin-box", "home-pi", 1)
	a["/api/v1/nodes"] = strings.Replace(a["/api/v1/nodes"], `"home"}}`, `"home"}},"spec":{"taints":[{"key":"node.kubernetes.io/unschedulable","effect":"NoSchedule"}]}`, 1)
	if table := doctor.Table(doctor.Examine(t.Context(), server(t, a))); !strings.Contains(table, "while that is gone: kubectl -n kube-system delete pod coredns-b\n") {
		t.Error(table)
	}
}

// TestAbandonedPods: what nothing takes the place of is told of, with the command; what a
// Deployment has another of by then is not, nor what is on a node that is there.
func TestAbandonedPods(t *testing.T) {
	a := whole()
	a["/api/v1/nodes"] = strings.Replace(a["/api/v1/nodes"], `"status":"True"`, `"status":"Unknown"`, 1)
	for _, node := range []string{"home-pi", "cabin-box"} {
		a["spec.nodeName%3D"+node] = `{"items":[
			{"metadata":{"namespace":"argocd","name":"controller-0","deletionTimestamp":"2026-11-29T11:50:00Z","ownerReferences":[{"kind":"StatefulSet"}]}},
			{"metadata":{"namespace":"nextcloud","name":"dump-1-x","deletionTimestamp":"2026-11-29T11:50:00Z","ownerReferences":[{"kind":"Job"}]}},
			{"metadata":{"namespace":"nextcloud","name":"db-0","ownerReferences":[{"kind":"StatefulSet"}]}},
			{"metadata":{"namespace":"code-server","name":"code-1-x","deletionTimestamp":"2026-11-29T11:50:00Z","ownerReferences":[{"kind":"ReplicaSet"}]}},
			{"metadata":{"namespace":"a","name":"by-hand","deletionTimestamp":"2026-11-29T11:50:00Z"}}]}`
	}
	const want = "nothing takes the place of argocd/controller-0 of home-pi, nextcloud/dump-1-x of home-pi. Where that is off, and not only out of reach: " +
		"kubectl -n argocd delete pod controller-0 --force; kubectl -n nextcloud delete pod dump-1-x --force\n"
	if table := doctor.Table(doctor.Examine(t.Context(), server(t, a))); !strings.Contains(table, want) {
		t.Error(table)
	}
	a["spec.nodeName%3Dhome-pi"] = "no answer"
	if table := doctor.Table(doctor.Examine(t.Context(), server(t, a))); !strings.Contains(table, "no answer") || strings.Contains(table, "takes the place") {
		t.Error(table)
	}
}
