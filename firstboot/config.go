package firstboot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/going-mobile/imagebuilder/firstboot/node"
)

// given is what a node works from: node.yaml, or the node's own copy of it.
type given struct {
	cfg *node.Config
	// text is node.yaml as it lies on the boot partition. It is nil if the own
	// copy is in force: what then lies on the boot partition is not ours to
	// overwrite.
	text   []byte
	last   signed
	notice *Problem // what is wrong with the boot partition's file or with the machine, but stops nothing
}

// load reads node.yaml from the boot partition. A node that was sealed once
// keeps working from its own copy if that file is lost or spoilt. What is wrong
// with the file is then a notice, unless it is just missing or empty.
func load(files Files) (*given, error) {
	h := &Host{Files: files}
	own, err := h.ownCopy()
	if err != nil {
		return nil, err
	}
	sealing, err := h.exists(sealingFile)
	if err != nil {
		return nil, err
	}
	if own != nil && sealing { // power failed while node.yaml was overwritten: its text is worth nothing
		return own, nil
	}
	g, err := h.bootConfig()
	if err == nil {
		g.complete(own)
		err = h.accept(g, own)
	}
	var p *Problem
	switch {
	case err == nil:
		return g, nil
	case own != nil && errors.As(err, &p):
		if p.Code != "node-missing" && p.Code != "node-empty" {
			own.notice = p
		}
		return own, nil
	}
	return nil, err
}

// complete gives a sealed node.yaml its k3s settings back: sealing removed them
// from the file, but the node's own copy has them.
func (g *given) complete(own *given) {
	if own != nil && g.cfg.Sealed && g.cfg.K3s.Config == nil {
		g.cfg.K3s.Config = own.cfg.K3s.Config
	}
}

// withoutNode tells a boot partition without node.yaml from one that is not
// mounted: there the file that every image has is missing, too.
func (h *Host) withoutNode() error {
	if ok, err := h.exists(imageFile); err != nil || !ok {
		return problem("boot-missing", "it is not mounted").because(err)
	}
	return problem("node-missing")
}

func (h *Host) bootConfig() (*given, error) {
	data, err := h.read(bootFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, h.withoutNode()
	}
	if err != nil {
		return nil, problem("boot-missing", err.Error()).because(err)
	}
	cfg, err := node.Load(node.FileName, data)
	var bad *node.Error
	if !errors.As(err, &bad) {
		return &given{cfg: cfg, text: data, last: readLast(data)}, err
	}
	switch bad.Kind {
	case node.Empty:
		return nil, problem("node-empty")
	case node.Binary:
		return nil, problem("node-binary")
	case node.TooLarge:
		return nil, problem("node-too-large")
	case node.Foreign:
		return nil, problem("node-version", bad.Error())
	}
	return nil, problem("bad-field", bad.Error())
}

// ownCopy returns what the last seal left on the data partition. It is nil if
// there is none or it is damaged: then the file on the boot partition decides.
func (h *Host) ownCopy() (*given, error) {
	data, err := h.read(copyFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	cfg, err := node.Load(copyFile, data)
	if err != nil {
		return nil, nil
	}
	return &given{cfg: cfg, last: readLast(data)}, h.withConfig(cfg)
}

// file is what a file must be.
type file struct {
	path     string
	data     []byte
	mode     fs.FileMode
	uid, gid int
	absent   bool // it must not exist
}

func text644(path, content string) file { return file{path: path, data: []byte(content), mode: 0o644} }

// matches asks whether a file is as it must be.
func (h *Host) matches(f file) (bool, error) {
	fi, err := h.Files.Stat(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return f.absent, nil
	}
	if err != nil || f.absent {
		return false, err
	}
	if fi.Mode().Perm() != f.mode || fi.Size() != int64(len(f.data)) {
		return false, nil
	}
	have, err := h.read(f.path)
	return bytes.Equal(have, f.data), err
}

func (h *Host) allMatch(all []file) (bool, error) {
	for _, f := range all {
		if ok, err := h.matches(f); err != nil || !ok {
			return false, err
		}
	}
	return true, nil
}

// ensure writes the files that are not as they must be.
func (h *Host) ensure(all []file) error {
	for _, f := range all {
		ok, err := h.matches(f)
		if err != nil {
			return err
		}
		if ok {
			continue
		}
		if err := h.write(f); err != nil {
			return err
		}
	}
	return nil
}

func (h *Host) write(f file) error {
	if f.absent {
		return h.Files.Remove(f.path)
	}
	if err := h.Files.Put(f.path, bytes.NewReader(f.data), Attr{f.mode, f.uid, f.gid}); err != nil {
		return fmt.Errorf("write %s: %w", f.path, err)
	}
	return nil
}

// group is a set of files; tell informs the running programs of a change to
// them.
type group struct {
	name  string
	files []file
	tell  func(context.Context) error
}

// pendingFile marks that files changed in this boot and programs have not been
// told yet. It lies in /run: the next boot reads the files anyway.
func (g group) pendingFile() string { return runDir + "/pending-" + g.name }

func (h *Host) converged(g group) (bool, error) {
	if ok, err := h.allMatch(g.files); err != nil || !ok {
		return false, err
	}
	pending, err := h.exists(g.pendingFile())
	return !pending, err
}

func (h *Host) converge(ctx context.Context, g group) error {
	if ok, err := h.converged(g); err != nil || ok {
		return err
	}
	if err := h.write(file{path: g.pendingFile(), mode: 0o600}); err != nil {
		return err
	}
	if err := h.ensure(g.files); err != nil {
		return err
	}
	if err := g.tell(ctx); err != nil {
		return err
	}
	return h.Files.Remove(g.pendingFile())
}
