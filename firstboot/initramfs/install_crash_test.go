//go:build linux

package initramfs

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
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
)

// world is a computer with a stick in it: what a stick's order is followed on.
// Every call to it may fail, once.
type world struct {
	stick, disk  *cutdisk.Disk
	yaml         medium
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

// target is the disk, which forgets, too.
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
	w := &world{stick: cutdisk.New(32 * mib), disk: cutdisk.New(600 * mib), vars: map[string][]byte{"Boot0000": []byte("somebody's"), "BootOrder": {0, 0}}}
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
	_, err = efiboot.Start(firmware{w}, efiboot.Loader{Title: done.Node, Partition: boot.Number, GUID: boot.ID, First: boot.First, Sectors: boot.Sectors, File: efiFile("amd64")})
	return err
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

// state is all that is left of an installation, for comparing.
func (w *world) state() map[string]string {
	out := map[string]string{"node.yaml": string(w.yaml.text)}
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

// TestEveryCallOfAnInstallationFailsInTurn: of the stick, of the disk, of node.yaml
// and of the firmware. The next start ends as it would have without, and a third
// one writes nothing to the disk.
func TestEveryCallOfAnInstallationFailsInTurn(t *testing.T) {
	whole := newWorld(t)
	if err := whole.start(); err != nil {
		t.Fatal(err)
	}
	want := whole.state()
	if strings.Contains(want["node.yaml"], "SECRET") || len(want["BootNext"]) != 2 || len(want) < 130 {
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
			if err := w.start(); err != nil {
				t.Fatalf("after call %d failed: %v", at, err)
			}
			if !maps.Equal(w.state(), want) {
				t.Fatalf("after call %d failed the end is another", at)
			}
		}
		writes := len(w.disk.Log)
		if err := w.start(); err != nil || len(w.disk.Log) != writes {
			t.Fatalf("after call %d failed: the disk is touched again: %v", at, err)
		}
	}
	t.Logf("%d calls failed in turn", whole.calls)
}
