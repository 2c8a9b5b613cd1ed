package seed_test

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gopkg.in/yaml.v3"

	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/firstboot/secret"
	"github.com/going-mobile/imagebuilder/image/objects"
	"github.com/going-mobile/imagebuilder/image/seed"
)

func whole() seed.Input {
	return seed.Input{
		Traefik: true, Twice: seed.Doubled,
		EtcdBackup: &seed.EtcdBackup{S3: &node.S3{
			Endpoint: "http://s3.example.net:9000/", Region: "eu-1", Bucket: "snapshots", AccessKey: "planted-access", SecretKey: "planted-etcd",
		}, Folder: "home/etcd", Keep: 56},
		Longhorn: &seed.Longhorn{Replicas: 2, Sites: 2, Backup: &node.S3{
			Endpoint: "https://s3.example.net", Region: "eu-1", Bucket: "volumes", Prefix: "home/", AccessKey: "planted-access", SecretKey: "planted-secret",
		}},
		GitOps: &seed.GitOps{Repo: "ssh://git@git.example.net/home/cluster.git", Path: "apps", Revision: "main", DeployKey: "planted-key", KnownHosts: "git.example.net ssh-ed25519 AAAA"},
	}
}

// TestSeed compares the output with reviewed files; UPDATE=1 rewrites them.
func TestSeed(t *testing.T) {
	s, err := seed.New(whole())
	if err != nil {
		t.Fatal(err)
	}
	got, err := yaml.Marshal(s.Manifests)
	if err != nil {
		t.Fatal(err)
	}
	const golden = "testdata/seed.yaml"
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Error(diff)
	}
	if strings.Contains(string(got), "planted") {
		t.Error("a secret is in a file")
	}
	etcd := map[string]secret.String{
		"etcd-s3-endpoint": "s3.example.net:9000", "etcd-s3-insecure": "true", "etcd-s3-region": "eu-1", "etcd-s3-bucket": "snapshots",
		"etcd-s3-folder": "home/etcd", "etcd-s3-retention": "56", "etcd-s3-access-key": "planted-access", "etcd-s3-secret-key": "planted-etcd",
	}
	if len(s.Secrets) != 3 || !maps.Equal(s.Secrets[0].Data, etcd) || s.Secrets[1].Data["AWS_SECRET_ACCESS_KEY"] != "planted-secret" || s.Secrets[2].Labels["argocd.argoproj.io/secret-type"] != "repository" {
		t.Errorf("%d secrets", len(s.Secrets))
	}
	for _, chart := range seed.Charts(whole()) {
		if !strings.Contains(string(got), "/static/charts/"+chart.File+"\n") {
			t.Errorf("nothing installs %s", chart.File)
		}
	}
}

// TestWhatThePodsAskForIsInTheValues of the charts.
func TestWhatThePodsAskForIsInTheValues(t *testing.T) {
	s, err := seed.New(whole())
	if err != nil {
		t.Fatal(err)
	}
	var containers []any
	argocd := chartValues(t, s.Manifests["argocd"])
	for _, part := range []string{"controller", "repoServer", "server", "redis"} {
		containers = append(containers, argocd[part])
	}
	pod := objects.Object{Kind: "Pod", Name: seed.ArgoCD.Name, Value: map[string]any{"spec": map[string]any{"containers": containers}}}
	got, err := objects.Demands([]objects.Object{pod})
	if err != nil {
		t.Fatal(err)
	}
	got[0].Limit = 0 // is no demand
	if diff := cmp.Diff([]objects.Demand{seed.ArgoCD}, got); diff != "" {
		t.Error(diff)
	}
	settings := chartValues(t, s.Manifests["longhorn"])["defaultSettings"].(map[string]any)
	if settings["concurrentAutomaticEngineUpgradePerNodeLimit"] != 1 {
		t.Error("volumes stay with the engine of an older Longhorn")
	}
	if want := fmt.Sprintf(`{"v1":"%[1]d","v2":"%[1]d"}`, seed.LonghornCPU); settings["guaranteedInstanceManagerCPU"] != want {
		t.Errorf("%v, want %s", settings["guaranteedInstanceManagerCPU"], want)
	}
}

// chartValues are those of the chart in a manifest.
func chartValues(t *testing.T, manifest string) (values map[string]any) {
	t.Helper()
	all, err := objects.Parse("manifest", []byte(manifest))
	if err != nil {
		t.Fatal(err)
	}
	text := all[len(all)-1].Value["spec"].(map[string]any)["valuesContent"].(string)
	if err := yaml.Unmarshal([]byte(text), &values); err != nil {
		t.Fatal(err)
	}
	return values
}

// TestASiteMayBeAway for weeks: Longhorn's class, which the chart does not make, keeps a
// failed replica, so that only what changed is sent to it.
func TestASiteMayBeAway(t *testing.T) {
	s, err := seed.New(whole())
	if err != nil {
		t.Fatal(err)
	}
	all, err := objects.Parse("longhorn", []byte(s.Manifests["longhorn"]))
	if err != nil || len(all) != 3 || all[1].Kind != "ConfigMap" || all[1].Name != "longhorn-storageclass" {
		t.Fatalf("%v: %+v", err, all)
	}
	if !strings.Contains(s.Manifests["longhorn"], "helm.sh/resource-policy: keep\n") {
		t.Error("Helm deletes what its release had")
	}
	if persistence := chartValues(t, s.Manifests["longhorn"])["persistence"]; !cmp.Equal(persistence, map[string]any{"createStorageClass": false}) {
		t.Errorf("two make the class: %v", persistence)
	}
	text, _ := all[1].Value["data"].(map[string]any)["storageclass.yaml"].(string)
	class, err := objects.Parse("storageclass.yaml", []byte(text))
	if err != nil || len(class) != 1 || class[0].Kind != "StorageClass" || class[0].Name != "longhorn" {
		t.Fatalf("%v: %s", err, text)
	}
	parameters, _ := class[0].Value["parameters"].(map[string]any)
	minutes, _ := parameters["staleReplicaTimeout"].(string)
	if n, err := strconv.Atoi(minutes); err != nil || n < 7*24*60 || parameters["numberOfReplicas"] != "2" {
		t.Errorf("%v: %v", err, parameters)
	}
}

// TestASeedHasWhatIsWanted and no more: without a bucket there are no backups, and with one
// site replicas share it.
func TestASeedHasWhatIsWanted(t *testing.T) {
	if s, err := seed.New(seed.Input{}); err != nil || len(s.Manifests)+len(s.Secrets) != 0 {
		t.Errorf("%+v, %v", s, err)
	}
	s, err := seed.New(seed.Input{Longhorn: &seed.Longhorn{Replicas: 1, Sites: 1}, GitOps: &seed.GitOps{Repo: "https://git.example.net/x.git", Path: ".", Revision: "main"}})
	if err != nil || len(s.Secrets) != 0 || len(s.Manifests) != 4 {
		t.Fatalf("%+v, %v", s, err)
	}
	values, jobs := s.Manifests["longhorn"], s.Manifests["longhorn-jobs"]
	for _, want := range []string{"replicaZoneSoftAntiAffinity: true", `defaultReplicaCount: '{"v1":"1","v2":"1"}'`, `numberOfReplicas: "1"`, "nodeDrainPolicy: allow-if-replica-is-stopped"} {
		if !strings.Contains(values, want) {
			t.Errorf("no %s in\n%s", want, values)
		}
	}
	if two, err := seed.New(whole()); err != nil || strings.Contains(two.Manifests["longhorn"], "nodeDrainPolicy") {
		t.Errorf("who has two replicas loses the last one's guard: %v", err)
	}
	one, err := seed.New(seed.Input{Traefik: true})
	if text := one.Manifests["traefik"]; err != nil || len(one.Manifests) != 1 || strings.Count(text, "readTimeout: 1h") != 2 || strings.Contains(text, "replicas") {
		t.Errorf("%v: %s", err, text)
	}
	if strings.Contains(values, "backupTarget:") || strings.Contains(jobs, "backup") || !strings.Contains(jobs, "snapshot-hourly") {
		t.Errorf("%s\n%s", values, jobs)
	}
}

// TestWhatWaitsForVolumes: applications, which would create the volumes, and backup jobs,
// which would back up empty ones.
func TestWhatWaitsForVolumes(t *testing.T) {
	s, err := seed.New(whole())
	if err != nil {
		t.Fatal(err)
	}
	all := maps.Clone(s.Manifests)
	after := seed.After(s, node.Restore{SystemBackup: "weekly", Claims: map[string]string{"a/b": "c"}})
	if got := slices.Sorted(maps.Keys(after.Restore.Manifests)); !slices.Equal(got, []string{"argocd-root", "longhorn-jobs"}) || after.Restore.SystemBackup != "weekly" {
		t.Errorf("%q wait", got)
	}
	for name, text := range all {
		if after.Manifests[name]+after.Restore.Manifests[name] != text {
			t.Errorf("%s is there twice, or not at all", name)
		}
	}
	if !maps.Equal(s.Manifests, all) || len(after.Secrets) != len(s.Secrets) {
		t.Error("the seed that was given is another")
	}
}
