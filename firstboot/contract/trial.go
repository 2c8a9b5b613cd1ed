package contract

import (
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
)

// TrialDir on /var is for the trial of a newly installed system: TrialFile is what the
// system that installed it says about the trial, AtticDir keeps copies of what the trial
// may spoil.
const (
	TrialDir  = "var/lib/imagebuilder/trial"
	TrialFile = TrialDir + "/trial.json"
	AtticDir  = TrialDir + "/kept"
	// BackFile has the slot to which the last trial that was blessed went back, and is
	// missing if it went forward.
	BackFile = TrialDir + "/rolled-back"
	// LockedAtticDir is the same as AtticDir for what is encrypted.
	LockedAtticDir = "var/lib/imagebuilder/vault/kept"
)

// Elsewhere are the units that may fail for causes outside this machine, such as a bucket
// that is away for a night: they say nothing about a system on trial.
var Elsewhere = []string{HeadscaleBackupUnit}

// EtcUpper has the node's own files of /etc: the initramfs mounts it over those of the
// image.
const EtcUpper = "var/.overlay/etc/upper"

// Trial is the content of TrialFile.
type Trial struct {
	// Slot is the slot on trial.
	Slot string `json:"slot"`
	// Keep are the files and directories on /var that the other slot gets back as it left
	// them if the trial fails: absolute paths.
	Keep []string `json:"keep"`
	// Locked are such files and directories that are encrypted. The initramfs cannot open
	// them, so they are kept and put back later, before k3s starts.
	Locked []string `json:"locked,omitempty"`
	// Store are the files of the cluster's store, if the trial brings another k3s. They
	// are also in Keep or Locked while this server's etcd has no other members.
	Store []string `json:"store,omitempty"`
	// Back means that the slot has the system from before the last update, not a new one.
	Back bool `json:"back,omitempty"`
	// Failed are the units that had failed before: the trial is not to blame.
	Failed []string `json:"failed,omitempty"`
	// Login means that ssh answered before: it is the owner's way to the next update.
	Login bool `json:"login,omitempty"`
	// Reached means that servers of the cluster look whether they can reach this node.
	Reached bool `json:"reached,omitempty"`
}

// StorePlace says whether a trial keeps the cluster's store, to be put back if it fails, and
// where.
type StorePlace int

// Places of the store.
const (
	StoreNotKept StorePlace = iota
	StoreKept               // in Keep
	StoreLocked             // in Locked: it is encrypted
)

// KeepStore returns the trial with the cluster's store at a place, and at no other.
func (t Trial) KeepStore(at StorePlace) Trial {
	isStore := func(name string) bool { return slices.Contains(t.Store, name) }
	t.Keep = slices.DeleteFunc(slices.Clone(t.Keep), isStore)
	t.Locked = slices.DeleteFunc(slices.Clone(t.Locked), isStore)
	switch at {
	case StoreLocked:
		t.Locked = append(t.Locked, t.Store...)
	case StoreKept:
		t.Keep = append(t.Keep, t.Store...)
	}
	return t
}

// Encode returns the trial as text.
func (t Trial) Encode() ([]byte, error) {
	b, err := json.MarshalIndent(t, "", "  ")
	return append(b, '\n'), err
}

// ParseTrial reads it. Fields that a newer system adds are ignored.
func ParseTrial(data []byte) (t Trial, err error) {
	if err := json.Unmarshal(data, &t); err != nil {
		return Trial{}, fmt.Errorf("/%s: %w", TrialFile, err)
	}
	if err := t.check(); err != nil {
		return Trial{}, fmt.Errorf("/%s: %w", TrialFile, err)
	}
	return t, nil
}

func (t Trial) check() error {
	if err := CheckSlot(t.Slot); err != nil {
		return err
	}
	if len(t.Keep) == 0 {
		return errors.New("keep: there is nothing")
	}
	for _, name := range slices.Concat(t.Keep, t.Locked) {
		if name != path.Clean(name) || !below("/var", path.Dir(name)) || crosses(name, "/"+TrialDir) || crosses(name, "/"+LockedAtticDir) {
			return fmt.Errorf("keep: %q is no path on /var that could be kept", name)
		}
	}
	return nil
}

// crosses reports whether one of two paths is the other one, or is below it.
func crosses(a, b string) bool { return below(a, b) || below(b, a) }
