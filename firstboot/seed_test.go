package firstboot_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot"
)

const manifests = "/var/lib/rancher/k3s/server/manifests/"

// TestSeedOfACluster: manifests where k3s looks, before it starts; secrets in the
// API, their namespace first, and nowhere else.
func TestSeedOfACluster(t *testing.T) {
	w := newWorld(t, initYAML)
	deferK3s(w)
	w.fault = func(_ int, what string) fault {
		if what == "start k3s.service" && w.text(manifests+"imagebuilder-longhorn.yaml") != "kind: HelmChart\n" {
			t.Error("k3s starts without its manifests")
		}
		if strings.HasPrefix(what, "apply ") && strings.HasSuffix(what, "/s3") && w.applied["/api/v1/namespaces/longhorn-system"] == "" {
			t.Error("a secret without its namespace")
		}
		return none
	}
	if s, _ := w.boot(nil); s.State != firstboot.Joined {
		t.Fatal(s.Line())
	}
	if got := w.applied["/api/v1/namespaces/longhorn-system/secrets/s3"]; !strings.Contains(got, `"data":{"KEY":"c2VlZC1zZWNyZXQ="}`) || !strings.Contains(got, `"kind":"Secret"`) {
		t.Errorf("%v", w.applied)
	}
	for name, e := range w.files {
		if text := string(e.data); strings.Contains(text, "seed-secret") || strings.Contains(text, "c2VlZC1zZWNyZXQ=") {
			t.Errorf("%s has the secret", name)
		}
	}
	if !strings.Contains(w.text("/boot/firmware/node.yaml"), "longhorn:") {
		t.Error("the manifests are gone from node.yaml")
	}
}

// TestASeedChangesWithItsFile: what the owner signed later replaces it; what k3s
// and a person put there stays.
func TestASeedChangesWithItsFile(t *testing.T) {
	w := newWorld(t, owned(t, 2))
	deferK3s(w)
	if s, _ := w.boot(nil); s.State != firstboot.Joined {
		t.Fatal(s.Line())
	}
	for _, name := range []string{"traefik.yaml", "imagebuilder.yaml", "mine.yaml"} {
		w.put(manifests+name, "x")
	}
	w.applied = nil
	next := edit(t, owned(t, 2), `{longhorn: "kind: HelmChart\n"}`, `{argocd: "kind: Other\n"}`)
	if s := w.replant(sign(t, next, 2, noon.Add(time.Hour))); s.State != firstboot.Joined || s.Notice != nil {
		t.Fatalf("%s, %+v", s.Line(), s.Notice)
	}
	if w.files[manifests+"imagebuilder-longhorn.yaml"] != nil || w.text(manifests+"imagebuilder-argocd.yaml") != "kind: Other\n" {
		t.Error("the seed is not what the file says")
	}
	for _, name := range []string{"traefik.yaml", "imagebuilder.yaml", "mine.yaml"} {
		if w.files[manifests+name] == nil {
			t.Errorf("%s is gone", name)
		}
	}
	if len(w.applied) != 2 {
		t.Errorf("the secrets of the new file: %v", w.applied)
	}
}

// TestASeedIsItsOwnersToChange: who can write to the boot partition of a node that
// has joined does not thereby run programs in the cluster.
func TestASeedIsItsOwnersToChange(t *testing.T) {
	w := newWorld(t, owned(t, 2))
	deferK3s(w)
	if s, _ := w.boot(nil); s.State != firstboot.Joined {
		t.Fatal(s.Line())
	}
	s := w.replant(edit(t, owned(t, 2), `{longhorn: "kind: HelmChart\n"}`, `{longhorn: "kind: Other\n"}`))
	if s.Notice == nil || s.Notice.Code != "unsigned" || !strings.Contains(s.Notice.Summary, "k3s.seed.manifests") {
		t.Errorf("%+v", s.Notice)
	}
	if got := w.text(manifests + "imagebuilder-longhorn.yaml"); got != "kind: HelmChart\n" {
		t.Errorf("the cluster is given %q", got)
	}
}

// TestASeedThatIsRefusedKeepsTheSecrets where they are: a sealed node would have
// lost them.
func TestASeedThatIsRefusedKeepsTheSecrets(t *testing.T) {
	w := newWorld(t, initYAML)
	deferK3s(w)
	w.rejects = errors.New("the server answers 422")
	s, _ := w.boot(anyProblem)
	if s.Problem == nil || s.Problem.Code != "seed-refused" || !strings.Contains(s.Problem.Summary, "longhorn-system") {
		t.Fatalf("%s, %+v", s.Line(), s.Problem)
	}
	if !strings.Contains(w.text("/boot/firmware/node.yaml"), "seed-secret") {
		t.Error("it was sealed")
	}
	w.rejects = nil
	if s, _ := w.boot(nil); s.State != firstboot.Joined || strings.Contains(w.text("/boot/firmware/node.yaml"), "seed-secret") {
		t.Errorf("%s", s.Line())
	}
}

// snapshots is a cluster's Secret with the bucket for snapshots of etcd.
const snapshots = "/api/v1/namespaces/kube-system/secrets/k3s-etcd-snapshot-s3-config"

// inFolder is a node.yaml with such a bucket.
func inFolder(t *testing.T, folder string) string {
	t.Helper()
	return edit(t, owned(t, 2), "secrets: [", "secrets: [{namespace: kube-system, name: k3s-etcd-snapshot-s3-config, data: {etcd-s3-folder: "+folder+", etcd-s3-bucket: b}}, ")
}

// folder is where k3s is told to put them.
func (w *world) folder() string {
	var s struct{ Data map[string][]byte }
	if err := json.Unmarshal([]byte(w.applied[snapshots]), &s); err != nil || string(s.Data["etcd-s3-bucket"]) != "b" {
		w.t.Errorf("%v: %s", err, w.applied[snapshots])
	}
	return string(s.Data["etcd-s3-folder"])
}

// TestAClusterKeepsItsSnapshotsApart: k3s prunes a folder, whoever put there what is in
// it. One made anew has another than the lost one; one that is there keeps its own.
func TestAClusterKeepsItsSnapshotsApart(t *testing.T) {
	lost := newWorld(t, inFolder(t, "home/etcd"))
	deferK3s(lost)
	if s, _ := lost.boot(nil); s.State != firstboot.Joined {
		t.Fatal(s.Line())
	}
	anew := newWorld(t, inFolder(t, "home/etcd"))
	anew.now = anew.now.Add(24 * time.Hour)
	deferK3s(anew)
	if s, _ := anew.boot(nil); s.State != firstboot.Joined {
		t.Fatal(s.Line())
	}
	first, second := lost.folder(), anew.folder()
	if !strings.HasPrefix(first, "home/etcd/2026") || !strings.HasPrefix(second, "home/etcd/2026") || first == second {
		t.Errorf("the lost cluster's is %s, the new one's %s", first, second)
	}
	for _, c := range []struct{ has, folder, want string }{
		{first, "home/etcd", first},
		{"home/etcd", "home/etcd", "home/etcd"}, // by an older image
		{"home/etcd2", "home/etcd", "another"},  // its file names another one now
		{"", "going-mobile", "another"},
	} {
		w := joinedWorld(t, owned(t, 2))
		w.applied = map[string]string{snapshots: `{"data":{"etcd-s3-folder":"` + base64.StdEncoding.EncodeToString([]byte(c.has)) + `"}}`}
		if s := w.replant(sign(t, inFolder(t, c.folder), 2, noon.Add(time.Hour))); s.State != firstboot.Joined || s.Notice != nil {
			t.Fatalf("%s, %+v", s.Line(), s.Notice)
		}
		got := w.folder()
		if own := strings.HasPrefix(got, c.folder+"/2026"); got != c.want && (c.want != "another" || !own) {
			t.Errorf("it has %q, the file says %s: it gets %q", c.has, c.folder, got)
		}
	}
}
