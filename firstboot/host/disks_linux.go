package host

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/going-mobile/imagebuilder/firstboot"
	"github.com/going-mobile/imagebuilder/firstboot/disks"
)

// machineDisks are the disks of this machine, whatever the root of the files is; only Hidden looks
// below that root.
type machineDisks struct{ sys fs.FS }

// Hidden counts the hidden disks in the sysfs below the files' root.
func (d machineDisks) Hidden() int { return disks.Hidden(d.sys) }

// Mounted reads /proc/self/mountinfo, proc_pid_mountinfo(5). Newer kernels no longer show "ro"
// there after an error (d3476f3dad4a, in 6.12 and stable trees), so ext4's own count of errors is
// read too.
func (machineDisks) Mounted(dir string) (*firstboot.Mount, error) {
	table, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer table.Close()
	var found *firstboot.Mount
	lines := bufio.NewScanner(table)
	for lines.Scan() {
		if f := strings.Fields(lines.Text()); len(f) > 9 && f[4] == dir { // a later mount hides an earlier one
			found = mountOn(f[2], f[5]+","+f[len(f)-1])
		}
	}
	return found, lines.Err()
}

func mountOn(device, options string) *firstboot.Mount {
	if strings.HasPrefix(device, "0:") { // the file system is on no block device
		return &firstboot.Mount{Device: device}
	}
	real, err := filepath.EvalSymlinks("/sys/dev/block/" + device)
	if err != nil {
		return &firstboot.Mount{Device: device, Lost: true}
	}
	name := filepath.Base(real)
	m := &firstboot.Mount{Device: "/dev/" + name}
	for o := range strings.SplitSeq(options, ",") {
		m.Failed = m.Failed || o == "ro" || o == "shutdown" || o == "emergency_ro"
	}
	// e2fsck clears the count before a file system is mounted.
	count, err := os.ReadFile("/sys/fs/ext4/" + name + "/errors_count")
	m.Failed = m.Failed || err == nil && strings.TrimSpace(string(count)) != "0"
	return m
}

// Attach needs only the disk and e2fsprogs.
func (d machineDisks) Attach(_ context.Context, dir string, w disks.Want) (string, error) {
	on, err := d.Mounted(dir)
	if err != nil {
		return "", err
	}
	if on != nil && on.Lost { // programs with open files on the old mount keep them
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			return "", fmt.Errorf("unmount %s: %w", dir, err)
		}
		on = nil
	}
	tools := disks.Chroot("/")
	silent := func(string, ...any) {}
	v, err := disks.Use(w, tools, silent)
	if err != nil {
		return "", err
	}
	defer v.Close()
	switch {
	case on != nil && on.Device == v.Dev:
		return v.ID, nil
	case on != nil:
		return "", firstboot.ErrOtherDisk
	}
	if _, err := tools.Check(v.Dev, false); errors.Is(err, disks.ErrUnchecked) {
		return "", w.Broken(v.Disk, err)
	} else if err != nil {
		return "", err
	}
	if err := unix.Mount(v.Dev, dir, "ext4", unix.MS_NOATIME, ""); disks.Silent(err) {
		return "", w.Broken(v.Disk, err)
	} else if err != nil {
		return "", fmt.Errorf("mount %s: %w", v.Dev, err)
	}
	return v.ID, tools.Grow(v.Dev, v.Room, silent)
}

const immutable = 0x10 // FS_IMMUTABLE_FL of linux/fs.h

// Hold sets or clears the immutable attribute, which stops even root: chattr(1) +i.
func (machineDisks) Hold(dir string, on bool) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return onFlags(dir, func(fd, flags int) error {
		want := flags &^ immutable
		if on {
			want |= immutable
		}
		return errors.Join(unix.IoctlSetPointerInt(fd, unix.FS_IOC_SETFLAGS, want), unix.Fsync(fd))
	})
}

func (machineDisks) Held(dir string) (held bool, err error) {
	err = onFlags(dir, func(_, flags int) error {
		held = flags&immutable != 0
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTTY) { // the file system has no such attribute
		return false, nil
	}
	return held, err
}

func onFlags(dir string, do func(fd, flags int) error) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	flags, err := unix.IoctlGetInt(int(d.Fd()), unix.FS_IOC_GETFLAGS)
	if err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	return do(int(d.Fd()), flags)
}
