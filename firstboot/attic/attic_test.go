//go:build linux

package attic

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
)

const store = "var/lib/rancher/k3s/server/db/etcd"

var trial = contract.Trial{Slot: "b", Keep: []string{"/" + contract.EtcUpper, "/" + store, "/var/lib/rancher/k3s/server/token", "/var/lib/headscale"}}

// newRoot is a /var as slot a leaves it: there is no Headscale.
func newRoot(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	put(t, root, contract.EtcUpper+"/hostname", "home-pi\n")
	put(t, root, contract.EtcUpper+"/ssh/ssh_host_ed25519_key", "key")
	put(t, root, store+"/member/wal/0.wal", strings.Repeat("log", 70<<10)+strings.Repeat("\x00", 1<<20))
	put(t, root, "var/lib/rancher/k3s/server/token", "token")
	put(t, root, "var/lib/rancher/k3s/agent/images", "not kept")
	upper := filepath.Join(root, contract.EtcUpper)
	for _, err := range []error{
		os.Chmod(filepath.Join(upper, "ssh/ssh_host_ed25519_key"), 0o600),
		os.Symlink("/usr/share/zoneinfo/Europe/Rome", filepath.Join(upper, "localtime")),
		unix.Mknod(filepath.Join(upper, "gone"), unix.S_IFCHR, 0), // a whiteout
		unix.Mkfifo(filepath.Join(root, store, "pipe"), 0o600),
		unix.Setxattr(filepath.Join(upper, "ssh"), "user.opaque", []byte("y"), 0),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func put(t *testing.T, root, name, text string) {
	t.Helper()
	name = filepath.Join(root, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(text), 0o644)); err != nil {
		t.Fatal(err)
	}
}

// spoil changes the /var as a trial would.
func spoil(t *testing.T, root string) {
	t.Helper()
	put(t, root, contract.EtcUpper+"/hostname", "another\n")
	put(t, root, contract.EtcUpper+"/new", "new")
	put(t, root, store+"/member/wal/0.wal", "a newer schema")
	put(t, root, "var/lib/headscale/db.sqlite", "new")
	put(t, root, "var/lib/rancher/k3s/agent/images", "more")
	for _, name := range []string{contract.EtcUpper + "/gone", contract.EtcUpper + "/ssh", "var/lib/rancher/k3s/server/token"} {
		if err := os.RemoveAll(filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
}

// look lists /var with everything that matters, except for the pipe and the attic's own files.
func look(t *testing.T, root string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(filepath.Join(root, "var"), func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, name)
		if rel == contract.TrialDir {
			return fs.SkipDir
		}
		fi, err := e.Info()
		if err != nil || fi.Mode()&fs.ModeNamedPipe != 0 || rel == "var" || rel == "var/lib" || rel == "var/lib/imagebuilder" {
			return err
		}
		text := fi.Mode().String()
		switch {
		case fi.Mode().IsRegular():
			data, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			text += fmt.Sprint(fi.ModTime().UnixNano(), string(data))
		case fi.Mode()&fs.ModeSymlink != 0:
			target, _ := os.Readlink(name)
			text += target
		}
		value := make([]byte, 10)
		if n, err := unix.Lgetxattr(name, "user.opaque", value); err == nil {
			text += string(value[:n])
		}
		found[rel] = text
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func differs(want, got map[string]string) (names []string) {
	for name := range want {
		if want[name] != got[name] {
			names = append(names, name)
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok {
			names = append(names, name)
		}
	}
	return names
}

func open(t *testing.T, a Attic, slot string, want Done) {
	t.Helper()
	if did, err := a.Open(slot); did != want || err != nil {
		t.Fatalf("slot %s: %v, %v, want %v", slot, did, err, want)
	}
}

// TestATrialThatFailed: what the trial made of it is gone, and what is not kept stays.
func TestATrialThatFailed(t *testing.T) {
	root := newRoot(t)
	a := In(root)
	open(t, a, "a", Nothing)
	if err := a.Prepare("a", trial); err != nil {
		t.Fatal(err)
	}
	want := look(t, root)
	open(t, a, "a", Nothing) // the trial has not begun
	open(t, a, "b", Kept)
	spoil(t, root)
	open(t, a, "b", Nothing) // its second try must not keep what the first one spoilt
	open(t, a, "a", Back)
	got := look(t, root)
	want["var/lib/rancher/k3s/agent/images"] = got["var/lib/rancher/k3s/agent/images"]
	if d := differs(want, got); d != nil || !strings.HasSuffix(got["var/lib/rancher/k3s/agent/images"], "more") {
		t.Errorf("%q differ", d)
	}
	open(t, a, "a", Nothing)
	open(t, a, "b", Kept) // somebody tries it again
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(a.dir(), "1/member/wal/0.wal"), &st); err != nil || st.Size < 1<<20 || st.Blocks*512 > 512<<10 {
		t.Errorf("zeros are written: %d of %d bytes, %v", st.Blocks*512, st.Size, err)
	}
}

// TestBlessed: after a successful trial nothing is kept, and a trial that is about to begin is not
// ended by the slot before it.
func TestBlessed(t *testing.T) {
	root := newRoot(t)
	a := In(root)
	if err := a.Prepare("a", trial); err != nil {
		t.Fatal(err)
	}
	if err := a.Bless("a"); err != nil {
		t.Fatal(err)
	}
	open(t, a, "b", Kept)
	spoil(t, root)
	want := look(t, root)
	if err := a.Bless("b"); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(filepath.Join(root, contract.TrialDir)); len(left) != 0 {
		t.Errorf("%v is left", left)
	}
	open(t, a, "a", Nothing)
	open(t, a, "b", Nothing)
	if d := differs(want, look(t, root)); d != nil {
		t.Errorf("%q differ", d)
	}
	if err := a.Bless("b"); err != nil { // at every start
		t.Fatal(err)
	}
}

// TestWentBack: which way the last good trial went is known until the next one, whatever fails on
// the way.
func TestWentBack(t *testing.T) {
	root := newRoot(t)
	a := In(root)
	for n, c := range []struct {
		slot string
		back bool
	}{{"b", false}, {"a", true}, {"b", true}, {"a", false}} {
		next := trial
		next.Slot, next.Back = c.slot, c.back
		other := map[string]string{"a": "b", "b": "a"}[c.slot]
		if err := a.Prepare(other, next); err != nil {
			t.Fatal(err)
		}
		for at := 1; ; at++ {
			if broken, _ := cut(root, at); broken.Bless(c.slot) == nil {
				break
			}
		}
		for slot, want := range map[string]bool{c.slot: c.back, other: false} {
			if back, err := a.WentBack(slot); err != nil || back != want {
				t.Errorf("trial %d, slot %s: %v, %v", n+1, slot, back, err)
			}
		}
	}
}

var errCut = errors.New("cut")

// cut returns an attic that fails at its nth step and does no other step after it.
func cut(root string, n int) (Attic, *int) {
	steps := 0
	a := In(root)
	a.step = func(string) error {
		if steps++; steps >= n {
			return errCut
		}
		return nil
	}
	return a, &steps
}

// TestEveryStepIsCut: wherever power fails while things are kept or put back, the next start ends
// as if it had not.
func TestEveryStepIsCut(t *testing.T) {
	for name, first := range map[string]string{"kept": "b", "put back": "a"} {
		for n := 1; ; n++ {
			root := newRoot(t)
			if err := In(root).Prepare("a", trial); err != nil {
				t.Fatal(err)
			}
			want := look(t, root)
			if first == "a" {
				open(t, In(root), "b", Kept)
				spoil(t, root)
			}
			a, steps := cut(root, n)
			_, err := a.Open(first)
			if err == nil {
				t.Logf("%s: %d steps", name, *steps)
				break
			}
			if !errors.Is(err, errCut) {
				t.Fatal(err)
			}
			if first == "b" {
				if d := differs(want, look(t, root)); d != nil {
					t.Fatalf("step %d: keeping changes %q", n, d)
				}
				if _, err := In(root).Open("b"); err != nil {
					t.Fatal(err)
				}
				spoil(t, root)
			}
			if _, err := In(root).Open("a"); err != nil {
				t.Fatal(err)
			}
			got := look(t, root)
			maps.DeleteFunc(got, func(name, _ string) bool { return strings.HasSuffix(name, "agent/images") })
			maps.DeleteFunc(want, func(name, _ string) bool { return strings.HasSuffix(name, "agent/images") })
			if d := differs(want, got); d != nil {
				t.Fatalf("%s, cut at step %d: %q differ", name, n, d)
			}
			open(t, In(root), "a", Nothing)
			tidy(t, root, fmt.Sprintf("%s, cut at step %d", name, n))
		}
	}
}

// tidy wants nothing but the trial's file where the attic was.
func tidy(t *testing.T, root, when string) {
	t.Helper()
	left, err := filepath.Glob(filepath.Join(root, contract.TrialDir, "*"))
	if err != nil || len(left) != 1 || left[0] != filepath.Join(root, contract.TrialFile) {
		t.Errorf("%s: %q is left, %v", when, left, err)
	}
}

// TestNoRoom: a trial that cannot keep what it may spoil does not begin and has changed nothing.
// The disk is not left full: the trial itself tidies up or, after a power cut, the start of the
// good slot does.
func TestNoRoom(t *testing.T) {
	root := newRoot(t)
	if err := In(root).Prepare("a", trial); err != nil {
		t.Fatal(err)
	}
	want := look(t, root)
	a, gone := In(root), false
	a.step = func(op string) error {
		switch {
		case gone && strings.HasPrefix(op, "overwrite"):
			return errCut
		case strings.HasPrefix(op, "copy") && strings.HasSuffix(op, ".wal"):
			return unix.ENOSPC
		}
		return nil
	}
	fails := func() {
		t.Helper()
		if _, err := a.Open("b"); !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), "/"+store) {
			t.Error(err)
		}
	}
	fails()
	tidy(t, root, "no room")
	gone = true
	fails()
	open(t, In(root), "a", Nothing)
	tidy(t, root, "no room, no power")
	if d := differs(want, look(t, root)); d != nil {
		t.Errorf("%q differ", d)
	}
}

// TestLocked: encrypted data is kept and put back separately, when it is unlocked, and no later
// trial finds the copies of an earlier one.
func TestLocked(t *testing.T) {
	root := newRoot(t)
	mixed := trial
	mixed.Keep, mixed.Locked = trial.Keep[:1], trial.Keep[1:3]
	a, inner := In(root), In(root).Locked()
	due := func(slot string, want Done) {
		t.Helper()
		if will, err := inner.Due(slot); will != want || err != nil {
			t.Errorf("slot %s: %v, %v, want %v", slot, will, err, want)
		}
	}
	due("b", Nothing)
	if err := a.Prepare("a", mixed); err != nil {
		t.Fatal(err)
	}
	due("a", Nothing)
	open(t, a, "b", Kept)
	due("b", Kept)
	open(t, inner, "b", Kept)
	due("b", Nothing)
	want := look(t, root)
	spoil(t, root)
	open(t, a, "a", Back)
	due("a", Back)
	open(t, inner, "a", Back)
	due("a", Nothing)
	got := look(t, root)
	for _, name := range []string{store + "/member/wal/0.wal", "var/lib/rancher/k3s/server/token", contract.EtcUpper + "/hostname"} {
		if got[name] != want[name] || got[name] == "" {
			t.Errorf("%s is not as it was", name)
		}
	}
	open(t, a, "b", Kept)
	open(t, inner, "b", Kept)
	if err := a.Bless("b"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(root, contract.LockedAtticDir)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it is still there: %v", err)
	}
	if err := a.Prepare("a", mixed); err != nil {
		t.Fatal(err)
	}
	open(t, inner, "b", Kept)
	if err := os.Remove(filepath.Join(root, contract.TrialFile)); err != nil { // the power went while it was blessed
		t.Fatal(err)
	}
	if err := a.Prepare("a", mixed); err != nil {
		t.Fatal(err)
	}
	due("a", Nothing)
	due("b", Kept)
	if err := a.Prepare("a", trial); err != nil { // keeps nothing encrypted
		t.Fatal(err)
	}
	due("b", Nothing)
}

// TestKeptWhileLocked: the only good copy of a store survives every update until it is put back,
// also while the data is locked.
func TestKeptWhileLocked(t *testing.T) {
	root := newRoot(t)
	mixed := trial
	mixed.Keep, mixed.Locked = trial.Keep[:1], trial.Keep[1:3]
	a, shut := In(root), false
	a.shut = func() (bool, error) { return shut, nil }
	if err := a.Prepare("a", mixed); err != nil {
		t.Fatal(err)
	}
	open(t, a, "b", Kept)
	open(t, a.Locked(), "b", Kept)
	want := look(t, root)[store+"/member/wal/0.wal"]
	spoil(t, root)
	open(t, a, "a", Back)
	vault := filepath.Join(root, filepath.Dir(contract.LockedAtticDir))
	hide := func(from, to string) {
		t.Helper()
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	refuses := func(when string, why error) {
		t.Helper()
		if err := a.Prepare("a", trial); !errors.Is(err, why) {
			t.Errorf("%s: %v, want %v", when, err, why)
		}
	}
	hide(vault, vault+".locked") // as the kernel has it
	shut = true
	refuses("locked", ErrShut)
	hide(vault+".locked", vault)
	shut = false
	refuses("open, and not back", ErrOwed)
	open(t, a.Locked(), "a", Back)
	if got := look(t, root)[store+"/member/wal/0.wal"]; got != want || got == "" {
		t.Error("the store is not as it was")
	}
	if err := a.Prepare("a", trial); err != nil {
		t.Error(err)
	}
	shut = true
	if err := a.Prepare("a", mixed); err != nil { // the last one kept nothing that is encrypted
		t.Error(err)
	}
	put(t, root, contract.TrialFile, "{")
	refuses("damaged, locked", ErrShut)
	shut = false
	if err := a.Prepare("a", trial); err != nil { // nobody needs what is not there
		t.Error(err)
	}
}

// TestNoCopyOfASecretIsLeft in free blocks: the attic's files were overwritten.
func TestNoCopyOfASecretIsLeft(t *testing.T) {
	root := newRoot(t)
	a := In(root)
	if err := a.Prepare("a", trial); err != nil {
		t.Fatal(err)
	}
	open(t, a, "b", Kept)
	copied, _ := place(filepath.Join(root, contract.AtticDir), 2) // the token
	f, err := os.Open(copied)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := a.Bless("b"); err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(f); err != nil || string(text) != strings.Repeat("\x00", len("token")) {
		t.Errorf("the blocks have %q, %v", text, err)
	}
}

// TestAmended: whether the cluster's store is kept may change while a trial waits, and the old
// system finds the store accordingly.
func TestAmended(t *testing.T) {
	root := newRoot(t)
	a := In(root)
	files := []string{"/" + store, "/var/lib/rancher/k3s/server/token"}
	if err := a.Prepare("a", contract.Trial{Slot: "b", Keep: []string{"/" + contract.EtcUpper}, Store: files}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		store        contract.StorePlace
		changes      bool
		kept, locked int
	}{
		{contract.StoreNotKept, false, 1, 0}, {contract.StoreKept, true, 3, 0}, {contract.StoreKept, false, 3, 0}, {contract.StoreLocked, true, 1, 2},
		{contract.StoreLocked, false, 1, 2}, {contract.StoreNotKept, true, 1, 0}, {contract.StoreKept, true, 3, 0}, {contract.StoreNotKept, true, 1, 0},
	} {
		next, err := a.Amended(c.store)
		if err != nil || (next != nil) != c.changes {
			t.Fatalf("%+v: %+v, %v", c, next, err)
		}
		if next != nil {
			if err := a.Prepare("a", *next); err != nil {
				t.Fatal(err)
			}
		}
		if now, err := a.Trial(); err != nil || len(now.Keep) != c.kept || len(now.Locked) != c.locked {
			t.Fatalf("%+v: %+v, %v", c, now, err)
		}
	}
	open(t, a, "b", Kept)
	put(t, root, store+"/member/wal/0.wal", "a promise to others")
	open(t, a, "a", Back)
	if text, err := os.ReadFile(filepath.Join(root, store, "member/wal/0.wal")); err != nil || string(text) != "a promise to others" {
		t.Errorf("%.20q, %v", text, err)
	}
	if err := a.Prepare("a", trial); err != nil { // it brings no other k3s
		t.Fatal(err)
	}
	if next, err := a.Amended(contract.StoreKept); err != nil || next != nil {
		t.Errorf("%+v, %v", next, err)
	}
}
