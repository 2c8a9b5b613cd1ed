package firstboot_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"sort"
	"strings"
	"syscall"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot"
)

// memFiles is the file system of a world.
type memFiles struct{ *world }

// real is a name without links among its directories.
func (w memFiles) real(name string) string {
	if w.policies == nil { // only what encrypts lays such links
		return name
	}
	for dir := path.Dir(name); dir != "/"; dir = path.Dir(dir) {
		if e := w.files[dir]; e != nil && e.link != "" {
			return e.link + strings.TrimPrefix(name, dir)
		}
	}
	return name
}

// shut says whether a name lies in a directory whose key the kernel has not.
func (w memFiles) shut(name string) bool {
	if len(w.policies) == 0 {
		return false
	}
	for dir := path.Dir(name); dir != "/"; dir = path.Dir(dir) {
		if id := w.policies[dir]; id != "" && !w.keys[id] {
			return true
		}
	}
	return false
}

func (w memFiles) find(name string) (*entry, error) {
	for range 8 {
		name = w.real(name)
		if w.shut(name) {
			return nil, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
		}
		e := w.files[name]
		if e == nil {
			for p := range w.files {
				if strings.HasPrefix(p, name+"/") {
					return &entry{mode: fs.ModeDir | 0o755}, nil
				}
			}
			return nil, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
		}
		if e.link == "" {
			return e, nil
		}
		name = path.Join(path.Dir(name), e.link)
		if path.IsAbs(e.link) {
			name = e.link
		}
	}
	return nil, errors.New("loop")
}

func (w memFiles) Open(name string) (r io.ReadCloser, err error) {
	err = w.do("open "+name, func() error {
		e, err := w.find(name)
		if err == nil {
			r = io.NopCloser(bytes.NewReader(bytes.Clone(e.data)))
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return r, nil
}

type info struct {
	name string
	*entry
}

func (i info) Name() string       { return i.name }
func (i info) Size() int64        { return int64(len(i.data)) }
func (i info) Mode() fs.FileMode  { return i.mode }
func (i info) ModTime() time.Time { return i.changed }
func (i info) IsDir() bool        { return i.mode.IsDir() }
func (i info) Sys() any           { return nil }

func (w memFiles) Stat(name string) (fi fs.FileInfo, err error) {
	err = w.do("stat "+name, func() error {
		e, err := w.find(name)
		fi = info{path.Base(name), e}
		return err
	})
	return fi, err
}

func (w memFiles) Readlink(name string) (target string, err error) {
	err = w.do("readlink "+name, func() error {
		e := w.files[w.real(name)]
		if e == nil || e.link == "" || w.shut(w.real(name)) {
			return fs.ErrNotExist
		}
		target = e.link
		return nil
	})
	return target, err
}

func (w memFiles) List(dir string) (names []string, err error) {
	err = w.do("list "+dir, func() error {
		if dir == "/var/lib/longhorn" && w.volumes && w.volume.Lost { // ext4 of a disk that is gone
			return syscall.EIO
		}
		if w.shut(w.real(dir) + "/.") {
			names = []string{"no-key-name"} // fscrypt.rst, "Without the key"
			return nil
		}
		for p := range w.files {
			if below, ok := strings.CutPrefix(p, w.real(dir)+"/"); ok {
				name, _, _ := strings.Cut(below, "/")
				names = append(names, name)
			}
		}
		sort.Strings(names)
		names = slices.Compact(names)
		return nil
	})
	return names, err
}

// errShut is the kernel's word for what is encrypted and locked.
var errShut = errors.New("required key not available")

func (w memFiles) Put(name string, r io.Reader, a firstboot.Attr) error {
	data, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	name = w.real(name)
	return w.do("put "+name, func() error {
		if w.shut(name) {
			return errShut
		}
		w.put(name, string(data))
		w.files[name].mode, w.files[name].uid, w.files[name].gid = a.Mode, a.UID, a.GID
		return nil
	})
}

func (w memFiles) Overwrite(name string, data []byte) error {
	write := func(n int) {
		e := w.files[name]
		e.data = append(bytes.Clone(data[:n]), e.data[n:]...)
		w.now = w.now.Add(time.Second)
		e.changed = w.now
	}
	return w.torn("overwrite "+name, func() error {
		if e := w.files[name]; e == nil || len(data) > len(e.data) {
			return errors.New("does not fit")
		}
		write(len(data))
		return nil
	}, func() { write(min(100, len(data))) })
}

func (w memFiles) Symlink(target, name string) error {
	name = w.real(name)
	return w.do("symlink "+name, func() error {
		if w.shut(name) {
			return errShut
		}
		w.put(name, "")
		w.files[name].link = target
		return nil
	})
}

func (w memFiles) Rename(name, to string) error {
	return w.do("rename "+name, func() error {
		if w.files[name] == nil {
			return fs.ErrNotExist
		}
		w.files[to] = w.files[name]
		delete(w.files, name)
		return nil
	})
}

func (w memFiles) Remove(name string) error {
	name = w.real(name)
	return w.do("remove "+name, func() error {
		if !w.shut(name) {
			delete(w.files, name)
		}
		return nil
	})
}

func (w memFiles) Sync(name string) error { return w.do("sync "+name, func() error { return nil }) }

func (w memFiles) Space(string) (total, free int64, err error) {
	err = w.do("space", func() error { return nil })
	return w.space, w.space - w.used, err
}
