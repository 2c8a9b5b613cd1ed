package firstboot_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/firstboot"
	"github.com/going-mobile/imagebuilder/firstboot/disks"
)

// again boots the node once more.
func (w *world) again() firstboot.Status {
	w.t.Helper()
	w.reboot()
	w.wants = nil
	s, _ := w.boot(anyProblem)
	return s
}

func TestLonghornHasADiskOfItsOwn(t *testing.T) {
	w := joinedWorld(t, initYAML)
	if !w.volumes || !w.held {
		t.Errorf("mounted %v, held %v", w.volumes, w.held)
	}
	var n struct {
		Metadata struct{ Labels, Annotations map[string]string }
	}
	if err := json.Unmarshal([]byte("{"+strings.TrimSuffix(w.metadata, ",")+"}"), &n); err != nil {
		t.Fatal(err)
	}
	var config []struct {
		Path            string
		AllowScheduling bool
	}
	err := json.Unmarshal([]byte(n.Metadata.Annotations["node.longhorn.io/default-disks-config"]), &config)
	if err != nil || len(config) != 1 || config[0].Path != "/var/lib/longhorn" || !config[0].AllowScheduling {
		t.Errorf("annotation: %v %+v", err, config)
	}
	if n.Metadata.Labels["node.longhorn.io/create-default-disk"] != "config" {
		t.Errorf("labels: %v", n.Metadata.Labels)
	}
	if w.again().State != firstboot.Joined || len(w.wants) != 1 || w.wants[0].Known != "disk-1" {
		t.Errorf("a second boot wants %+v", w.wants)
	}
}

// The place is held before anything could start volumes, and nobody but the
// disk's own directory is ever written to.
func TestThePlaceOfTheDiskIsHeldBeforeK3sStarts(t *testing.T) {
	w := crashWorld(t)
	w.attach = &disks.Fault{Code: disks.Absent, What: "The disk is not there.", Do: "Plug it in.", Disks: "none"}
	s, _ := w.boot(needsPerson)
	hold, start := -1, -1
	for i, call := range w.names {
		if call == "hold" && hold < 0 {
			hold = i
		}
		if strings.HasSuffix(call, "start k3s.service") && start < 0 {
			start = i
		}
	}
	if hold < 0 || start < hold || !w.held || w.volumes {
		t.Errorf("held at call %d, k3s started at %d", hold, start)
	}
	// Its absence kept the node from nothing.
	if s.Problem == nil || s.Problem.Code != "longhorn-disk" || w.files["/var/lib/imagebuilder/firstboot/joined"] == nil || w.clusters != 1 {
		t.Fatal(s.Line())
	}
	screen := strings.Join(strings.Fields(strings.Join(s.Lines(76), " ")), " ")
	for _, want := range []string{"PLEASE HELP", "The disk is not there. Seen: none.", "Plug it in."} {
		if !strings.Contains(screen, want) {
			t.Errorf("the screen lacks %q:\n%s", want, screen)
		}
	}
	// It is found again by itself.
	w.attach = nil
	if s, _ := w.boot(nil); s.State != firstboot.Joined || !w.volumes {
		t.Error(s.Line())
	}
}

func TestTroublesOfLonghornsDisk(t *testing.T) {
	for _, test := range []struct {
		name  string
		spoil func(*world)
		code  string
	}{
		{"damaged", func(w *world) { w.attach = fmt.Errorf("%w: e2fsck", disks.ErrDamaged) }, "longhorn-damaged"},
		{"no file system", func(w *world) { w.attach = disks.ErrNoExt4 }, "longhorn-damaged"},
		{"another is mounted", func(w *world) { w.attach = firstboot.ErrOtherDisk }, "longhorn-restart"},
		{"something else", func(w *world) { w.attach = errors.New("input/output error") }, "unexpected"},
		{"volumes where it belongs", func(w *world) { w.held = false; w.put("/var/lib/longhorn/replicas", "") }, "longhorn-volumes"},
	} {
		w := joinedWorld(t, initYAML)
		test.spoil(w)
		s := w.again()
		if s.Problem == nil || s.Problem.Code != test.code || w.volumes {
			t.Errorf("%s: mounted %v, %s", test.name, w.volumes, s.Line())
		}
		if test.code == "longhorn-volumes" && w.held {
			t.Error("the volumes that are there cannot be written to any more")
		}
	}
}

// A disk that fails is told; one that was pulled out and is back is used.
func TestLonghornsDiskFailsWhileTheNodeRuns(t *testing.T) {
	w := joinedWorld(t, initYAML)
	w.volume = firstboot.Mount{Device: "/dev/sdb1", Failed: true}
	if s, _ := w.boot(anyProblem); s.Problem == nil || s.Problem.Code != "longhorn-failed" {
		t.Error(s.Line())
	}
	w.volume = firstboot.Mount{Device: "/dev/sdb1", Lost: true}
	w.attach = &disks.Fault{Code: disks.Gone}
	if s, _ := w.boot(anyProblem); s.Problem == nil || s.Problem.Code != "longhorn-disk" || w.volumes {
		t.Error(s.Line())
	}
	w.attach = nil
	if s, _ := w.boot(nil); s.State != firstboot.Joined || !w.volumes {
		t.Error(s.Line())
	}
}

// The owner naming another disk gives up the old one; naming none lets
// Longhorn have the data disk again.
func TestTheOwnerChangesLonghornsDisk(t *testing.T) {
	w := joinedWorld(t, initYAML)
	w.put("/run/imagebuilder/boot.json", `{"disk": "mmcblk0", "dataDisk": "sda"}`)
	w.personalise(strings.Replace(initYAML, "usb-1", "usb-2", 1))
	w.wants, w.volumes = nil, false
	if s, _ := w.boot(nil); s.State != firstboot.Joined || len(w.wants) != 1 || w.wants[0].Known != "" || w.wants[0].Spec.Path != "/dev/disk/by-id/usb-2" {
		t.Errorf("%s: wants %+v", s.Line(), w.wants)
	}
	if taken := fmt.Sprint(w.wants[0].Taken); taken != "[mmcblk0 sda]" || w.wants[0].Node != "home-pi" || w.wants[0].Purpose != disks.Longhorn {
		t.Errorf("wants %+v", w.wants[0])
	}
	w.personalise(strings.Replace(initYAML, "longhorn: {disk: /dev/disk/by-id/usb-1}\n", "", 1))
	if s := w.again(); s.State != firstboot.Joined || w.volumes || w.held {
		t.Errorf("mounted %v, held %v: %s", w.volumes, w.held, s.Line())
	}
}

// A node that lives on its boot disk stays there and says so; one whose data
// is on a disk has nothing to say.
func TestTheDataStaysWhereTheNodeWasBorn(t *testing.T) {
	w := joinedWorld(t, initYAML)
	w.personalise(strings.Replace(initYAML, "timezone:", "dataDisk: /dev/disk/by-id/usb-2\ntimezone:", 1))
	for state, code := range map[string]string{`{"disk": "mmcblk0"}`: "data-stays", `{"disk": "mmcblk0", "dataDisk": "sda"}`: ""} {
		w.put("/run/imagebuilder/boot.json", state)
		s, _ := w.boot(nil)
		if s.State != firstboot.Joined || (s.Notice != nil) != (code != "") || code != "" && s.Notice.Code != code {
			t.Errorf("%s: %s", state, s.Line())
		}
	}
}
