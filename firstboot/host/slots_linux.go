package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/going-mobile/imagebuilder/firstboot/attic"
	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/disks"
	"github.com/going-mobile/imagebuilder/firstboot/slot"
	"github.com/going-mobile/imagebuilder/firstboot/update"
)

// Slots are the two systems on the disk that the running system was started from.
type Slots struct{}

const boot = "/" + contract.BootDir

// Store returns the store of the slots' state.
func (Slots) Store() (*slot.Store, error) {
	cmdline, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return nil, err
	}
	return slot.Open(boot, string(cmdline))
}

// State returns which slot runs, which is good, and which is on trial.
func (s Slots) State() (slot.State, error) {
	store, err := s.Store()
	if err != nil {
		return slot.State{}, err
	}
	return store.Current()
}

// Takes refuses a set of boot files that the boot loader cannot start.
func (s Slots) Takes(files []string) error {
	store, err := s.Store()
	if err != nil {
		return err
	}
	return store.Takes(files)
}

// WithdrawTrial takes back a trial that waits for the next start.
func (s Slots) WithdrawTrial() error {
	store, err := s.Store()
	if err != nil {
		return err
	}
	return store.WithdrawTrial()
}

// StartTrial makes the next starts those of the other slot. What to keep is recorded first: a trial
// that began without that record could not be undone.
func (s Slots) StartTrial(t contract.Trial, tries int) error {
	store, err := s.Store()
	if err != nil {
		return err
	}
	if err := attic.In("/").Prepare(s.Running(), t); err != nil {
		return err
	}
	return store.StartTrial(t.Slot, tries)
}

// KeepStore rewrites the record of the waiting trial if etcd's membership has changed since the
// update came. It takes the lock only if there is something to write, so that it keeps no update
// out.
func (s Slots) KeepStore(ctx context.Context, store contract.StorePlace) (err error) {
	if t, err := s.amended(ctx, store); err != nil || t == nil {
		return err
	}
	release, err := s.Lock()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	t, err := s.amended(ctx, store) // another update may have come meanwhile
	if err != nil || t == nil {
		return err
	}
	return attic.In("/").Prepare(s.Running(), *t)
}

// amended returns the trial that waits for the next start, corrected; nil if it needs no
// correction.
func (s Slots) amended(ctx context.Context, store contract.StorePlace) (*contract.Trial, error) {
	if leaves, err := s.Leaving(ctx); err != nil || !leaves {
		return nil, err
	}
	t, err := attic.In("/").Amended(store)
	if err != nil || t == nil || t.Slot == s.Running() {
		return nil, err
	}
	return t, nil
}

// Prepared returns the trial that was prepared last, if it was not blessed; nil if there is none.
func (Slots) Prepared() (*contract.Trial, error) {
	t, err := attic.In("/").Trial()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return &t, err
}

// WentBack reports whether a rollback has led to the running system.
func (s Slots) WentBack() (bool, error) { return attic.In("/").WentBack(s.Running()) }

const lockFile = "/run/firstboot/update.lock"

// Lock takes the one lock of all updates. A killed process leaves no lock behind.
func (Slots) Lock() (release func() error, err error) {
	if err := os.MkdirAll(filepath.Dir(lockFile), 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(lockFile, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = update.ErrBusy
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f.Close, nil
}

// Open opens a slot's partition. For writing, the kernel refuses a partition that is in use,
// mounted or otherwise: open(2), O_EXCL on a block device.
func (Slots) Open(name string, write bool) (update.Partition, error) {
	device, err := slotDevice(name)
	if err != nil {
		return nil, err
	}
	flags := os.O_RDONLY
	if write {
		flags = os.O_RDWR | unix.O_EXCL
	}
	f, err := os.OpenFile(device, flags, 0)
	if err != nil {
		return nil, fmt.Errorf("slot %s: %w", name, err)
	}
	return partition{f}, nil
}

// Read mounts the slot in a private directory while it reads the file.
func (Slots) Read(name, file string) (data []byte, err error) {
	device, err := slotDevice(name)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(filepath.Dir(lockFile), "slot-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.Remove(dir)) }()
	if err := unix.Mount(device, dir, "squashfs", unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return nil, fmt.Errorf("mount slot %s: %w", name, err)
	}
	defer func() { err = errors.Join(err, unix.Unmount(dir, 0)) }()
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	return root.ReadFile(file)
}

func slotDevice(name string) (string, error) {
	number := contract.PartRootA
	if name == contract.Slots[1] {
		number = contract.PartRootB
	}
	return partitionDevice(number)
}

// partitionDevice returns a partition of the very disk that the initramfs found: another disk may
// have partitions of the same names.
func partitionDevice(number int) (string, error) {
	text, err := os.ReadFile("/" + contract.StateFile)
	if err != nil {
		return "", err
	}
	state, err := contract.ParseState(text)
	if err != nil {
		return "", err
	}
	device := disks.PartitionName(state.Disk, number)
	if device == "" {
		return "", fmt.Errorf("the disk %s has no partition %d", state.Disk, number)
	}
	return "/dev/" + device, nil
}

// partition is a slot's block device.
type partition struct{ *os.File }

func (p partition) Size() (int64, error) { return p.Seek(0, io.SeekEnd) }

// Sync also drops the partition from the page cache, so that later reads come from the medium.
func (p partition) Sync() error {
	if err := p.File.Sync(); err != nil {
		return err
	}
	if err := unix.IoctlSetInt(int(p.Fd()), unix.BLKFLSBUF, 0); err != nil {
		return fmt.Errorf("forget what was written to %s: %w", p.Name(), err)
	}
	return nil
}

// Reread makes the kernel forget the file and the file system's tables that lead to it: the file by
// posix_fadvise(2), the tables by flushing the partition, which stays mounted.
func (Slots) Reread(name string) (io.ReadCloser, error) {
	device, err := partitionDevice(contract.PartBoot)
	if err != nil {
		return nil, err
	}
	p, err := os.Open(device)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(partition{p}.Sync(), p.Close()); err != nil {
		return nil, err
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		return nil, errors.Join(fmt.Errorf("forget what was written to %s: %w", name, err), f.Close())
	}
	return f, nil
}

// Relax remounts the boot partition without the option sync.
func (Slots) Relax() (restore func() error, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(boot, &st); err != nil {
		return nil, fmt.Errorf("%s: %w", boot, err)
	}
	if st.Flags&unix.ST_SYNCHRONOUS == 0 {
		return func() error { return nil }, nil
	}
	keep := unix.MS_REMOUNT | uintptr(st.Flags)&(unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC)
	if err := unix.Mount("", boot, "", keep, ""); err != nil {
		return nil, fmt.Errorf("mount %s without sync: %w", boot, err)
	}
	return func() error { return unix.Mount("", boot, "", keep|unix.MS_SYNCHRONOUS, "") }, nil
}
