//go:build e2e

package e2e

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/slot"
	"github.com/going-mobile/imagebuilder/image/squashfs"
	"github.com/going-mobile/imagebuilder/image/tree"
)

// trialBoards are one of each way to choose a slot: systemd-boot's counting
// and U-Boot's script. GRUB's, on the first of them, has TestABIOSStartsTheNode.
var trialBoards = []string{"generic-amd64", "rpi4"}

// TestATrialThatFailsFallsBackByItself puts broken systems into slot b, each
// failing in its own way and later than the one before, and at last a good
// one, which stays.
func TestATrialThatFailsFallsBackByItself(t *testing.T) {
	t.Parallel()
	for _, board := range trialBoards {
		t.Run(board, func(t *testing.T) {
			c := newComputer(t, board, image(t, board), 8*gib)
			c.personalise()
			c.powerOn()
			c.untilRunning()
			c.powerOff()

			c.install(tries(2), func(root *tree.Tree) *tree.Tree { return nil })
			c.fallsBack(2, "slot b.* is damaged")
			c.Kill()

			c.install(tries(1), withInit(diesAtOnce))
			c.fallsBack(1, "This system dies at once")
			c.Kill()

			if board != "rpi4" { // QEMU resets a Pi whose watchdog is armed at once
				c.install(tries(1), withInit("#!/bin/sh\necho This system hangs.\nwhile :; do sleep 60; done\n"))
				c.fallsBack(1, "This system hangs")
				c.Kill()
			}

			c.install(tries(1), neverHealthy)
			c.fallsBack(1, "Restart, so that the boot loader tries again or falls back")
			c.untilRunning()
			c.saysThatTheTrialFailed()
			c.powerOff()

			c.keepsAGoodOne(func() {})
		})
	}
}

// diesAtOnce is an init that is none.
const diesAtOnce = "#!/bin/sh\necho This system dies at once.\nexit 1\n"

// keepsAGoodOne installs a good system, looks at it on trial, and finds it
// blessed.
func (c *computer) keepsAGoodOne(look func()) {
	c.t.Helper()
	c.install(tries(1), func(root *tree.Tree) *tree.Tree { return root })
	c.powerOn()
	c.untilRunning()
	look()
	c.runsSlot("b", true)
	c.sh("systemctl is-active --wait firstboot-bless.service || systemctl start firstboot-bless.service")
	c.powerOff()
	c.powerOn()
	c.untilRunning()
	c.runsSlot("b", false)
	c.powerOff()
	c.diskIsValid()
}

type tries int

// fallsBack switches the computer on and watches n attempts at slot b, which
// end after words were seen, and then slot a start.
func (c *computer) fallsBack(n int, words string) {
	c.t.Helper()
	c.powerOn()
	attempt := `init: slot b on .*` + words + `.*`
	c.see(`(?s)` + strings.Repeat(attempt, n) + `init: slot a on `)
	if got := strings.Count(c.Serial(), "init: slot b on "); got != n {
		c.t.Errorf("slot b was tried %d times, not %d", got, n)
	}
}

func (c *computer) runsSlot(name string, trial bool) {
	c.t.Helper()
	state := c.sh("cat /run/imagebuilder/boot.json")
	for _, want := range []string{fmt.Sprintf(`"slot": %q`, name), fmt.Sprintf(`"trial": %v`, trial)} {
		if !strings.Contains(state, want) {
			c.t.Errorf("want %s in %s", want, state)
		}
	}
}

func (c *computer) saysThatTheTrialFailed() {
	c.t.Helper()
	c.runsSlot("a", false)
	if said := c.sh("journalctl -b -u firstboot-bless.service -o cat --no-pager"); !strings.Contains(said, "slot b did not prove itself") {
		c.t.Errorf("the node does not tell that the trial failed: %s", said)
	}
}

// withInit replaces systemd by a script.
func withInit(script string) func(*tree.Tree) *tree.Tree {
	return func(root *tree.Tree) *tree.Tree {
		root.Put(&tree.Node{Path: "usr/lib/systemd/systemd", Mode: 0o755, Content: tree.String(script)})
		return root
	}
}

// neverHealthy is a system that works but for its purpose.
func neverHealthy(root *tree.Tree) *tree.Tree {
	const dir = "usr/lib/systemd/system/firstboot-health.service.d"
	root.Put(&tree.Node{Path: dir, Mode: fs.ModeDir | 0o755})
	root.Put(&tree.Node{Path: dir + "/99-test.conf", Mode: 0o644, Content: tree.String("[Service]\nExecStart=\nExecStart=/usr/bin/false\n")})
	return root
}

// install does to a computer that is switched off what an update does: it
// writes slot b, made from slot a, and puts it on trial. A change to nil
// leaves nothing in the slot.
func (c *computer) install(n tries, change func(*tree.Tree) *tree.Tree) {
	c.t.Helper()
	c.fillSlotB(change(rootOf(c.t, c.config.Image)))
	b := slot.EFIName{Generation: 2, Slot: "b", Counted: true, Left: int(n)}
	switch {
	case c.config.Board.Firmware != "uefi":
		c.copyKernel("vmlinuz", "initrd.img", "cmdline.txt")
		c.putBootFile(slot.TrialFile, slot.TrialEnv("b", int(n)))
	case c.config.Board.SecureBoot == "debian":
		c.copyKernel("vmlinuz", "initrd.img")
		if c.config.Board.BIOS {
			c.copyKernel(slot.OptionsFile)
			c.putBootFile(slot.CountFile, slot.CountEnv("", 0))
		}
		b.Entry = true
		c.installEFI(b)
	default:
		c.installEFI(b)
	}
}

func (c *computer) fillSlotB(root *tree.Tree) {
	c.t.Helper()
	f, err := os.OpenFile(c.disk(), os.O_RDWR, 0)
	if err != nil {
		c.t.Fatal(err)
	}
	defer f.Close()
	at := c.partition(3).Start
	if root == nil {
		_, err = f.WriteAt(make([]byte, 1<<20), at)
	} else {
		err = c.writeRoot(f, at, root)
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

// writeRoot writes a root and its digest, without which no trial is kept.
func (c *computer) writeRoot(f *os.File, at int64, root *tree.Tree) error {
	size, err := squashfs.Write(c.t.Context(), io.NewOffsetWriter(f, at), root, squashfs.Options{})
	if err != nil {
		return err
	}
	sum, hash := contract.RootSum{Size: contract.RootSize(size)}, sha256.New()
	if _, err := io.Copy(hash, io.NewSectionReader(f, at, sum.Size)); err != nil {
		return err
	}
	hash.Sum(sum.SHA256[:0])
	_, err = f.WriteAt(sum.Encode(), at+sum.Size)
	return err
}

// installEFI makes what starts slot b from what starts slot a: on the command
// line and in file names only the letter differs.
func (c *computer) installEFI(b slot.EFIName) {
	c.t.Helper()
	data, err := openImage(c.t, c.config.Image).BootFile(slot.EFIName{Generation: 1, Slot: "a", Entry: b.Entry}.Path())
	if err != nil {
		c.t.Fatal(err)
	}
	c.dropSlotB(path.Dir(b.Path()))
	if b.Entry {
		data = bytes.ReplaceAll(data, []byte(" /a/"), []byte(" /b/"))
	}
	c.putBootFile(b.Path(), bytes.ReplaceAll(data, []byte("imagebuilder.slot=a"), []byte("imagebuilder.slot=b")))
}

// dropSlotB removes what earlier trials left of slot b.
func (c *computer) dropSlotB(dir string) {
	c.t.Helper()
	for name := range strings.Lines(c.mtools("mdir", "-b", "::"+dir)) {
		name = strings.TrimSpace(name)
		if file, ok := slot.ParseEFIName(path.Base(name)); ok && file.Slot == "b" {
			c.mtools("mdel", name)
		}
	}
}

// copyKernel makes slot b's directory from slot a's.
func (c *computer) copyKernel(names ...string) {
	c.t.Helper()
	img := openImage(c.t, c.config.Image)
	if !strings.Contains(c.mtools("mdir", "-b", "::"), "::/b/") {
		c.mtools("mmd", "::b")
	}
	for _, name := range names {
		data, err := img.BootFile("a/" + name)
		if err != nil {
			c.t.Fatal(err)
		}
		if name == "cmdline.txt" || name == slot.OptionsFile {
			data = bytes.ReplaceAll(data, []byte("imagebuilder.slot=a"), []byte("imagebuilder.slot=b"))
		}
		c.putBootFile("b/"+name, data)
	}
}
