package objects_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/going-mobile/imagebuilder/image/objects"
)

const workloads = `apiVersion: apps/v1
kind: Deployment
metadata: {name: cloud, namespace: apps}
spec:
  replicas: 2
  selector: {matchLabels: {a: b}}
  template:
    metadata: {labels: {a: b}}
    spec:
      initContainers:
      - {name: wait, resources: {requests: {cpu: "3", memory: 10M}}}
      - {name: sidecar, restartPolicy: Always, resources: {requests: {cpu: 0.1, memory: 16Mi}, limits: {memory: 16Mi}}}
      containers:
      - {name: web, resources: {requests: {cpu: 250m}, limits: {memory: 1Gi}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: asleep}
spec: {replicas: 0, selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: x}]}}}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: logs}
spec: {selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: x}]}}}
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: dump, namespace: apps}
spec: {schedule: "0 1 * * *", jobTemplate: {spec: {template: {spec: {containers: [{name: x, resources: {limits: {cpu: 1, memory: 1e6}}}]}}}}}
---
apiVersion: v1
kind: Namespace
metadata: {name: apps}
`

const claims = `apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data, namespace: apps}
spec: {storageClassName: longhorn, accessModes: [ReadWriteOnce], resources: {requests: {storage: 5Gi}}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: elsewhere}
spec: {storageClassName: nfs, accessModes: [ReadWriteOnce], resources: {requests: {storage: 7Gi}}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  replicas: 3
  serviceName: db
  selector: {matchLabels: {a: b}}
  template: {metadata: {labels: {a: b}}, spec: {containers: [{name: x}]}}
  volumeClaimTemplates:
  - {metadata: {name: d}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}
`

// TestStorage: claims of Longhorn's class, which is the default, and those that a
// StatefulSet makes for each of its pods.
func TestStorage(t *testing.T) {
	all, err := objects.Parse("f", []byte(claims))
	if err != nil {
		t.Fatal(err)
	}
	got, err := objects.Storage(all, "longhorn")
	want := []objects.Claim{{Name: "apps/data", Size: 5 << 30}, {Name: "d-db", Size: 1 << 30}, {Name: "d-db", Size: 1 << 30}, {Name: "d-db", Size: 1 << 30}}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
	all[0].Value = map[string]any{"spec": map[string]any{"resources": map[string]any{"requests": map[string]any{"storage": "much"}}}}
	if _, err := objects.Storage(all, "longhorn"); err == nil {
		t.Error("any word is a size")
	}
}

func TestDemands(t *testing.T) {
	all, err := objects.Parse("f", []byte(workloads))
	if err != nil {
		t.Fatal(err)
	}
	got, err := objects.Demands(all)
	want := []objects.Demand{
		{Name: "apps/cloud", Pods: 2, CPU: 3000, Memory: 1<<30 + 16<<20, Limit: 1<<30 + 16<<20},
		{Name: "logs"},
		{Name: "apps/dump", Pods: 1, CPU: 1000, Memory: 1e6, Limit: 1e6},
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
	for _, q := range []string{"x", "-1", "1Q", "1e300", "NaN", ""} {
		all[0].Value = map[string]any{"spec": map[string]any{"template": map[string]any{"spec": map[string]any{"containers": []any{
			map[string]any{"resources": map[string]any{"requests": map[string]any{"cpu": q}}}}}}}}
		if _, err := objects.Demands(all[:1]); err == nil {
			t.Errorf("%q is taken for a quantity", q)
		}
	}
}
