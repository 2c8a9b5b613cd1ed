//go:build e2e

package e2e

import (
	"strconv"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/image/board"
)

// TestEveryBoardBootsToRunning tells the life of a node that nothing happens
// to: first boot, second boot, and a move to a larger disk.
func TestEveryBoardBootsToRunning(t *testing.T) {
	t.Parallel()
	eachMachine(t, func(t *testing.T, board, img string) {
		c := newComputer(t, board, img, 8*gib)
		c.personalise()

		c.powerOn()
		c.untilRunning()
		c.isHealthy()
		c.sh("echo kept > /var/lib/kept; sync")
		born, small := c.identity(), c.dataBytes()
		c.fillsDisk(8 * gib)
		c.hasReported()
		c.powerOff()
		c.diskIsValid()
		c.lacksNothing(img)
		if status := c.bootFile("STATUS.TXT"); !strings.Contains(status, "test-node") {
			t.Errorf("STATUS.TXT does not name the node:\n%s", status)
		}
		c.cameToTheEnd()

		c.enlarge(16 * gib)
		c.powerOn()
		c.untilRunning()
		c.isHealthy()
		if again := c.identity(); again != born {
			t.Errorf("the node's identity changed\n%s\n%s", born, again)
		}
		if got := c.sh("cat /var/lib/kept"); got != "kept" {
			t.Errorf("/var lost a file: %q", got)
		}
		if large := c.dataBytes(); large < small+7*gib {
			t.Errorf("data grew from %d to %d bytes only", small, large)
		}
		c.fillsDisk(16 * gib)
		c.powerOff()
		c.diskIsValid()
	})
}

// cameToTheEnd wants everybody who starts a node to have marked its card.
func (c *computer) cameToTheEnd() {
	c.t.Helper()
	s := c.stage()
	pi := c.config.Board.Firmware == board.RaspberryPi // systemd-boot writes nothing
	if !strings.HasPrefix(s.Reached, "The system runs") || s.Kernel == "" || (s.Revision != "") != pi || (s.UBoot != "") != pi {
		c.t.Errorf("%s: %+v", contract.StageFile, s)
	}
}

// stage is how far the last start came, as the card tells.
func (c *computer) stage() contract.Stage {
	c.t.Helper()
	text := c.bootFile(contract.StageFile)
	if len(text) != contract.StageSize {
		c.t.Errorf("%s has %d bytes", contract.StageFile, len(text))
	}
	return contract.ParseStage([]byte(text))
}

// isHealthy asks the node for everything that its image promises.
func (c *computer) isHealthy() {
	c.t.Helper()
	for what, command := range map[string]string{
		"failed units":                 "systemctl --failed --plain --no-legend",
		"units that failed on the way": "journalctl -b -o cat _PID=1 --no-pager | grep -E 'Failed|failed with|Dependency failed' || true",
		"jobs that are left":           "systemctl list-jobs --no-legend | grep -vE 'No jobs|firstboot-report[.]service' || true",
		// Its timer may begin it at this moment.
		"a report that never ends":      "timeout 60 sh -c 'while [ $(systemctl show -P ActiveState firstboot-report.service) = activating ]; do sleep 1; done' || echo it runs",
		"errors in the journal":         "journalctl -b -p err -o short-monotonic --no-pager -q | grep -vE '" + c.knownErrors() + "' || true",
		"modules Longhorn looks for":    "for m in nfs nfsv4 dm_crypt iscsi_tcp; do grep -q ^$m' ' /proc/modules || echo $m; done",
		"packages that are not there":   "for p in systemd nfs-common open-iscsi cryptsetup; do dpkg-query -s $p >/dev/null 2>&1 || echo $p; done",
		"what dpkg complains about":     "dpkg --audit 2>&1",
		"what the doctor finds missing": "firstboot doctor 2>&1 | grep FAILED | grep -v 'program k3s' || true",
		"a slot that may stumble":       "! systemctl -q is-active firstboot-bless || sysctl -n kernel.panic_on_oops | grep -vx 1 || true",
		"root that can be written":      "touch /usr/x 2>&1 | grep -v 'Read-only file system' || true",
		"a card that is written often":  "findmnt -no OPTIONS /var | tr , '\\n' | grep -xcE 'noatime|commit=60' | grep -vx 2 || true; sysctl -n vm.dirty_expire_centisecs | grep -vx 30000 || true",
		"other disks' file systems":     "findmnt -rno TARGET -t ext4,vfat,squashfs | grep -vxE '/|/var|/var/lib/longhorn|/boot/firmware' || true",
	} {
		if out := c.sh(command); out != "" {
			c.t.Errorf("%s:\n%s", what, out)
		}
	}
	c.keepsEtc()
	c.isGuarded()
}

// isGuarded wants a watchdog from the initramfs on. QEMU resets a Pi the
// moment its watchdog is armed, so there it stays off.
func (c *computer) isGuarded() {
	c.t.Helper()
	state, dog := c.sh("cat /run/imagebuilder/boot.json"), c.sh("cat /sys/class/watchdog/watchdog0/state")
	armed := !strings.Contains(state, `"watchdogSeconds": 0`)
	if emulatedPi := c.config.Board.QEMU.IsPi(); armed == emulatedPi || (dog == "active") == emulatedPi {
		c.t.Errorf("watchdog %q, and the initramfs says %s", dog, state)
	}
}

// knownErrors are lines that tell of no fault of the image: the watchdog is
// handed from init to systemd without stopping, this test may have left a
// handshake while the guest was starting, and QEMU has only half of a Pi.
func (c *computer) knownErrors() string {
	known := "watchdog did not stop|sshd-session.*(Broken pipe|Connection (closed|reset))"
	if c.config.Board.QEMU.IsPi() {
		known += "| kernel: "
	}
	return known
}

// identity is all that makes a node itself.
func (c *computer) identity() string {
	c.t.Helper()
	return c.sh("hostname; cd /etc; cat machine-id iscsi/initiatorname.iscsi nvme/hostnqn nvme/hostid ssh/ssh_host_*_key.pub; sha256sum ssh/ssh_host_*_key")
}

// keepsEtc compares the writable layer of /etc with the list of what may
// outlive an image.
func (c *computer) keepsEtc() {
	c.t.Helper()
	allowed, err := contract.ParsePersist(c.sh("cat /" + contract.PersistFile))
	if err != nil {
		c.t.Fatal(err)
	}
	for file := range strings.Lines(c.sh("cd /var/.overlay/etc/upper && find . ! -type d | sed 's:^[.]:/etc:'")) {
		if file = strings.TrimSpace(file); !allowed.Keeps(file) {
			c.t.Errorf("%s was changed on the node and is not on the list of what may be", file)
		}
	}
}

func (c *computer) dataBytes() int64 {
	c.t.Helper()
	n, err := strconv.ParseInt(c.sh("findmnt -bno SIZE /var"), 10, 64)
	if err != nil {
		c.t.Fatal(err)
	}
	return n
}

// fillsDisk compares the partitions with the design: two slots of equal size,
// and data up to the end of the disk.
func (c *computer) fillsDisk(size int64) {
	c.t.Helper()
	a, b, data := c.partition(2), c.partition(3), c.partition(4)
	if slot := int64(c.config.Board.Disk.Slot); b.Size != slot || a.Start+a.Size != b.Start || a.Size < slot {
		c.t.Errorf("slots: %+v %+v", a, b)
	}
	if end := data.Start + data.Size; end > size || end < size-8<<20 {
		c.t.Errorf("data ends at %d, the disk at %d", end, size)
	}
}

// diskIsValid lets other people's programs judge the disk of a computer that
// is switched off properly.
func (c *computer) diskIsValid() {
	c.t.Helper()
	c.tableIsValid()
	run(c.t, "fsck.fat", "-n", extract(c.t, c.disk(), 0))
	run(c.t, "e2fsck", "-f", "-n", c.dataAt())
}

func (c *computer) tableIsValid() {
	c.t.Helper()
	run(c.t, "sfdisk", "--verify", c.disk())
	if c.config.Board.Firmware == "uefi" {
		if out := run(c.t, "sgdisk", "--verify", c.disk()); !strings.Contains(out, "No problems found") {
			c.t.Errorf("sgdisk: %s", out)
		}
	}
}

// dataAt names the data partition for programs of e2fsprogs.
func (c *computer) dataAt() string {
	return c.disk() + "?offset=" + strconv.FormatInt(c.partition(4).Start, 10)
}
