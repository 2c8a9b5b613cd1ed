package firstboot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/going-mobile/imagebuilder/firstboot/node"
)

// seal: nothing secret is left on the boot partition. The key is used up;
// tokens are where k3s keeps them. A copy without secrets stays on the data
// partition, so that a spoilt node.yaml stops no member.

func (m *machine) sealDone(context.Context) (bool, error) {
	sealed, err := node.Marshal(m.cfg.Seal())
	if err != nil {
		return false, err
	}
	if ok, err := m.matches(file{path: copyFile, data: sealed, mode: 0o600}); err != nil || !ok {
		return false, err
	}
	if open, err := m.exists(sealingFile); err != nil || open {
		return false, err
	}
	data, err := m.read(bootFile)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	return !m.leaks(data), nil
}

// leaks reports whether the boot partition's file must be written over: it
// carries a secret, or nobody can say.
func (m *machine) leaks(data []byte) bool {
	cfg, err := node.Load(node.FileName, data)
	var bad *node.Error
	if errors.As(err, &bad) {
		return bad.Kind != node.Empty && m.torn(data)
	}
	return cfg.HasSecrets() || !cfg.Sealed
}

// torn tells our own interrupted work, which left part of the sealed text,
// from a file that a person spoilt and wants to mend.
func (m *machine) torn(data []byte) bool {
	open, err := m.exists(sealingFile)
	return err != nil || open
}

// sealDo may be cut off anywhere. sealingFile says that the boot partition's
// file is being written over, from when it may be torn to when it is whole.
// First of all k3s' certificates and the like must be on the medium, which it
// writes without fsync: who reads "joined" may pull the plug.
func (m *machine) sealDo(context.Context) error {
	if err := m.Files.Sync("/var"); err != nil {
		return fmt.Errorf("sync /var: %w", err)
	}
	sealed, err := node.Marshal(m.cfg.Seal())
	if err != nil {
		return err
	}
	if err := m.write(file{path: copyFile, data: sealed, mode: 0o600}); err != nil {
		return err
	}
	fi, err := m.Files.Stat(bootFile)
	if errors.Is(err, fs.ErrNotExist) {
		return m.Files.Remove(sealingFile)
	}
	if err != nil {
		return problem("boot-missing", err.Error()).because(err)
	}
	if err := m.write(file{path: sealingFile, mode: 0o600}); err != nil {
		return err
	}
	if err := m.overwrite(sealed, int(fi.Size())); err != nil {
		return problem("boot-readonly", err.Error()).because(err)
	}
	return m.Files.Remove(sealingFile)
}

// overwrite puts text over the whole of node.yaml, in its own clusters: a
// file written anew would leave the key in those of the old one. The first
// pass removes every old byte also where the second is cut off.
func (m *machine) overwrite(text []byte, size int) error {
	if err := m.Files.Overwrite(bootFile, bytes.Repeat([]byte("\n"), size)); err != nil {
		return err
	}
	if size < len(text) { // a file a person wrote by hand may be shorter
		text = []byte(fmt.Sprintf("# sealed: see %s\n", copyFile))
		text = text[:min(len(text), size)]
	}
	padded, err := node.PadTo(text, size)
	if err != nil {
		return err
	}
	return m.Files.Overwrite(bootFile, padded)
}
