//go:build vm && linux

package vmtest

import (
	"cmp"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot"
	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/image/qemu"
)

// usbName is how udev calls a USB disk of QEMU.
func usbName(serial string) string {
	return "/dev/disk/by-id/usb-QEMU_QEMU_HARDDISK_" + serial + "-0:0"
}

// TestDisks is a node with a disk for its data and one for Longhorn's volumes, both on USB, where
// cables come loose. It joins, the cluster learns of the volumes' disk, hardly anything is written
// to the card, and a missing disk is reported when it is unplugged. The disk for volumes is used
// again by itself. Without its data the node waits, and does not become another node.
func TestDisks(t *testing.T) {
	tn := newTailnet(t)
	m := newMachine(t, "generic-amd64", image(t, "generic-amd64"))
	cfg := tn.first("home-pi")
	cfg.DataDisk = node.Disk{Path: usbName("data")}
	cfg.Longhorn.Disk = node.Disk{Model: "QEMU*", Size: "3GiB"}
	m.personalise(cfg)
	usb := []string{"-device", "qemu-xhci,id=xhci"}
	for serial, size := range map[string]int64{"data": 8 * gib, "volumes": 3 * gib} {
		file := m.config.Dir + "/" + serial + ".img"
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(file, size); err != nil {
			t.Fatal(err)
		}
		// A -drive would go away with the device when that is unplugged.
		usb = append(usb, "-blockdev", "driver=raw,node-name="+serial+",cache.no-flush=on,file.driver=file,file.filename="+file)
	}
	plugged := append(usb[:len(usb):len(usb)], "-device", "usb-storage,id=usb-data,drive=data,serial=data,bus=xhci.0", "-device", "usb-storage,id=usb-volumes,drive=volumes,serial=volumes,bus=xhci.0")

	m.powerOn(plugged...)
	t.Logf("joined after %v", m.seeJoined())
	if got := m.sh("findmnt -rno TARGET,LABEL,FSTYPE -t ext4 | sort"); got != "/var data ext4\n/var/lib/longhorn longhorn ext4" {
		t.Errorf("mounted: %q", got)
	}
	m.longhornKnows()
	id := m.sh(identity)
	m.writesLittle()

	m.unplugDisk("volumes")
	m.sh("firstboot retry")
	m.seeProblem("longhorn-disk")
	m.until("missing a disk", func(s firstboot.Status) bool { return s.State == firstboot.NeedsPerson })
	if got := m.sh("touch /var/lib/longhorn/x 2>&1 || true; findmnt -rno TARGET /var/lib/longhorn || true"); !strings.Contains(got, "not permitted") || strings.Contains(got, "\n") {
		t.Errorf("without its disk, the place of volumes: %q", got)
	}
	m.plugDisk("volumes")
	m.sh("firstboot retry")
	m.until("joined again", func(s firstboot.Status) bool { return s.State == firstboot.Joined })
	m.sh("cp /usr/bin/true /var/lib/longhorn/program && /var/lib/longhorn/program && rm /var/lib/longhorn/program")

	m.sh("echo test > /sys/fs/ext4/$(basename $(findmnt -no SOURCE /var/lib/longhorn))/trigger_fs_error; firstboot retry")
	m.seeProblem("longhorn-failed")

	m.unplugDisk("data")
	m.seeProblem("data-lost")
	time.Sleep(2 * time.Second) // STATUS.TXT comes after the line
	m.Kill()
	m.saysOnTheCard("The disk with this node's data", "is gone", "Plug it in again")
	m.powerOn(append(usb[:len(usb):len(usb)], "-device", "usb-storage,id=usb-volumes,drive=volumes,serial=volumes,bus=xhci.0")...)
	m.see(`which\s+this\s+node\s+has\s+used\s+so\s+far,\s+is\s+not\s+there`)
	m.plugDisk("data")
	m.seeJoined()
	if again := m.sh(identity); again != id {
		t.Errorf("another identity: %s, was %s", again, id)
	}
	if nodes := tn.nodes(); len(nodes) != 1 || tn.unused() != 0 {
		t.Errorf("the tailnet has %v, %d keys are unused", nodes, tn.unused())
	}
	m.powerOff()
}

// longhornKnows reads what Longhorn would.
func (m *machine) longhornKnows() {
	m.t.Helper()
	var n struct {
		Metadata struct{ Labels, Annotations map[string]string }
	}
	if err := json.Unmarshal([]byte(m.sh("k3s kubectl get node home-pi -o json")), &n); err != nil {
		m.t.Fatal(err)
	}
	label, note := n.Metadata.Labels["node.longhorn.io/create-default-disk"], n.Metadata.Annotations["node.longhorn.io/default-disks-config"]
	if label != "config" || note != `[{"path":"/var/lib/longhorn","allowScheduling":true}]` {
		m.t.Errorf("label %q, annotation %q", label, note)
	}
}

// writesLittle measures what went to the card from power-on to joined, and in
// a minute after it, in which the report may be written once.
func (m *machine) writesLittle() {
	m.t.Helper()
	before := m.written()
	time.Sleep(time.Minute)
	after := m.written()
	m.t.Logf("from power-on to joined: %.1f MB to the card, %.1f MB to the data disk; in the minute after: %.3f and %.1f MB",
		before["disk"], before["data"], after["disk"]-before["disk"], after["data"]-before["data"])
	if before["disk"] > 3 || after["disk"]-before["disk"] > 0.1+contract.ReportSize/1e6 || before["data"] < 20 {
		m.t.Error("the data disk should have nearly all")
	}
}

// written is what the node has written since power-on, by drive, in MB.
func (m *machine) written() map[string]float64 {
	m.t.Helper()
	answer, err := qemu.Execute(m.config.QMP, "query-blockstats", map[string]any{})
	if err != nil {
		m.t.Fatal(err)
	}
	var stats []struct {
		Device string
		Node   string `json:"node-name"`
		Stats  struct {
			Bytes float64 `json:"wr_bytes"`
		}
	}
	if err := json.Unmarshal(answer, &stats); err != nil {
		m.t.Fatal(err)
	}
	out := map[string]float64{}
	for _, s := range stats {
		out[cmp.Or(s.Device, s.Node)] = s.Stats.Bytes / 1e6
	}
	return out
}

func (m *machine) unplugDisk(drive string) {
	m.t.Helper()
	m.qmp("device_del", map[string]any{"id": "usb-" + drive})
}

// plugDisk plugs a disk in, under the same serial number.
func (m *machine) plugDisk(drive string) {
	m.t.Helper()
	m.qmp("device_add", map[string]any{"driver": "usb-storage", "id": "usb-" + drive, "drive": drive, "serial": drive, "bus": "xhci.0"})
}

// saysOnTheCard reads STATUS.TXT as a laptop would.
func (m *machine) saysOnTheCard(words ...string) {
	m.t.Helper()
	text := strings.Join(strings.Fields(m.bootFile("STATUS.TXT")), " ")
	for _, want := range words {
		if !strings.Contains(text, want) {
			m.t.Errorf("STATUS.TXT lacks %q:\n%s", want, text)
		}
	}
}
