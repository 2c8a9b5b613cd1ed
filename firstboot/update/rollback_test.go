//go:build linux

package update_test

import (
	"bytes"
	"context"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/firstboot"
	"github.com/going-mobile/imagebuilder/firstboot/attic"
	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/crashtest"
	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/firstboot/slot"
	"github.com/going-mobile/imagebuilder/firstboot/update"
)

// before sets the release of slot b's system.
func (w *world) before(board, k3s string) {
	w.t.Helper()
	list, err := node.MarshalComponents([]node.Component{{Name: "k3s", Version: k3s, Format: "binary"}, {Name: "tailscale", Version: "1.80.0", Format: "binary"}})
	if err != nil {
		w.t.Fatal(err)
	}
	w.put("slot-b/usr/lib/os-release", "IMAGE_ID=imagebuilder-"+board+"\nIMAGE_VERSION=zero\n")
	w.put("slot-b/"+node.ComponentsFile, string(list))
}

// knows sets the storage level of slot b's system.
func (w *world) knows(storage string) {
	w.t.Helper()
	const name = "slot-b/usr/lib/os-release"
	w.put(name, w.text(name)+contract.StorageField+"="+storage+"\n")
}

// rollback runs one until it ends, or the power goes.
func (w *world) rollback() (r *update.Result, err error) {
	defer func() {
		w.busy = false // the process ended
		if p := recover(); p != nil {
			if _, ok := p.(crashtest.PowerCut); !ok {
				panic(p)
			}
			r, err = nil, crashtest.ErrInjected
		}
	}()
	return update.Rollback(context.Background(), firstboot.Host{Files: files{world: w}, Units: units{world: w}, Net: cluster{world: w}}, slots{w})
}

// spentUnified is a file whose trial has failed.
const spentUnified = "EFI/Linux/imagebuilder-2-b+0-3.efi"

// TestRollback: the previous system is tried, if no newer k3s has written its data; nothing is
// written but the start of the trial.
func TestRollback(t *testing.T) {
	all := maps.Clone(boards)
	all["unified"] = unifiedBoard.with("EFI/Linux/imagebuilder-0-b.efi", "the one before")
	delete(all["unified"].files, spentUnified)
	for name, b := range all {
		w := newWorld(t, b)
		w.before("rpi4", "v1.33.0+k3s1")
		want := w.boot()
		r, err := w.rollback()
		if err != nil || *r != (update.Result{Installed: true, Slot: "b", Version: "zero"}) || w.busy {
			t.Fatalf("%s: %+v, %v", name, r, err)
		}
		if st, err := (slots{w}).store().Current(); err != nil || st.Good != "a" || st.Trial != "b" || st.Tries != 3 {
			t.Errorf("%s: %+v, %v", name, st, err)
		}
		got := w.boot()
		for _, of := range []map[string]string{got, want} {
			maps.DeleteFunc(of, func(name, _ string) bool {
				n, ok := slot.ParseEFIName(name[strings.LastIndexByte(name, '/')+1:])
				return name == slot.TrialFile || ok && n.Slot == "b"
			})
		}
		if !maps.Equal(got, want) {
			t.Errorf("%s: %q\nwant %q", name, got, want)
		}
		if w.trial.Slot != "b" || len(w.trial.Keep) == 0 {
			t.Errorf("%s: %+v", name, w.trial)
		}
	}
}

// TestRollbackOfASilentServer: the cluster does not answer, which the update itself may have
// caused.
func TestRollbackOfASilentServer(t *testing.T) {
	w := newWorld(t, piBoard)
	server(w)
	w.before("rpi4", "v1.33.0+k3s1")
	if r, err := w.rollback(); err != nil || !r.Installed || !w.trial.Back || slices.Contains(w.trial.Keep, "/var/lib/rancher/k3s/server/db/etcd") {
		t.Errorf("%+v, %v: %+v", r, err, w.trial)
	}
}

// leaves says whether slot b is tried next.
func (w *world) leaves() bool {
	w.t.Helper()
	st, err := (slots{w}).store().Current()
	if err != nil {
		w.t.Fatal(err)
	}
	return st.Leaves()
}

// TestTakenBack: an update that waits for the restart is no longer tried after a rollback or an
// update to the running system, and no rollback tries it later. The update itself can be applied
// again.
func TestTakenBack(t *testing.T) {
	for name, b := range boards {
		for how, back := range map[string]func(w *world, same []byte) (*update.Result, error){
			"rollback": func(w *world, _ []byte) (*update.Result, error) { return w.rollback() },
			"update":   func(w *world, same []byte) (*update.Result, error) { return w.apply(same) },
			"pieces": func(w *world, same []byte) (*update.Result, error) {
				return w.receive(digest(same), 0, bytes.NewReader(same))
			},
		} {
			t.Run(name+" "+how, func(t *testing.T) {
				w := newWorld(t, b)
				same, next := w.again(0), w.artifact(1, nil)
				w.before("rpi4", "v1.33.1+k3s1")
				if _, err := w.apply(next); err != nil || !w.leaves() {
					t.Fatal(err)
				}
				r, err := back(w, same)
				if err != nil || *r != (update.Result{Slot: "a", Version: "one", TakenBack: true}) || w.leaves() {
					t.Fatalf("%+v, %v", r, err)
				}
				if want := "what waited for the next start is taken back: this node runs one, in slot a, and goes on with it"; r.String() != want {
					t.Error(r)
				}
				if r, err := w.apply(same); err != nil || r.TakenBack {
					t.Errorf("again: %+v, %v", r, err)
				}
				if r, err := w.rollback(); err == nil || !strings.Contains(err.Error(), "slot b has an update that was taken back, or cut off") || w.leaves() {
					t.Errorf("%+v, %v", r, err)
				}
				if r, err := w.apply(next); err != nil || !r.Installed || !w.leaves() {
					t.Errorf("the update again: %+v, %v", r, err)
				}
			})
		}
	}
}

// restart starts the slot on trial, where it is blessed.
func (w *world) restart() {
	w.t.Helper()
	was := w.trial
	w.edit("proc/cmdline", "slot="+slot.Other(was.Slot), "slot="+was.Slot)
	if err := (slots{w}).store().MarkGood(); err != nil {
		w.t.Fatal(err)
	}
	if w.trial, w.back = (contract.Trial{}), ""; was.Back {
		w.back = was.Slot
	}
}

// TestRollbackSaidTwice: the connection may break before the node has answered. A node that has gone
// back does not go forward again by the same words.
func TestRollbackSaidTwice(t *testing.T) {
	w := newWorld(t, piBoard)
	w.before("rpi4", "v1.33.1+k3s1")
	for range 2 {
		if r, err := w.rollback(); err != nil || !r.Installed || !w.leaves() {
			t.Fatalf("%+v, %v", r, err)
		}
	}
	if r, err := w.apply(w.again(0)); err != nil || !r.TakenBack || w.leaves() { // the other way round
		t.Errorf("%+v, %v", r, err)
	}
	if r, err := w.rollback(); err != nil || !r.Installed {
		t.Errorf("%+v, %v", r, err)
	}
	w.restart()
	w.put("slot-a/usr/lib/os-release", w.text("slot-b/usr/lib/os-release"))
	w.put("slot-a/"+node.ComponentsFile, w.text("slot-b/"+node.ComponentsFile))
	if r, err := w.rollback(); err == nil || !strings.Contains(err.Error(), "slot a has the system that this node went back from: it runs what it ran before") || w.leaves() {
		t.Errorf("gone back: %+v, %v", r, err)
	}
	w.back = ""
	if r, err := w.rollback(); err != nil || !r.Installed {
		t.Errorf("after an update: %+v, %v", r, err)
	}
}

// TestEveryCallOfATakingBackFails: after a failure anywhere it can be repeated, and no rollback
// tries the update.
func TestEveryCallOfATakingBackFails(t *testing.T) {
	start := func() *world {
		w := newWorld(t, waitingBoard)
		w.before("rpi4", "v1.33.1+k3s1")
		w.trial = contract.Trial{Slot: "b", Keep: []string{"/var/lib/x"}}
		return w
	}
	calm := start()
	if r, err := calm.rollback(); err != nil || !r.TakenBack {
		t.Fatalf("%+v, %v", r, err)
	}
	for kind, f := range map[string]fault{"before": before, "after": after, "cut": cut, "cutEnd": cutEnd} {
		for n := 1; n <= calm.calls; n++ {
			w := start()
			w.fault = func(call int, _ string) fault { return map[bool]fault{true: f}[call == n] }
			_, _ = w.rollback()
			w.fault = nil
			if r, err := w.rollback(); w.leaves() || err == nil && !r.TakenBack {
				t.Errorf("%s, call %d (%s): %+v, %v", kind, n, calm.names[n-1], r, err)
			}
		}
	}
}

// TestNoRollback: each refusal is explained in words, and nothing was written.
func TestNoRollback(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*world)
		want   string
	}{
		"nothing there":   {func(w *world) { os.RemoveAll(w.at("slot-b")) }, "slot b has no system to go back to"},
		"a newer k3s":     {func(w *world) { w.before("rpi4", "v1.32.9+k3s1") }, "slot b has k3s v1.32.9+k3s1, this is v1.33.1+k3s1, whose data"},
		"another board":   {func(w *world) { w.before("rpi5", "v1.33.1+k3s1") }, "slot b has a system for board rpi5, this is rpi4"},
		"not proved":      {func(w *world) { w.edit("proc/cmdline", "slot=a", "slot=b") }, "slot b, which runs, has not proved itself"},
		"locked":          {func(w *world) { w.owes = attic.ErrShut }, "this node's data are locked"},
		"under way":       {func(w *world) { w.busy = true }, "another update is under way"},
		"no encryption":   {encryptedAgent, "slot b does not know how this node's data are kept, which are encrypted (storage 1, it states 0)"},
		"no TPM":          {func(w *world) { sealedAgent(w); w.knows("1") }, "(storage 2, it states 1), and would take them for lost: go on to a mended version"},
		"storage unclear": {func(w *world) { w.knows("two") }, "/usr/lib/os-release: IMAGEBUILDER_STORAGE: the version of its storage"},
		"no room":         {func(w *world) { w.varRoom = 1 << 20 }, "/var has room for 1 MB"},
		"no room for k3s": {func(w *world) { w.before("rpi4", "v1.33.0+k3s1"); w.varRoom = 100 << 20 }, "/var has room for 100 MB, the trial needs 364 MB"},
		"no kernel there": {func(w *world) { os.Remove(w.at("boot/firmware/b/vmlinuz")) }, "no kernel for slot b"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, piBoard)
			w.before("rpi4", "v1.33.1+k3s1")
			c.change(w)
			before := w.boot()
			if r, err := w.rollback(); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("%+v, %v; want %q", r, err, c.want)
			}
			got := w.boot()
			delete(before, slot.GoodFile) // is written out before it is known whether there is a kernel
			delete(got, slot.GoodFile)
			if !maps.Equal(before, got) {
				t.Errorf("%q\nwas %q", got, before)
			}
		})
	}
}

// TestNoRollbackToWhatFailed: after a failed trial the other slot holds the system that failed, and
// not the previous one, whichever boot loader counts the tries.
func TestNoRollbackToWhatFailed(t *testing.T) {
	const entry = "loader/entries/imagebuilder-5-b+3.conf"
	for name, b := range map[string]board{
		"U-Boot":       piBoard.with(slot.TrialFile, string(slot.TrialEnv("b", 0))),
		"systemd-boot": unifiedBoard,
		"GRUB":         pcBoard.with(entry, "new").with(slot.CountFile, string(slot.CountEnv("5-b", 3))),
	} {
		w := newWorld(t, b)
		w.before("rpi4", "v1.33.1+k3s1")
		before := w.boot()
		if r, err := w.rollback(); err == nil || !strings.Contains(err.Error(), "slot b has the system whose trial failed: this node runs what it ran before") {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
		if !maps.Equal(before, w.boot()) {
			t.Errorf("%s: something was written", name)
		}
	}
}

// TestEveryCallOfARollbackFails: whatever fails, a system that would take the data for lost is
// never tried. One that knows the data is tried, at the latest when the rollback is repeated.
func TestEveryCallOfARollbackFails(t *testing.T) {
	start := func(storage string) *world {
		w := newWorld(t, piBoard)
		w.before("rpi4", "v1.33.0+k3s1")
		w.knows(storage)
		sealedAgent(w)
		return w
	}
	calm := start("2")
	if _, err := calm.rollback(); err != nil || calm.trial.Slot != "b" {
		t.Fatalf("%+v, %v", calm.trial, err)
	}
	want := calm.boot()
	for kind, f := range map[string]fault{"before": before, "after": after, "cut": cut, "cutEnd": cutEnd} {
		for n := 1; n <= calm.calls; n++ {
			broken := func(call int, _ string) fault { return map[bool]fault{true: f}[call == n] }
			w := start("1")
			w.fault = broken
			if r, err := w.rollback(); err == nil || w.trial.Slot != "" {
				t.Fatalf("%s, call %d (%s): %+v, %v, trial %+v", kind, n, calm.names[n-1], r, err, w.trial)
			}
			w = start("2")
			w.fault = broken
			_, _ = w.rollback()
			w.fault = nil
			if _, err := w.rollback(); err != nil || !maps.Equal(w.boot(), want) {
				t.Fatalf("%s, call %d (%s), then again: %v: %q\nwant %q", kind, n, calm.names[n-1], err, w.boot(), want)
			}
		}
	}
}
