package firstboot_test

import (
	"testing"

	"github.com/going-mobile/imagebuilder/firstboot"
)

// TestImageLinksFollowTheImage: an update brings an archive under another name.
// k3s sees the new one at once, the old link is gone, and what a person put
// there stays.
func TestImageLinksFollowTheImage(t *testing.T) {
	const own, k3s = "/usr/lib/imagebuilder/images/", "/var/lib/rancher/k3s/agent/images/"
	w := crashWorld(t)
	w.put(own+"k3s-airgap-images.tar.zst", "zstd")
	if s, _ := w.boot(nil); s.State != firstboot.Joined || w.files[k3s+"k3s-airgap-images.tar.zst"].link != own+"k3s-airgap-images.tar.zst" {
		t.Fatalf("%s, %+v", s.Line(), w.files[k3s+"k3s-airgap-images.tar.zst"])
	}
	w.put(k3s+"mine.tar", "a person's")
	w.put(k3s+"elsewhere.tar", "")
	w.files[k3s+"elsewhere.tar"].link = "/var/lib/imagebuilder/files/elsewhere.tar"
	delete(w.files, own+"k3s-airgap-images.tar.zst")
	w.put(own+"k3s-airgap-images.tar", "tar")
	w.reboot()
	if s, _ := w.boot(nil); s.State != firstboot.Joined {
		t.Fatal(s.Line())
	}
	if e := w.files[k3s+"k3s-airgap-images.tar"]; e == nil || e.link != own+"k3s-airgap-images.tar" {
		t.Errorf("the new archive: %+v", e)
	}
	if e := w.files[k3s+"k3s-airgap-images.tar.zst"]; e != nil {
		t.Error("the old link is still there")
	}
	if w.text(k3s+"mine.tar") != "a person's" || w.files[k3s+"elsewhere.tar"] == nil {
		t.Error("a person's archives are gone")
	}
}

// TestChartsLieWhereServersServeThem.
func TestChartsLieWhereServersServeThem(t *testing.T) {
	const own, k3s = "/usr/lib/imagebuilder/charts/longhorn-1.12.1.tgz", "/var/lib/rancher/k3s/server/static/charts/longhorn-1.12.1.tgz"
	for _, role := range []string{"server", "agent"} {
		yaml := initYAML
		if role == "agent" {
			yaml = agentYAML
		}
		w := newWorld(t, yaml)
		deferK3s(w)
		if role == "agent" {
			w.peers, w.alive[cabin] = peer, true
		}
		w.put(own, "chart")
		if s, _ := w.boot(nil); s.State != firstboot.Joined {
			t.Fatal(s.Line())
		}
		if e := w.files[k3s]; (e != nil && e.link == own) != (role == "server") {
			t.Errorf("%s: %+v", role, e)
		}
	}
}
