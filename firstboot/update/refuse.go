package update

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot"
	"github.com/going-mobile/imagebuilder/firstboot/artifact"
	"github.com/going-mobile/imagebuilder/firstboot/backup"
	"github.com/going-mobile/imagebuilder/firstboot/codec"
	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/slot"
)

// same reports whether the node runs what the update would bring, with nothing of it damaged or
// missing. Version and time alone do not tell: another overlay or a mended k3s may change neither.
func (u *update) same() (bool, error) {
	if u.in.Version != u.running.Version || !u.in.Made.Equal(u.running.Made) || u.in.Board != u.running.Board {
		return false, nil
	}
	w, err := firstboot.ReadWear(u.Files)
	return err == nil && (w == nil || w.Fault == "") && u.has(), err
}

// has compares everything that the update would bring with the running slot. What cannot be read
// there counts as missing.
func (u *update) has() bool {
	p, err := u.slots.Open(u.state.Current, false)
	if err != nil {
		return false
	}
	defer p.Close()
	return u.isRoot(p) && !slices.ContainsFunc(u.in.Boot, func(f artifact.File) bool { return !u.hasFile(&f) })
}

func (u *update) isRoot(p Partition) bool {
	sum, err := hashed(io.NewSectionReader(p, 0, u.in.Root.Size))
	return err == nil && sum == u.in.Root.SHA256
}

func (u *update) hasFile(f *artifact.File) bool {
	r, err := u.runs(f)
	if err != nil {
		return false
	}
	defer r.Close()
	sum, err := hashed(r)
	return err == nil && sum == f.Sum(u.state.Current)
}

// refuse returns the first reason against the update. Nothing has been written at that point.
func (u *update) refuse() error {
	m, r := u.in.Manifest, u.running
	switch {
	case m.Board != r.Board:
		return fmt.Errorf("the update is for board %s, this node's is %s", m.Board, r.Board)
	case m.Arch != runtime.GOARCH: // Go and Debian use the same names for the architectures of our boards
		return fmt.Errorf("the update is for %s, this node is %s", m.Arch, runtime.GOARCH)
	case m.DiskID != r.Args.DiskID:
		return fmt.Errorf("the update looks for disk %s, this node's is %s", m.DiskID, r.Args.DiskID)
	case m.Made.Before(r.Made):
		return fmt.Errorf("the update is older than what runs: %s of %s, this is %s of %s", m.Version, day(m.Made), r.Version, day(r.Made))
	case m.Codec != "" && m.Codec != codec.Name():
		return fmt.Errorf("the update has patches for who compresses with %s, this node does with %s: send the whole image (without --base)", m.Codec, codec.Name())
	case u.state.Good != u.state.Current:
		return u.unproven()
	}
	for _, refuse := range []func() error{u.slots.Settled, u.refuseComponents, u.refuseK3s, u.refuseHeadscale, u.refuseStorage, u.refuseDeferred, u.refuseKit, u.refuseUntrusted, u.refuseBoot, u.refuseRoot, u.refuseBase} {
		if err := refuse(); err != nil {
			return err
		}
	}
	return nil
}

func (u *update) unproven() error {
	return fmt.Errorf("slot %s, which runs, has not proved itself yet: 'firstboot status' says what is missing; afterwards do this again", u.state.Current)
}

func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }

func (u *update) refuseKit() error { return u.slots.Takes(u.in.Files()) }

// programs are the components without which a machine is no node, or cannot be reached.
var programs = []string{"k3s", "tailscale", "headscale"}

// refuseComponents requires every one of programs that runs here: the image of a VPS has one that
// other images do not have.
func (u *update) refuseComponents() error {
	for _, name := range programs {
		_, runs := u.running.Components[name]
		if _, comes := u.in.Components[name]; runs && !comes {
			return fmt.Errorf("the update has no %s, which this node runs: it is another kind of image", name)
		}
	}
	return nil
}

func (u *update) refuseK3s() error {
	old, next := u.running.Components["k3s"], u.in.Components["k3s"]
	_, from, released := contract.Series(old)
	_, to, ok := contract.Series(next)
	if old == next || !released { // an owner's own k3s has no version to compare
		return nil
	}
	switch {
	case !ok || to < from: // etcd's schema does not go back, nor do a kubelet's files
		return fmt.Errorf("the update goes from k3s %s to %s: k3s never goes back", old, next)
	case to > from+1 && u.running.Votes(): // Kubernetes' version skew policy is about the kubelet and the API server: an agent may catch up
		return fmt.Errorf("the update goes from k3s %s to %s: a server or witness goes one minor version forward at a time", old, next)
	}
	return nil
}

func (u *update) refuseHeadscale() error {
	old, next := u.running.Components["headscale"], u.in.Components["headscale"]
	if backup.Reads(next, old) {
		return nil
	}
	return fmt.Errorf("the update goes from Headscale %s to %s: Headscale goes one minor version forward at a time, and never back, or it does not open its database", old, next)
}

// refuseStorage refuses an update that does not know how this node keeps its data: it would take
// the data for lost.
func (u *update) refuseStorage() error {
	states, err := contract.ParseStorage(u.in.Components[contract.StorageComponent])
	if err != nil {
		return fmt.Errorf("the update says wrongly how it keeps data: %w", err)
	}
	return u.refuseIgnorant(states, "the update", "build it with today's imagebuilder")
}

// refuseIgnorant refuses a system whose storage level, states, is too low to open the data.
func (u *update) refuseIgnorant(states int, what, remedy string) error {
	needs, err := u.running.NeedsStorage(u.Host)
	if err != nil || states >= needs {
		return err
	}
	how := "are encrypted"
	if needs >= contract.StorageSealed {
		how = "are encrypted, with a share of the key in the TPM"
	}
	return fmt.Errorf("%s does not know how this node's data are kept, which %s (storage %d, it states %d), and would take them for lost: %s", what, how, needs, states, remedy)
}

// refuseDeferred refuses an update that leaves a component to be downloaded, unless the running
// system leaves the same one: both slots share one place for it.
func (u *update) refuseDeferred() error {
	for _, name := range slices.Sorted(maps.Keys(u.in.Deferred)) {
		if u.in.Deferred[name] != u.running.Deferred[name] {
			return fmt.Errorf("the update leaves %s to be fetched, another one than runs here: a fallback would find it in the old one's place; build the image with it", name)
		}
	}
	return nil
}

// clusterSize is the largest cluster of a FAT, in bytes: a file may waste one.
const clusterSize = 32 << 10

// refuseBoot requires room for the boot files, counting what the files to be replaced free.
func (u *update) refuseBoot() error {
	need := int64(len(u.in.Boot)+2) * clusterSize // and room for a directory to grow
	for _, f := range u.in.Boot {
		need += f.Size
	}
	_, room, err := u.Files.Space(bootDir)
	if err != nil {
		return err
	}
	old, err := u.oldFiles()
	if err != nil {
		return err
	}
	lost, err := firstboot.LostChains(u.Files)
	if err != nil {
		return err
	}
	for _, name := range append(old, lost...) {
		fi, err := u.Files.Stat(name)
		if err != nil {
			return err
		}
		room += fi.Size()
	}
	if room < need {
		return fmt.Errorf("the boot partition has room for %d KB, the update needs %d KB: remove what does not belong there", room>>10, need>>10)
	}
	return nil
}

// oldFiles lists the files that start the other slot, or were meant to. Those that a boot loader
// looks at first come first; files that no boot loader looks at come last.
func (u *update) oldFiles() (all []string, err error) {
	for _, dir := range []string{slot.EFIDir, slot.EntryDir} {
		names, err := u.Files.List(path.Join(bootDir, dir))
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			if n, ok := slot.ParseEFIName(strings.TrimPrefix(name, firstboot.Unfinished)); ok && n.Slot == u.other {
				all = append(all, path.Join(bootDir, dir, name))
			}
		}
	}
	dir := path.Join(bootDir, u.other)
	names, err := u.Files.List(dir)
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(names, func(a, b string) int { return rank(b) - rank(a) })
	for _, name := range names {
		all = append(all, path.Join(dir, name))
	}
	return all, nil
}

// rank is the position of a boot file in the order of writing, from 1; 0 for any other file.
func rank(name string) int { return slices.Index(slot.Files, name) + 1 }

// refuseRoot requires the other slot to have room for the root.
func (u *update) refuseRoot() error {
	p, err := u.slots.Open(u.other, false)
	if err != nil {
		return err
	}
	size, err := p.Size()
	if err = errors.Join(err, p.Close()); err != nil {
		return err
	}
	if size < u.in.Root.Size {
		return fmt.Errorf("slot %s has room for %d MB, the update's root has %d MB: it needs a card that is written anew", u.other, size>>20, u.in.Root.Size>>20)
	}
	return nil
}

var errBase = errors.New("the update was made from another image than runs here (--base): send the whole image")

// refuseBase requires the running slot to have what the update's patches were made against.
func (u *update) refuseBase() error {
	for i := range u.in.Boot {
		if err := u.checkFile(&u.in.Boot[i]); err != nil {
			return err
		}
	}
	if u.in.Base == nil {
		return nil
	}
	p, err := u.slots.Open(u.state.Current, false)
	if err != nil {
		return err
	}
	defer p.Close()
	return same(io.NewSectionReader(p, 0, u.in.Base.Size), *u.in.Base)
}

func (u *update) checkFile(f *artifact.File) error {
	if f.Base == nil {
		return nil
	}
	r, err := u.runs(f)
	if errors.Is(err, fs.ErrNotExist) {
		return errBase
	}
	if err != nil {
		return err
	}
	defer r.Close()
	return same(io.LimitReader(f.Former(r), f.Base.Size), f.Base.Base)
}

// runs opens the running slot's counterpart of a boot file.
func (u *update) runs(f *artifact.File) (io.ReadCloser, error) {
	name := slot.Place(f.Name, u.state.Current, 0)
	if unified := f.Name == slot.Unified; unified || f.Name == slot.Entry { // its name changes with every trial
		name = u.state.File
		if n, ok := slot.ParseEFIName(path.Base(name)); !ok || n.Entry == unified {
			return nil, fs.ErrNotExist
		}
	}
	return u.Files.Open(path.Join(bootDir, name))
}

func same(r io.Reader, want artifact.Base) error {
	sum, err := hashed(r)
	if err == nil && sum != want.SHA256 || errors.Is(err, artifact.ErrOther) {
		return errBase
	}
	return err
}

func hashed(r io.Reader) (string, error) {
	h := sha256.New()
	_, err := io.CopyBuffer(h, r, make([]byte, artifact.MaxPart))
	return hex.EncodeToString(h.Sum(nil)), err
}

const bootDir = "/" + contract.BootDir
