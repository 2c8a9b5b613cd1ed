package firstboot

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/going-mobile/imagebuilder/firstboot/node"
)

// components: the programs that the image leaves to the first boot are there. The image
// has links to node.ComponentsDir in the usual places; this step fills that directory
// with files that have the pinned digest and no others.

// smallestData is the least space for data a node can live with, in bytes:
// k3s unpacks itself, and images and logs come on top.
const smallestData = 2 << 30

func (m *machine) componentsDone(context.Context) (bool, error) {
	if err := m.checkSize(); err != nil {
		return false, err
	}
	all, err := m.deferred()
	if err != nil {
		return false, err
	}
	for _, c := range all {
		if ok, err := m.installed(c); err != nil || !ok {
			return false, err
		}
	}
	return true, nil
}

func (m *machine) componentsDo(ctx context.Context) error {
	all, err := m.deferred()
	if err != nil {
		return err
	}
	for _, c := range all {
		ok, err := m.installed(c)
		if err != nil {
			return err
		}
		if ok {
			continue
		}
		if err := m.bring(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

func (m *machine) checkSize() error {
	total, _, err := m.Files.Space("/var")
	if err == nil && total < smallestData*9/10 { // a file system keeps some for itself
		err = problem("disk-too-small", gib(total), gib(smallestData))
	}
	return err
}

// leastRoom is the free space below which nothing new is begun, in bytes.
const leastRoom = 64 << 20

// checkRoom is for code that is about to write. No other step may wait for free space:
// the kubelet, which makes room, starts only when the data are open, and other nodes wait
// for this one's share.
func (h *Host) checkRoom() error {
	_, free, err := h.Files.Space("/var")
	if err == nil && free < leastRoom {
		err = problem("disk-full", gib(free), gib(leastRoom))
	}
	return err
}

// full returns the notice about a full disk, for a node that goes on.
func (h *Host) full() (p *Problem) {
	errors.As(h.checkRoom(), &p)
	return p
}

func gib(n int64) string { return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30)) }

func (m *machine) deferred() ([]node.Component, error) {
	data, err := m.read("/" + node.ComponentsFile)
	if errors.Is(err, fs.ErrNotExist) { // an image without components
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	list, err := node.LoadComponents(data)
	if err != nil {
		return nil, problem("component-none", err.Error())
	}
	var out []node.Component
	for _, c := range list.Components {
		if c.Deferred {
			out = append(out, c)
		}
	}
	return out, nil
}

func home(c node.Component, name string) string {
	return "/" + path.Join(node.ComponentsDir, c.Name, name)
}

func download(c node.Component) string { return home(c, "download-"+c.SHA256[:12]) }

// installed reports whether c is placed and its download gone: that is as large as the
// program.
func (m *machine) installed(c node.Component) (bool, error) {
	if ok, err := m.placed(c); err != nil || !ok {
		return false, err
	}
	left, err := m.exists(download(c))
	return !left, err
}

// placed checks the seal, which is written last and names the digest, and that the files
// are there. To hash 80 MB at every boot would cost a Pi a second.
func (m *machine) placed(c node.Component) (bool, error) {
	sum, err := m.read(home(c, "sha256"))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil || strings.TrimSpace(string(sum)) != c.SHA256 {
		return false, err
	}
	for _, f := range c.Files {
		fi, err := m.Files.Stat(home(c, f.Name))
		if errors.Is(err, fs.ErrNotExist) {
			return false, nil
		}
		if err != nil || fi.Mode().Perm() != fs.FileMode(f.Mode) || fi.Size() == 0 {
			return false, err
		}
	}
	return true, nil
}

// bring downloads, verifies and installs one component. A partial download is kept over
// any interruption.
func (m *machine) bring(ctx context.Context, c node.Component) error {
	part := download(c)
	if ok, err := m.placed(c); err != nil {
		return err
	} else if ok {
		return m.Files.Remove(part)
	}
	if err := m.checkRoom(); err != nil {
		return err
	}
	if err := m.obtain(ctx, c, part); err != nil {
		return err
	}
	if err := m.Files.Remove(home(c, "sha256")); err != nil {
		return err
	}
	for _, f := range c.Files {
		if err := m.place(c, f, part); err != nil {
			return err
		}
	}
	if err := m.write(file{path: home(c, "sha256"), data: []byte(c.SHA256 + "\n"), mode: 0o644}); err != nil {
		return err
	}
	return m.Files.Remove(part)
}

// obtain downloads a component until it has the right digest. What a source sent instead
// is deleted.
func (m *machine) obtain(ctx context.Context, c node.Component, part string) error {
	if ok, err := m.hasDigest(part, c.SHA256); err != nil || ok {
		return err
	}
	var last error
	for _, u := range c.URLs {
		if last = m.try(ctx, c, u, part); last == nil {
			return nil
		}
	}
	return last
}

// try downloads from one source. After a power cut the rest of an earlier download may be
// worth nothing, so a wrong digest counts against the source only if the download was
// fresh.
func (m *machine) try(ctx context.Context, c node.Component, address, part string) error {
	resumed, err := m.exists(part)
	if err != nil {
		return err
	}
	if err := m.Net.Fetch(ctx, address, part, c.Size); err != nil {
		return problem("component-down", c.Name+" "+c.Version, m.why(ctx, err).Error()).because(err)
	}
	ok, err := m.hasDigest(part, c.SHA256)
	if err != nil || ok {
		return err
	}
	if err := m.Files.Remove(part); err != nil {
		return err
	}
	if resumed {
		return m.try(ctx, c, address, part)
	}
	return problem("component-digest", c.Name+" "+c.Version)
}

// why prefers a fault of the local network to the error that it caused in a download.
func (m *machine) why(ctx context.Context, err error) error {
	if p := m.localFault(ctx); p != nil {
		return p
	}
	return err
}

func (m *machine) hasDigest(name, want string) (bool, error) {
	f, err := m.Files.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return false, err
	}
	return hex.EncodeToString(h.Sum(nil)) == want, nil
}

// place installs one file of a verified download.
func (m *machine) place(c node.Component, f node.ComponentFile, part string) error {
	in, err := m.Files.Open(part)
	if err != nil {
		return err
	}
	defer in.Close()
	var r io.Reader = in
	if c.Format == "tgz" {
		if r, err = member(in, f.Member); err != nil {
			return fmt.Errorf("%s: %w", c.Name, err)
		}
	}
	return m.Files.Put(home(c, f.Name), r, Attr{Mode: fs.FileMode(f.Mode)})
}

// member finds a regular file of an archive by its base name.
func member(r io.Reader, name string) (io.Reader, error) {
	z, err := gzip.NewReader(r)
	if err != nil {
		return nil, err
	}
	for t := tar.NewReader(z); ; {
		h, err := t.Next()
		if err != nil {
			return nil, fmt.Errorf("file %s: %w", name, err)
		}
		if h.Typeflag == tar.TypeReg && path.Base(h.Name) == name {
			return t, nil
		}
	}
}
