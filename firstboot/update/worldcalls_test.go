//go:build linux

package update_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot"
	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/host"
	"github.com/going-mobile/imagebuilder/firstboot/slot"
	"github.com/going-mobile/imagebuilder/firstboot/update"
)

// files are the world's files, with host.Files' behaviour. An update uses no other methods.
type files struct {
	*world
	firstboot.Files
}

func (w files) real() host.Files { return host.Files{Root: w.dir} }

func (w files) Open(name string) (r io.ReadCloser, err error) {
	err = w.do("open "+name, func() (err error) { r, err = w.real().Open(name); return err })
	return r, err
}

func (w files) Stat(name string) (fi fs.FileInfo, err error) {
	err = w.do("stat "+name, func() (err error) { fi, err = w.real().Stat(name); return err })
	return fi, err
}

func (w files) List(dir string) (names []string, err error) {
	err = w.do("list "+dir, func() (err error) { names, err = w.real().List(dir); return err })
	return names, err
}

func (w files) Readlink(name string) (target string, err error) {
	err = w.do("readlink "+name, func() (err error) { target, err = w.real().Readlink(name); return err })
	return target, err
}

func (w files) Space(name string) (total, free int64, err error) {
	room := w.room
	if name == "/var" {
		room = w.varRoom
	}
	return room, room, w.do("space", func() error { return nil })
}

func (w files) Put(name string, r io.Reader, a firstboot.Attr) error {
	if !w.fast {
		w.t.Errorf("%s is written while the boot partition waits for its medium", name)
	}
	return w.do("put "+name, func() error {
		delete(w.lostFiles, name)
		return w.real().Put(name, r, a)
	})
}

func (w files) Overwrite(name string, data []byte) error {
	return w.do("overwrite "+name, func() error { return w.real().Overwrite(name, data) })
}

// Remove is durable only after a Sync.
func (w files) Remove(name string) error {
	return w.do("remove "+name, func() error {
		if data, err := os.ReadFile(w.at(name)); err == nil {
			w.lostFiles[strings.TrimPrefix(name, "/")] = data
		}
		return w.real().Remove(name)
	})
}

func (w files) Sync(name string) error {
	return w.do("sync "+name, func() error { w.lostFiles = map[string][]byte{}; return nil })
}

var now = time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)

// clock stands still until somebody sleeps.
type clock struct {
	firstboot.Clock
	world *world
}

func (c clock) Now() time.Time { return now.Add(c.world.slept) }

func (c clock) Sleep(ctx context.Context, d time.Duration) error {
	c.world.slept += d
	if c.world.asleep != nil {
		c.world.asleep()
	}
	return ctx.Err()
}

// slots are the world's; their state is kept as a node keeps it.
type slots struct{ *world }

func (w slots) store() *slot.Store {
	cmdline, err := os.ReadFile(w.at("proc/cmdline"))
	if err != nil {
		w.t.Fatal(err)
	}
	s, err := slot.Open(w.at("boot/firmware"), string(cmdline))
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

func (w slots) Lock() (release func() error, err error) {
	err = w.do("lock", func() error {
		if w.busy {
			return update.ErrBusy
		}
		w.busy = true
		return nil
	})
	return func() error { return w.do("unlock", func() error { w.busy = false; return nil }) }, err
}

func (w slots) State() (st slot.State, err error) {
	err = w.do("state", func() (err error) { st, err = w.store().Current(); return err })
	return st, err
}

func (w slots) Takes(names []string) error {
	return w.do("takes", func() error { return w.store().Takes(names) })
}

func (w slots) Settled() error { return w.do("settled", func() error { return w.owes }) }

func (w slots) Tidy() error {
	return w.do("tidy", func() error { w.varRoom, w.half = w.varRoom+w.half, 0; return nil })
}

func (w slots) WithdrawTrial() error {
	return w.do("withdraw trial", func() error { return w.store().WithdrawTrial() })
}

func (w slots) Prepared() (t *contract.Trial, err error) {
	err = w.do("prepared", func() error {
		if w.trial.Slot != "" {
			t = &w.trial
		}
		return nil
	})
	return t, err
}

func (w slots) WentBack() (back bool, err error) {
	err = w.do("went back", func() error {
		st, err := w.store().Current()
		back = w.back == st.Current
		return err
	})
	return back, err
}

func (w slots) StartTrial(t contract.Trial, tries int) error {
	return w.do("start trial", func() error { w.trial = t; return w.store().StartTrial(t.Slot, tries) })
}

// units are the world's.
type units struct {
	*world
	firstboot.Units
}

func (w units) Failed(context.Context) (names []string, err error) {
	err = w.do("failed units", func() error { names = w.failed; return nil })
	return names, err
}

// cluster answers for the node's Kubernetes API.
type cluster struct {
	*world
	firstboot.Net
}

// Reach finds nothing but ssh here.
func (w cluster) Reach(_ context.Context, at netip.AddrPort) error {
	if at.Port() == 22 && w.login {
		return nil
	}
	return errors.New("connection refused")
}

func (w cluster) API(_ context.Context, _, name string) (out []byte, err error) {
	err = w.do("api "+name, func() error {
		text, ok := w.api[name]
		if !ok {
			return errors.New("the cluster does not answer")
		}
		out = []byte(text)
		return nil
	})
	return out, err
}

func (w slots) Read(name, file string) (data []byte, err error) {
	err = w.do("read "+file, func() (err error) { data, err = os.ReadFile(w.at("slot-" + name + "/" + file)); return err })
	return data, err
}

// Reread gives what the medium has.
func (w slots) Reread(name string) (r io.ReadCloser, err error) {
	err = w.do("reread "+name, func() error {
		data, err := os.ReadFile(w.at(name))
		if w.worn != "" && strings.HasSuffix(name, w.worn) {
			data[len(data)/2] ^= 1
		}
		r = io.NopCloser(bytes.NewReader(data))
		return err
	})
	return r, err
}

func (w slots) Relax() (restore func() error, err error) {
	err = w.do("relax", func() error { w.fast = true; return nil })
	return func() error { return w.do("restore", func() error { w.fast = false; return nil }) }, err
}

func (w slots) Open(name string, write bool) (update.Partition, error) {
	if write && name != "b" {
		w.t.Errorf("slot %s is opened for writing", name)
	}
	return &partition{w.world, name, write}, w.do("open slot "+name, func() error { return nil })
}

// partition is one of the world's slots. What is written is on the medium after a
// Sync, or lost.
type partition struct {
	*world
	name  string
	write bool
}

func (p *partition) Size() (int64, error) {
	return p.size, p.do("size", func() error { return nil })
}

func (p *partition) ReadAt(b []byte, off int64) (n int, err error) {
	err = p.do("read "+p.name, func() error {
		n, err = bytes.NewReader(p.roots[p.name]).ReadAt(b, off)
		return err
	})
	return n, err
}

func (p *partition) WriteAt(b []byte, off int64) (int, error) {
	if !p.write {
		p.t.Error("a partition is written that was opened for reading")
	}
	return len(b), p.do("write "+p.name, func() error {
		if p.lostRoot == nil {
			p.lostRoot = p.roots[p.name]
		}
		grown := make([]byte, max(len(p.lostRoot), len(p.roots[p.name]), int(off)+len(b)))
		copy(grown, p.roots[p.name])
		copy(grown[off:], b)
		if p.worn == "root" {
			grown[off] ^= 1
		}
		p.roots[p.name] = grown
		return nil
	})
}

func (p *partition) Sync() error {
	return p.do("sync "+p.name, func() error { p.lostRoot = nil; return nil })
}

func (p *partition) Close() error { return p.do("close "+p.name, func() error { return nil }) }
