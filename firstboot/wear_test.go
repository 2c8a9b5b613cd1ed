package firstboot_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot"
	"github.com/going-mobile/imagebuilder/firstboot/contract"
)

// inSlot is a node's world whose image runs from a slot.
func inSlot(t *testing.T, slot string) (*world, firstboot.Host) {
	w := newWorld(t, initYAML)
	state, err := contract.State{Slot: slot, Disk: "mmcblk0"}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	w.put("/run/imagebuilder/boot.json", string(state))
	return w, w.host()
}

// TestWear: what a look at the slot found is remembered for this image in this slot, and
// a node whose card loses bits says so and works on.
func TestWear(t *testing.T) {
	w, h := inSlot(t, "a")
	if got, err := firstboot.ReadWear(h.Files); got != nil || err != nil {
		t.Errorf("nobody looked: %+v, %v", got, err)
	}
	if err := firstboot.CheckSlot(context.Background(), h, "a"); err != nil {
		t.Error(err)
	}
	if got, err := firstboot.ReadWear(h.Files); err != nil || got == nil || got.Fault != "" || w.now.Sub(got.At) > 2*time.Second {
		t.Errorf("whole: %+v, %v", got, err)
	}
	w.worn = errors.New("its digest is another one")
	if err := firstboot.CheckSlot(context.Background(), h, "a"); !errors.Is(err, w.worn) || !strings.HasPrefix(err.Error(), "slot a: ") {
		t.Error(err)
	}
	if got, err := firstboot.ReadWear(h.Files); err != nil || got == nil || got.Fault != w.worn.Error() {
		t.Errorf("worn: %+v, %v", got, err)
	}
	if s := firstPass(t, h); s.Notice == nil || s.Notice.Code != "slot-worn" || !strings.Contains(s.Notice.Summary, "slot a") {
		t.Errorf("the node says %+v", s.Notice)
	}
	w.files["/usr/lib/clock-epoch"].changed = w.files["/usr/lib/clock-epoch"].changed.Add(time.Hour)
	if got, err := firstboot.ReadWear(h.Files); got != nil || err != nil {
		t.Errorf("another image came: %+v, %v", got, err)
	}
	if s := firstPass(t, h); s.Notice != nil {
		t.Errorf("of another image the node says %+v", s.Notice)
	}
}

// TestWearOfAnotherSlot: a verdict on one slot says nothing about the other, and an
// unreadable one says nothing at all.
func TestWearOfAnotherSlot(t *testing.T) {
	w, h := inSlot(t, "a")
	w.worn = errors.New("damaged")
	if err := firstboot.CheckSlot(context.Background(), h, "b"); err == nil {
		t.Fatal("nothing is found")
	}
	if got, err := firstboot.ReadWear(h.Files); got != nil || err != nil {
		t.Errorf("%+v, %v", got, err)
	}
	w.put("/var/lib/imagebuilder/firstboot/slot-check.json", "{")
	if got, err := firstboot.ReadWear(h.Files); got != nil || err != nil {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestALookThatIsInterrupted says nothing about the slot.
func TestALookThatIsInterrupted(t *testing.T) {
	w, h := inSlot(t, "a")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	w.worn = context.Canceled
	if err := firstboot.CheckSlot(ctx, h, "a"); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if got, err := firstboot.ReadWear(h.Files); got != nil || err != nil {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestAWornTrialIsNotKept, be it a member's or not.
func TestAWornTrialIsNotKept(t *testing.T) {
	for _, member := range []bool{true, false} {
		w, h := runs(t, member, nil)
		w.trial, w.worn = &contract.Trial{Slot: "b"}, errors.New("damaged")
		if err := firstboot.Health(context.Background(), h, proof); !errors.Is(err, w.worn) {
			t.Errorf("member %v: %v", member, err)
		}
	}
}

// firstPass is what a node says of itself at first.
func firstPass(t *testing.T, h firstboot.Host) (s firstboot.Status) {
	t.Helper()
	_ = firstboot.Run(context.Background(), h, firstboot.Options{Only: []string{"identity"}}, func(now firstboot.Status) { s = now })
	return s
}
