//go:build linux

package initramfs

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/disks"
	"github.com/going-mobile/imagebuilder/firstboot/disks/cutdisk"
	"github.com/going-mobile/imagebuilder/firstboot/disks/ptable"
	"github.com/going-mobile/imagebuilder/firstboot/efiboot"
	"github.com/going-mobile/imagebuilder/firstboot/installer"
	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/firstboot/slot"
)

// world is a computer with a stick in it, on which the stick's order is followed. Each call to it
// may fail, once.
type world struct {
	stick, disk  *cutdisk.Disk
	yaml         medium
	boot         string // the stick's boot partition, except for node.yaml
	vars         map[string][]byte
	calls, fails int
}

var errBroken = errors.New("input/output error")

func (w *world) call() error {
	if w.calls++; w.calls == w.fails {
		return errBroken
	}
	return nil
}

// target is the disk to install on. It implements Forget.
type target struct {
	*cutdisk.Disk
	w *world
}

func (t target) Forget() error { return t.w.call() }

// yamlFile is node.yaml on the stick.
type yamlFile struct {
	*medium
	w *world
}

func (f yamlFile) Seek(off int64, whence int) (int64, error) {
	return withCall(f.w, func() (int64, error) { return f.medium.Seek(off, whence) })
}

func (f yamlFile) ReadAt(p []byte, off int64) (int, error) {
	return withCall(f.w, func() (int, error) { return f.medium.ReadAt(p, off) })
}

func (f yamlFile) WriteAt(p []byte, off int64) (int, error) {
	return withCall(f.w, func() (int, error) { return f.medium.WriteAt(p, off) })
}

func (f yamlFile) Sync() error {
	_, err := withCall(f.w, func() (int, error) { return 0, f.medium.Sync() })
	return err
}

func withCall[T any](w *world, do func() (T, error)) (none T, err error) {
	if err := w.call(); err != nil {
		return none, err
	}
	return do()
}

// firmware has its variables in memory.
type firmware struct{ *world }

func (f firmware) Names() ([]string, error) {
	return withCall(f.world, func() ([]string, error) { return slices.Sorted(maps.Keys(f.vars)), nil })
}

func (f firmware) Read(name string) ([]byte, error) {
	return withCall(f.world, func() ([]byte, error) {
		if data, ok := f.vars[name]; ok {
			return data, nil
		}
		return nil, fs.ErrNotExist
	})
}

func (f firmware) Write(name string, data []byte) error {
	_, err := withCall(f.world, func() (int, error) { f.vars[name] = data; return 0, nil })
	return err
}

const storySlot = 4 * mib

func newWorld(t *testing.T) *world {
	w := &world{stick: cutdisk.New(32 * mib), disk: cutdisk.New(600 * mib), vars: map[string][]byte{"Boot0000": []byte("somebody's"), "BootOrder": {0, 0}}, boot: bootPartition(t)}
	table := ptable.New(w.stick.Size, 512, guidA, make([]byte, 512))
	table.Put(ptable.Entry{Number: contract.PartBoot, Type: contract.TypeESP, ID: espA, First: 8192, Sectors: 64})
	table.Put(ptable.Entry{Number: contract.PartRootA, Type: contract.TypeRootAMD64, ID: espB, Name: contract.NameRootA, First: 16384, Sectors: 64})
	if err := table.Write(w.stick); err != nil {
		t.Fatal(err)
	}
	for _, e := range table.Entries {
		if _, err := w.stick.WriteAt(bytes.Repeat([]byte(e.ID[:16]), 32*64), int64(e.First)*512); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.disk.WriteAt(bytes.Repeat([]byte("somebody's data "), 32), 8*512); err != nil {
		t.Fatal(err)
	}
	w.stick.Fault, w.disk.Fault = w.call, w.call
	w.yaml.text = []byte("version: 1\nnode: cabin-box\nsite: cabin\nrole: agent\nheadscale: {url: https://h.example.net, authKey: SECRET}\nk3s: {servers: [home-pi], agentToken: SECRET}\n" +
		"install: {disk: {only: true}, wipe: true}\n" + strings.Repeat("\n", 4000))
	return w
}

// bootPartition is where firmware and GRUB find what they start.
func bootPartition(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{loaderFile("amd64"): "MZ", slot.GRUBScript: "script", slot.CountFile: string(slot.CountEnv("", 0))} {
		file := filepath.Join(dir, filepath.FromSlash(name))
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// bootFile is "" for one that is not there.
func (w *world) bootFile(name string) string {
	text, _ := os.ReadFile(filepath.Join(w.boot, filepath.FromSlash(name)))
	return string(text)
}

// start is one start of the computer from its stick: install's steps on w.
func (w *world) start() error {
	stick, err := ptable.Read(w.stick, w.stick.Size, 512)
	if err != nil {
		return err
	}
	yaml := yamlFile{&w.yaml, w}
	done, isDone := node.ParseInstalled(w.yaml.text)
	if !isDone {
		cfg, err := node.Load(node.FileName, bytes.TrimRight(w.yaml.text, "\n"))
		if err != nil {
			return fmt.Errorf("the stick would become a node: %w", err)
		}
		if done, err = w.follow(stick, *cfg.Install); err != nil {
			return err
		}
	}
	if err := note(yaml, done); err != nil {
		return err
	}
	table, err := ptable.Read(w.disk, w.disk.Size, 512)
	if err != nil {
		return err
	}
	if table.ID != done.DiskID {
		return fmt.Errorf("the stick installed %s, and the disk is %s", done.DiskID, table.ID)
	}
	boot := table.Entry(contract.PartBoot)
	err = efiboot.Start(firmware{w}, efiboot.Loader{Title: done.Node, Partition: boot.Number, GUID: boot.ID, First: boot.First, Sectors: boot.Sectors, File: efiFile("amd64")})
	if err = errors.Join(err, w.call()); err != nil {
		return err
	}
	if err := retire(w.boot, "amd64", boot.ID); err != nil {
		return err
	}
	return w.call()
}

func (w *world) follow(stick *ptable.Table, want node.Install) (node.Installed, error) {
	d := disks.Disk{Name: "vda", Size: w.disk.Size, Sector: 512, Serial: "S1"}
	if table, err := ptable.Read(w.disk, w.disk.Size, 512); err == nil {
		d.Table = table
	}
	plan, err := installer.New(stick, d.Size, w.yaml.text, d.Serial)
	if err != nil {
		return node.Installed{}, err
	}
	done := node.Installed{Node: "cabin-box", DiskID: plan.Table.ID}
	if plan.Done(d.Table) {
		return done, nil
	}
	first := make([]byte, 512)
	if _, err := w.disk.ReadAt(first, 0); err == nil && bytes.Contains(first, []byte("imagebuilder: making system disk")) {
		want = node.Install{} // nothing more has to be allowed
	}
	t := disks.Target{Want: want, Stick: disks.Disk{Name: "sda", Sector: 512}, Need: needs(stick, storySlot)}
	if err := t.Judge(d, w.disk); err != nil {
		return done, err
	}
	return done, plan.Run(w.stick, target{w.disk, w}, disks.UnfinishedSystem("cabin-box"), func(int64, int64) {})
}

// state is everything that an installation leaves, for comparing.
func (w *world) state() map[string]string {
	out := map[string]string{"node.yaml": string(w.yaml.text), "loader": w.bootFile(loaderFile("amd64")), "grubenv": w.bootFile(slot.CountFile)}
	for name, data := range w.vars {
		out[name] = string(data)
	}
	zero := make([]byte, 512)
	for n, data := range w.disk.Sectors {
		if !bytes.Equal(data, zero) {
			out[fmt.Sprint("sector ", n)] = string(data)
		}
	}
	return out
}

// again starts the stick once more. A person is told about that if nothing should have started it.
func (w *world) again() error {
	retired := w.bootFile(loaderFile("amd64")) == ""
	err := w.start()
	if retired && errors.Is(err, errAgain) {
		return nil
	}
	return err
}

// TestEveryCallOfAnInstallationFailsInTurn: each call of the stick, of the disk, of node.yaml and
// of the firmware. The next start ends as if it had not failed, and a third one writes nothing to
// the disk.
func TestEveryCallOfAnInstallationFailsInTurn(t *testing.T) {
	whole := newWorld(t)
	if err := whole.start(); err != nil {
		t.Fatal(err)
	}
	want := whole.state()
	if strings.Contains(want["node.yaml"], "SECRET") || len(want["BootNext"]) != 2 || want["loader"] != "" || len(want) < 130 {
		t.Fatalf("%d things: %.200q", len(want), want["node.yaml"])
	}
	for at := 1; at <= whole.calls; at++ {
		w := newWorld(t)
		w.fails = at
		err := w.start()
		w.fails = 0
		if err == nil && !maps.Equal(w.state(), want) {
			t.Fatalf("call %d failed, nobody said so, and it is not done", at)
		}
		for range 2 {
			if err := w.again(); err != nil {
				t.Fatalf("after call %d failed: %v", at, err)
			}
			if !maps.Equal(w.state(), want) {
				t.Fatalf("after call %d failed the end is another", at)
			}
		}
		writes := len(w.disk.Log)
		if err := w.again(); err != nil || len(w.disk.Log) != writes {
			t.Fatalf("after call %d failed: the disk is touched again: %v", at, err)
		}
	}
	t.Logf("%d calls failed in turn", whole.calls)
}

// disobedient are firmwares that start a stick that was left in, whatever they were told. Each
// function says whether the stick is started now.
var disobedient = map[string]func(w *world) bool{
	"what is removable first": func(w *world) bool { return w.bootFile(loaderFile("amd64")) != "" },
	"a BIOS": func(w *world) bool { // GRUB stays on the stick
		table, err := ptable.Read(w.disk, w.disk.Size, 512)
		return err != nil || !strings.Contains(w.bootFile(slot.CountFile), "\n"+slot.GRUBElsewhere+"="+table.Entry(contract.PartBoot).ID+"\n")
	},
	"as told": func(w *world) bool {
		next := w.vars["BootNext"]
		delete(w.vars, "BootNext")
		if next == nil {
			next = w.vars["BootOrder"][:2]
		}
		return next[0] == 0 && w.bootFile(loaderFile("amd64")) != ""
	},
}

// TestNoFirmwareStartsAStickForEver: power fails after each call. From then on at the latest the
// second start is the disk's, and so is every later one. Nobody has to take the stick out. If the
// firmware starts the disk at once, no secret is left on the stick.
func TestNoFirmwareStartsAStickForEver(t *testing.T) {
	whole := newWorld(t)
	if err := whole.start(); err != nil {
		t.Fatal(err)
	}
	for at := 1; at <= whole.calls+1; at++ {
		w := newWorld(t)
		w.fails = at
		_ = w.start() // the power goes
		w.fails = 0
		needed := false
		for name, startsStick := range disobedient {
			starts := startsStick(w)
			needed = needed || starts
			if !starts && bytes.Contains(w.yaml.text, []byte("SECRET")) {
				t.Fatalf("%s, after call %d: the disk starts, and the stick has secrets", name, at)
			}
		}
		if needed {
			if err := w.start(); err != nil {
				t.Fatalf("after call %d: %v", at, err)
			}
		}
		for name, startsStick := range disobedient {
			first, second := startsStick(w), startsStick(w) // firmware forgets BootNext in between
			if first || second {
				t.Fatalf("%s, after call %d: the stick is started again", name, at)
			}
		}
	}
}

// TestRetiring: GRUB is told of the disk before UEFI finds nothing to start any more, and the boot
// partition then needs no more writes.
func TestRetiring(t *testing.T) {
	for _, arch := range []string{"amd64", "arm64"} {
		dir := t.TempDir()
		loader := filepath.Join(dir, filepath.FromSlash(loaderFile(arch)))
		if err := os.MkdirAll(filepath.Join(loader, "in the way"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := retire(dir, arch, espB); !errors.Is(err, errStick) {
			t.Errorf("%s: a loader that stays: %v", arch, err)
		}
		if err := errors.Join(os.RemoveAll(loader), os.WriteFile(loader, []byte("MZ"), 0o600)); err != nil {
			t.Fatal(err)
		}
		if err := retire(dir, arch, espB); err != nil {
			t.Errorf("%s: %v", arch, err)
		}
		if err := retire(dir, arch, espB); !errors.Is(err, errAgain) || errors.Is(err, errStick) {
			t.Errorf("%s: started again: %v", arch, err)
		}
		if left, _ := filepath.Glob(dir + "/*"); len(left) != 1 {
			t.Errorf("%s: something was made where GRUB is not: %v", arch, left)
		}
	}
	dir := bootPartition(t)
	if err := errors.Join(os.Remove(filepath.Join(dir, loaderFile("amd64"))), os.Mkdir(filepath.Join(dir, loaderFile("amd64")), 0o700), os.Mkdir(filepath.Join(dir, loaderFile("amd64"), "x"), 0o700)); err != nil {
		t.Fatal(err)
	}
	if err := retire(dir, "amd64", espB); !errors.Is(err, errStick) {
		t.Error(err)
	}
	if env, err := os.ReadFile(filepath.Join(dir, slot.CountFile)); err != nil || !strings.Contains(string(env), espB) {
		t.Errorf("GRUB does not know the disk yet: %v", err)
	}
}

// TestAStickThatForgetsIsNotBelieved: checkRetired notices that the stick has lost what was written
// to it, or else the computer would restart for ever.
func TestAStickThatForgetsIsNotBelieved(t *testing.T) {
	done := node.Installed{Node: "cabin-box", DiskID: guidA}
	head, rest := done.Text(node.ReservedSize)
	other, _ := node.Installed{Node: "cabin-box", DiskID: espB}.Text(0)
	for name, test := range map[string]struct {
		yaml   string
		loader bool
		want   string
	}{
		"kept":                 {string(head) + string(rest), false, ""},
		"the order is back":    {"version: 1\nnode: cabin-box\n", false, "does not keep node.yaml"},
		"another note is back": {string(other), false, "does not keep node.yaml"},
		"the loader is back":   {string(head), true, "still has EFI/BOOT/BOOTX64.EFI"},
	} {
		dir := bootPartition(t)
		if err := os.WriteFile(filepath.Join(dir, node.FileName), []byte(test.yaml), 0o600); err != nil {
			t.Fatal(err)
		}
		if !test.loader {
			if err := retire(dir, "amd64", espB); err != nil {
				t.Fatal(err)
			}
		}
		err := checkRetired(dir, "amd64", done)
		if (err == nil) != (test.want == "") || err != nil && (!errors.Is(err, errStick) || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
