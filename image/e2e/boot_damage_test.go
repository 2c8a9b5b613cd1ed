//go:build e2e

package e2e

import (
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestADamagedDataPartitionIsNeverFormatted breaks the data partition of a
// node that was in use, in two ways.
func TestADamagedDataPartitionIsNeverFormatted(t *testing.T) {
	t.Parallel()
	for _, board := range trialBoards { // GPT and MBR
		t.Run(board, func(t *testing.T) {
			c := newComputer(t, board, image(t, board), 8*gib)
			c.personalise()
			c.powerOn()
			c.see("init: starting the system")
			c.Kill()
			// e2fsck cannot replay a journal inside of a disk.
			run(t, "debugfs", "-w", "-R", "feature ^needs_recovery", c.dataAt())
			mend(t, c.dataAt())

			// An inode of the root directory that is no more: e2fsck -p will
			// not decide what becomes of it.
			run(t, "debugfs", "-w", "-R", "clri <2>", c.dataAt())
			run(t, "debugfs", "-w", "-R", "set_super_value state 2", c.dataAt())
			c.stopsWith("It was NOT formatted.*repair.txt")
			if s := c.stage(); !strings.HasSuffix(s.Reached, "stopped: STATUS.TXT says why.") || s.Kernel == "" {
				t.Errorf("%+v", s)
			}

			c.putBootFile("repair.txt", nil)
			c.powerOn()
			c.see("init: repairing the data partition")
			c.untilRunning()
			c.powerOff()
			c.diskIsValid()
			if strings.Contains(c.mtools("mdir", "-b", "::"), "repair.txt") {
				t.Error("the permission to repair is still there")
			}

			c.wipeSuperblocks()
			c.leaves("cannot be recognised any more. It was NOT formatted")
		})
	}
}

// TestADamagedBootPartitionLeavesAMark of how far the start came, where nobody but U-Boot
// ever ran. It comes by again and again, and does not wear the card.
func TestADamagedBootPartitionLeavesAMark(t *testing.T) {
	t.Parallel()
	c := newComputer(t, "rpi4", image(t, "rpi4"), 8*gib)
	c.mtools("mdel", "::a/vmlinuz")
	c.powerOn()
	c.see("Slot a cannot be started")
	once := c.lastWritten()
	c.see("(?s)Slot a cannot be started.*Slot a cannot be started")
	if again := c.lastWritten(); !again.Equal(once) {
		t.Errorf("U-Boot wrote at %v and at %v", once, again)
	}
	c.Kill()
	if s := c.stage(); s.Reached != "U-Boot starts slot a." || !strings.HasPrefix(s.Revision, "0x") || s.UBoot == "" || s.Kernel != "" {
		t.Errorf("%+v", s)
	}
}

// lastWritten is when anything was written to the disk.
func (c *computer) lastWritten() time.Time {
	c.t.Helper()
	info, err := os.Stat(c.disk())
	if err != nil {
		c.t.Fatal(err)
	}
	return info.ModTime()
}

// mend repairs a file system; e2fsck then ends with 1.
func mend(t *testing.T, where string) {
	t.Helper()
	out, err := exec.Command("e2fsck", "-f", "-y", where).CombinedOutput()
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 1) {
		t.Fatalf("e2fsck: %v\n%s", err, out)
	}
}

// leaves boots, wants a page with these words on the serial line and not a
// byte changed but on the boot partition, where STATUS.TXT has the page, too.
func (c *computer) leaves(words string) {
	c.t.Helper()
	before := c.hashBehindBoot()
	c.stopsWith(words)
	if c.hashBehindBoot() != before {
		c.t.Error("the disk was written to")
	}
}

// hashBehindBoot is the digest of the table and of all that lies behind the
// boot partition.
func (c *computer) hashBehindBoot() [sha256.Size]byte {
	c.t.Helper()
	f, err := os.Open(c.disk())
	if err != nil {
		c.t.Fatal(err)
	}
	defer f.Close()
	boot, h := c.partition(1), sha256.New()
	behind := io.NewSectionReader(f, boot.Start+boot.Size, 1<<62)
	for _, part := range []io.Reader{io.LimitReader(f, boot.Start), behind} {
		if _, err := io.Copy(h, part); err != nil {
			c.t.Fatal(err)
		}
	}
	return [sha256.Size]byte(h.Sum(nil))
}

// stopsWith boots and wants a page with these words on the serial line,
// however its lines are broken.
func (c *computer) stopsWith(words string) {
	c.t.Helper()
	c.powerOn()
	words = strings.ReplaceAll(words, " ", `\s+`)
	c.see("THIS COMPUTER HAS STOPPED AND NEEDS A PERSON(?s).*" + words + ".*Nothing more happens by itself")
	c.Kill()
}

// wipeSuperblocks removes ext4's superblock and the first of its copies.
func (c *computer) wipeSuperblocks() {
	c.t.Helper()
	f, err := os.OpenFile(c.disk(), os.O_WRONLY, 0)
	if err != nil {
		c.t.Fatal(err)
	}
	defer f.Close()
	for _, at := range []int64{0, 128 << 20} {
		if _, err := f.WriteAt(make([]byte, 64<<10), c.partition(4).Start+at); err != nil {
			c.t.Fatal(err)
		}
	}
}

// TestADiskThatSomebodyRepartitionedIsLeftAlone finds a stranger's partition
// where root-b would go.
func TestADiskThatSomebodyRepartitionedIsLeftAlone(t *testing.T) {
	t.Parallel()
	for _, board := range trialBoards {
		t.Run(board, func(t *testing.T) {
			c := newComputer(t, board, image(t, board), 8*gib)
			if c.config.Board.Firmware == "uefi" {
				run(t, "sgdisk", "-e", "-n", "3:4G:+1G", "-t", "3:0700", "-c", "3:holiday photographs", c.disk())
			} else {
				run(t, "sh", "-c", "echo '3 : start=8388608, size=2097152, type=7' | sfdisk --append --no-reread "+c.disk())
			}
			c.leaves("changed by another program")
		})
	}
}

// TestASecondDiskIsLeftAlone boots beside a disk whose partitions have all the
// right types, from first boot to a running system.
func TestASecondDiskIsLeftAlone(t *testing.T) {
	t.Parallel()
	c := newComputer(t, "generic-amd64", image(t, "generic-amd64"), 8*gib)
	c.personalise()
	other := filepath.Join(t.TempDir(), "other.img")
	if err := os.WriteFile(other, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(other, 2*gib); err != nil {
		t.Fatal(err)
	}
	run(t, "sgdisk", "-n", "1:0:+256M", "-t", "1:ef00", "-n", "2:0:+512M", "-t", "2:8304", "-n", "3:0:+256M", "-t", "3:8200",
		"-n", "4:0:0", "-t", "4:8310", "-c", "4:data", other)
	before := hashFile(t, other)
	c.config.Extra = []string{"-drive", "if=none,id=other,format=raw,file=" + other, "-device", "virtio-blk-pci,drive=other"}
	c.powerOn()
	c.untilRunning()
	if got := c.sh("lsblk -nro NAME,FSTYPE,MOUNTPOINTS"); !strings.Contains(got, "vdb4") || strings.Contains(c.sh("cat /proc/mounts /proc/swaps"), "/dev/vdb") {
		t.Errorf("the other disk should be there and unused:\n%s", got)
	}
	c.powerOff()
	if hashFile(t, other) != before {
		t.Error("the other disk was written to")
	}
}
