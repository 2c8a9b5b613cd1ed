package update

import (
	"errors"
	"fmt"
	"io"
	"path"

	"github.com/going-mobile/imagebuilder/firstboot"
	"github.com/going-mobile/imagebuilder/firstboot/artifact"
	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/slot"
)

// install does what cannot be undone. The order of its steps makes sure that no power cut leaves a
// slot that starts but is not complete.
func (u *update) install(trial contract.Trial) (err error) {
	restore, err := u.slots.Relax()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, restore()) }()
	// refuseStorage is asked again at the end: the TPM may have sealed the disk's share of the key
	// while the slot was being written.
	for _, step := range []func() error{u.clear, u.sync, u.writeRoot, u.writeBoot, u.sync, u.readBoot, u.refuseStorage} {
		if err := step(); err != nil {
			return err
		}
	}
	return u.slots.StartTrial(trial, tries)
}

// clear removes the other slot's boot files. While its old root is being overwritten, no boot
// loader may find anything that starts it.
func (u *update) clear() error {
	old, err := u.oldFiles()
	if err != nil {
		return err
	}
	for _, name := range old {
		if err := u.Files.Remove(name); err != nil {
			return err
		}
	}
	return firstboot.RemoveLost(u.Files)
}

// sync writes the boot partition to its medium.
func (u *update) sync() error { return u.Files.Sync(bootDir) }

// writeRoot writes the root file system and reads it back from the medium: cards lie about what
// they have stored.
func (u *update) writeRoot() error {
	p, err := u.slots.Open(u.other, true)
	if err != nil {
		return err
	}
	defer p.Close()
	base, err := u.slots.Open(u.state.Current, false)
	if err != nil {
		return err
	}
	defer base.Close()
	if err := copyTo(p, u.in.ReadRoot(base)); err != nil {
		return err
	}
	sum, err := hashed(io.NewSectionReader(p, 0, u.in.Root.Size))
	if err != nil {
		return fmt.Errorf("read back slot %s: %w", u.other, err)
	}
	if sum != u.in.Root.SHA256 {
		return fmt.Errorf("slot %s does not give back what was written to it: the card or the disk is worn out", u.other)
	}
	return nil
}

// flushEvery bounds how much written data waits for the medium, in bytes: the syncs of etcd, on the
// same medium, wait behind it.
const flushEvery = 4 << 20

func copyTo(p Partition, r io.Reader) error {
	out, buf := io.NewOffsetWriter(p, 0), make([]byte, artifact.MaxPart)
	for {
		n, err := io.CopyBuffer(out, io.LimitReader(r, flushEvery), buf)
		if err != nil {
			return err
		}
		if err := p.Sync(); err != nil {
			return err
		}
		if n < flushEvery {
			return nil
		}
	}
}

// writeBoot writes the boot files in the order of the manifest: the file that makes the slot
// startable comes last.
func (u *update) writeBoot() error {
	for i := range u.in.Boot {
		f := &u.in.Boot[i]
		name := path.Join(bootDir, slot.Place(f.Name, u.other, 0))
		if err := u.writeFile(name, f); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
	}
	return nil
}

// readBoot reads the boot files back from their medium, as writeRoot does with the root. If one of
// them differs, it removes the slot's boot files: a boot loader that cannot start the good slot
// would try this one.
func (u *update) readBoot() error {
	for i := range u.in.Boot {
		f := &u.in.Boot[i]
		name := path.Join(bootDir, slot.Place(f.Name, u.other, 0))
		r, err := u.slots.Reread(name)
		if err != nil {
			return fmt.Errorf("read back %s: %w", name, err)
		}
		sum, err := hashed(r)
		if err = errors.Join(err, r.Close()); err != nil {
			return fmt.Errorf("read back %s: %w", name, err)
		}
		if sum != f.Sum(u.other) {
			return errors.Join(fmt.Errorf("the boot partition does not give back what was written to %s: the card or the disk is worn out", name), u.clear())
		}
	}
	return nil
}

func (u *update) writeFile(name string, f *artifact.File) error {
	var base io.Reader
	if f.Base != nil {
		r, err := u.runs(f)
		if err != nil {
			return err
		}
		defer r.Close()
		base = f.Former(r)
	}
	return u.Files.Put(name, u.in.ReadFile(f, u.other, base), firstboot.Attr{Mode: 0o644})
}
