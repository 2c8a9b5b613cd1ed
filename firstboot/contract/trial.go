package contract

import (
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
)

// TrialDir on /var has what a system that installed the next one says about its
// trial, and in AtticDir below it what that trial may spoil.
const (
	TrialDir  = "var/lib/imagebuilder/trial"
	TrialFile = TrialDir + "/trial.json"
	AtticDir  = TrialDir + "/kept"
	// LockedAtticDir is its like for what is encrypted.
	LockedAtticDir = "var/lib/imagebuilder/vault/kept"
)

// Elsewhere are the units that fail by what is not on this machine, such as a bucket
// that is away for a night: they say nothing about a system on trial.
var Elsewhere = []string{HeadscaleBackupUnit}

// EtcUpper has the node's own files of /etc: the initramfs lays it over the image's.
const EtcUpper = "var/.overlay/etc/upper"

// Trial is the content of TrialFile.
type Trial struct {
	// Slot is the one that is tried.
	Slot string `json:"slot"`
	// Keep are the files and directories on /var that the other slot finds as it
	// left them, should the trial fail: absolute paths.
	Keep []string `json:"keep"`
	// Locked are those of them that are encrypted: the initramfs cannot open them, so
	// they are kept, and put back, before k3s starts.
	Locked []string `json:"locked,omitempty"`
	// Store is the cluster's, by its files, where the trial brings another k3s: they are
	// among Keep or Locked while this server's etcd has no other members.
	Store []string `json:"store,omitempty"`
	// Back says that the slot has the system before the last update, not a new one.
	Back bool `json:"back,omitempty"`
	// Failed are the units that had failed before: no fault of the trial.
	Failed []string `json:"failed,omitempty"`
	// Login says that ssh answered: the owner's way to the next update.
	Login bool `json:"login,omitempty"`
	// Reached says that servers of the cluster look whether they reach this node.
	Reached bool `json:"reached,omitempty"`
}

// KeepStore is the trial with the cluster's store kept, as it lies there, or left alone.
func (t Trial) KeepStore(keep, encrypted bool) Trial {
	isStore := func(name string) bool { return slices.Contains(t.Store, name) }
	t.Keep = slices.DeleteFunc(slices.Clone(t.Keep), isStore)
	t.Locked = slices.DeleteFunc(slices.Clone(t.Locked), isStore)
	switch {
	case keep && encrypted:
		t.Locked = append(t.Locked, t.Store...)
	case keep:
		t.Keep = append(t.Keep, t.Store...)
	}
	return t
}

// Encode returns the trial as text.
func (t Trial) Encode() ([]byte, error) {
	b, err := json.MarshalIndent(t, "", "  ")
	return append(b, '\n'), err
}

// ParseTrial reads it. What a newer system says besides is left alone.
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

// crosses says that one of two paths lies in the other.
func crosses(a, b string) bool { return below(a, b) || below(b, a) }
