package disks

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"github.com/going-mobile/imagebuilder/firstboot/disks/ptable"
)

// Volume is the file system on a node's own disk. The disk stays open until
// somebody has mounted the file system, so that its partition does not vanish.
type Volume struct {
	File
	Disk Disk
	ID   string // the disk's, for Want.Known
	Dev  string // the partition's
	Room int64  // the partition's size in bytes
	Made bool   // it was made just now
}

// Use finds the disk that is wanted and makes it the node's own; if it is that
// already, Use brings its table into the final form. If a person must do
// something, the error is a *Fault. The file system is neither checked nor
// mounted yet.
func Use(w Want, run Tools, say func(format string, args ...any)) (Volume, error) {
	w.Hidden = Hidden(os.DirFS("/sys"))
	c, err := choose(List(), w, func(d Disk) (content, error) { return look(d, w.Purpose) })
	if err != nil {
		return Volume{}, err
	}
	v := Volume{Disk: c.Disk, Made: c.state != made}
	work := func() error { return v.finish(c.Table) }
	if v.Made {
		if err := c.free(); err != nil {
			return Volume{}, w.Broken(c.Disk, err)
		}
		say("%s becomes %s", c, w.Purpose.words())
		work = func() error { return v.make(w, run) }
	}
	if v.File, err = c.Open(); err != nil {
		return Volume{}, w.Broken(c.Disk, err)
	}
	if err := work(); err != nil {
		return Volume{}, w.Broken(c.Disk, errors.Join(err, v.Close()))
	}
	return v, nil
}

func look(d Disk, p Purpose) (content, error) {
	f, err := os.Open("/dev/" + d.Name)
	if err != nil {
		return content{}, err
	}
	defer f.Close()
	t := d.Table
	if d.Err != nil {
		t = nil
	}
	return inspect(f, d.Size, d.Sector, t, p)
}

func (v *Volume) make(w Want, run Tools) error {
	m := mark{purpose: w.Purpose, node: w.Node}
	return makeOwn(v, v.Disk.Size, v.Disk.Sector, m, NewGUID, func(t *ptable.Table) error {
		if err := v.show(t); err != nil {
			return err
		}
		return run.Format(v.Dev, w.Purpose)
	})
}

func (v *Volume) finish(t *ptable.Table) error {
	t, err := settle(v, t)
	if err != nil {
		return err
	}
	return v.show(t)
}

// show makes the kernel follow the table, and finds the volume's partition.
func (v *Volume) show(t *ptable.Table) (err error) {
	if err := v.Follow(t); err != nil {
		return err
	}
	v.ID, v.Room = t.ID, int64(t.Entry(ownPart).Sectors)*t.SectorSize
	v.Dev, err = v.Partition(ownPart)
	return err
}

// Chroot returns Tools that run the programs of the root file system at dir,
// inside it.
func Chroot(dir string) Tools {
	return func(name string, args ...string) (output string, code int) {
		cmd := exec.Command(name, args...)
		cmd.Dir = "/"
		cmd.Env = []string{"PATH=/usr/sbin:/usr/bin", "LC_ALL=C"}
		cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: dir}
		b, err := cmd.CombinedOutput()
		text := strings.Join(strings.Fields(string(b)), " ")
		if len(text) > 400 {
			text = "… " + text[len(text)-400:]
		}
		if err != nil && cmd.ProcessState == nil {
			return err.Error(), 128
		}
		return text, cmd.ProcessState.ExitCode()
	}
}
