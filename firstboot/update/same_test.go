//go:build linux

package update_test

import (
	"bytes"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/artifact"
	"github.com/going-mobile/imagebuilder/firstboot/artifact/artifacttest"
	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/slot"
	"github.com/going-mobile/imagebuilder/firstboot/update"
)

// again is an update with the version and time that the node runs, with slot a's boot files and
// slot a's root from the offset from on.
func (w *world) again(from int) []byte {
	w.t.Helper()
	_, private := artifacttest.Keys(w.t, 1)
	var parts, out bytes.Buffer
	p, err := artifact.NewPacker(&parts)
	if err != nil {
		w.t.Fatal(err)
	}
	m, at := manifest("one", made, rootA[from:]), int64(from)
	for chunk := range slices.Chunk(rootA[from:], artifact.MaxPart) {
		m.Root.Parts = append(m.Root.Parts, artifact.Copy(chunk, at))
		at += int64(len(chunk))
	}
	for _, name := range w.kit {
		a := []byte(w.text(w.place(name)))
		f, err := p.File(name, a, forB(a), nil)
		if err != nil {
			w.t.Fatal(err)
		}
		m.Boot = append(m.Boot, f)
	}
	if err := artifact.Write(&out, m, private, &parts); err != nil {
		w.t.Fatal(err)
	}
	return out.Bytes()
}

// forB is a boot file as slot b would have it.
func forB(a []byte) []byte { return slices.Concat([]byte("B"), a[1:]) }

// place is where slot a's boot file lies.
func (w *world) place(name string) string {
	w.t.Helper()
	found, err := filepath.Glob(w.at("boot/firmware/" + strings.Replace(slot.Place(name, "a", 0), "-0-", "-*-", 1)))
	if err != nil || len(found) != 1 {
		w.t.Fatalf("%s: %q, %v", name, found, err)
	}
	rel, _ := filepath.Rel(w.dir, found[0])
	return rel
}

// TestTheSame image is no update and no error.
func TestTheSame(t *testing.T) {
	for name, b := range boards {
		w := newWorld(t, b)
		before := w.boot()
		r, err := w.apply(w.again(0))
		if err != nil || *r != (update.Result{Slot: "a", Version: "one"}) || !maps.Equal(before, w.boot()) {
			t.Fatalf("%s: %+v, %v", name, r, err)
		}
		if r.String() != "this node runs one already, in slot a: nothing was done" {
			t.Error(r)
		}
	}
}

// TestTheSameInSlotB, where the slot's letter is another.
func TestTheSameInSlotB(t *testing.T) {
	w := newWorld(t, piBoard)
	w.edit("proc/cmdline", "slot=a", "slot=b")
	w.put("boot/firmware/"+slot.GoodFile, string(slot.GoodEnv("b")))
	w.roots["b"] = rootA
	for _, name := range w.kit {
		w.put("boot/firmware/"+slot.Place(name, "b", 0), string(forB([]byte(w.text(w.place(name))))))
	}
	if r, err := w.apply(w.again(0)); err != nil || *r != (update.Result{Slot: "b", Version: "one"}) {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestTheSameByName: another image of the same version and time, with another root or another boot
// file.
func TestTheSameByName(t *testing.T) {
	for name, b := range boards {
		w := newWorld(t, b)
		if r, err := w.apply(w.again(512 << 10)); err != nil || !r.Installed {
			t.Errorf("%s, another root: %+v, %v", name, r, err)
		}
		for _, file := range b.kit {
			w := newWorld(t, b)
			data := w.again(0)
			w.put(w.place(file), w.text(w.place(file))+" of another image")
			if r, err := w.apply(data); err != nil || !r.Installed {
				t.Errorf("%s, another %s: %+v, %v", name, file, r, err)
			}
			w = newWorld(t, b)
			data = w.again(0)
			w.fault = func(_ int, call string) fault {
				if call == "open /"+w.place(file) {
					return before
				}
				return none
			}
			if r, err := w.apply(data); err != nil || !r.Installed {
				t.Errorf("%s, no %s to be read: %+v, %v", name, file, r, err)
			}
		}
	}
}

// TestTheSameOnAWornCard: a node that has lost part of its image gets the image again, in the other
// slot.
func TestTheSameOnAWornCard(t *testing.T) {
	w := newWorld(t, piBoard)
	w.put(contract.StateFile, `{"slot": "a", "disk": "mmcblk0"}`)
	same := w.again(0)
	for _, fault := range []string{"", "its digest is another one"} {
		w.put("var/lib/imagebuilder/firstboot/slot-check.json", fmt.Sprintf(`{"slot": "a", "made": %q, "fault": %q}`, made.Format(time.RFC3339), fault))
		if r, err := w.apply(same); err != nil || r.Installed != (fault != "") {
			t.Errorf("fault %q: %+v, %v", fault, r, err)
		}
	}
}
