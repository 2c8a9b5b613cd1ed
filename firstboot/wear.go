package firstboot

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"time"
)

// wearFile has the result of the last look at the running slot.
const wearFile = stateDir + "/slot-check.json"

// Wear is what was found when the running system was last read from its medium.
type Wear struct {
	Slot string    `json:"slot"`
	Made time.Time `json:"made"` // the image's timestamp: another image may come into the slot
	At   time.Time `json:"at"`
	// Fault is "" if everything reads as it was written.
	Fault string `json:"fault,omitempty"`
}

// CheckSlot reads the running slot from its medium and remembers what it found. An error
// says that the system is not as it was written, or that this could not be found out or
// noted.
func CheckSlot(ctx context.Context, h Host, slot string) error {
	return errors.Join(h.lookAtSlot(ctx, slot))
}

// lookAtSlot returns what is wrong with the system (fault), and why that could not be noted
// (noted).
func (h *Host) lookAtSlot(ctx context.Context, slot string) (fault, noted error) {
	r, err := ReadImage(h.Files)
	if err != nil {
		return err, nil
	}
	w := Wear{Slot: slot, Made: r.Made.UTC(), At: h.Clock.Now().UTC().Truncate(time.Second)}
	fault = h.Slot.Check(ctx)
	if ctx.Err() != nil {
		return ctx.Err(), nil
	}
	if fault != nil {
		w.Fault = fault.Error()
		fault = fmt.Errorf("slot %s: %w", slot, fault)
	}
	data, err := json.Marshal(w)
	if err == nil {
		err = h.write(file{path: wearFile, data: append(data, '\n'), mode: 0o644})
	}
	return fault, err
}

// ReadWear returns the last look at the running system, nil if nobody has looked since it
// was installed.
func ReadWear(files Files) (*Wear, error) {
	h := &Host{Files: files}
	data, err := h.read(wearFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var w Wear
	if json.NewDecoder(bytes.NewReader(data)).Decode(&w) != nil { // damaged: looking again is cheap
		return nil, nil
	}
	r, err := ReadImage(files)
	state, serr := h.bootState()
	if err := errors.Join(err, serr); err != nil || w.Slot != state.Slot || !w.Made.Equal(r.Made) {
		return nil, err
	}
	return &w, nil
}

// worn returns a notice: what is damaged may never be needed, and the node works on.
func (h *Host) worn() *Problem {
	w, err := ReadWear(h.Files)
	if err != nil || w == nil || w.Fault == "" { // errors of reading the image are reported elsewhere
		return nil
	}
	return problem("slot-worn", w.Slot, w.At.Format(time.DateOnly))
}
