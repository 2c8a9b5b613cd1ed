package firstboot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/going-mobile/imagebuilder/firstboot/node"
)

// seal: nothing secret is left on the boot partition. The key is used up; tokens are
// where k3s keeps them. A copy of node.yaml stays on the data partition, so that a spoilt
// node.yaml stops no member.

func (m *machine) sealDone(context.Context) (bool, error) {
	kept, err := m.ownFiles(m.given)
	if err != nil {
		return false, err
	}
	if ok, err := m.allMatch(kept); err != nil || !ok {
		return false, err
	}
	if open, err := m.exists(sealingFile); err != nil || open {
		return false, err
	}
	if lost, err := LostChains(m.Files); err != nil || len(lost) > 0 {
		return false, err
	}
	text, err := m.unsealed()
	return text == nil, err
}

// sealDo may be interrupted anywhere. sealingFile marks that node.yaml is being
// overwritten: it is there from the moment that node.yaml may be torn until it is whole.
// Before anything else, k3s' certificates and the like are flushed to the medium, as k3s
// writes them without fsync: whoever reads "joined" may pull the plug.
func (m *machine) sealDo(context.Context) error {
	if err := m.Files.Sync("/var"); err != nil {
		return fmt.Errorf("sync /var: %w", err)
	}
	kept, err := m.ownFiles(m.given)
	if err != nil {
		return err
	}
	for _, f := range kept {
		if err := m.write(f); err != nil {
			return err
		}
	}
	if err := RemoveLost(m.Files); err != nil {
		return problem("boot-readonly", err.Error()).because(err)
	}
	text, err := m.unsealed()
	if err != nil {
		return problem("boot-missing", err.Error()).because(err)
	}
	if text == nil {
		return m.Files.Remove(sealingFile)
	}
	if err := m.write(file{path: sealingFile, mode: 0o600}); err != nil {
		return err
	}
	if err := m.overwrite(text); err != nil {
		return problem("boot-readonly", err.Error()).because(err)
	}
	return m.Files.Remove(sealingFile)
}

// LostChains returns the files that fsck.fat -a, which runs before each mount, makes of
// clusters on the boot partition without a name. A power cut leaves such clusters: of a
// kernel, or of an earlier node.yaml. fsck.fat numbers the files from 0000 up.
func LostChains(f Files) (files []string, err error) {
	names, err := f.List(bootDir)
	for _, name := range names {
		if ok, _ := path.Match("FSCK[0-9][0-9][0-9][0-9].REC", strings.ToUpper(name)); ok {
			files = append(files, bootDir+"/"+name)
		}
	}
	return files, err
}

// RemoveLost overwrites those files before it removes them: removing a name leaves the
// clusters as they are, with any secret in them.
func RemoveLost(f Files) error {
	files, err := LostChains(f)
	if err != nil {
		return err
	}
	for _, name := range files {
		fi, err := f.Stat(name)
		if err != nil {
			return err
		}
		if err := f.Overwrite(name, make([]byte, fi.Size())); err != nil {
			return err
		}
		if err := f.Remove(name); err != nil {
			return err
		}
	}
	return nil
}

// unsealed returns what must be written over node.yaml, nil if nothing must. Only two
// things may be overwritten: the text that this node works from, and what our own
// interrupted work has left. A file that a person has just put there, or one that was
// refused, is theirs to correct.
func (m *machine) unsealed() ([]byte, error) {
	have, err := m.read(bootFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	torn, err := m.exists(sealingFile)
	if err != nil || !torn && (m.text == nil || !bytes.Equal(have, m.text)) {
		return nil, err
	}
	want, err := m.sealedText(len(have))
	if err != nil || bytes.Equal(have, want) {
		return nil, err
	}
	return want, nil
}

// sealedText returns node.yaml without secrets, padded to the size of the file.
func (m *machine) sealedText(size int) ([]byte, error) {
	text, err := node.Marshal(m.cfg.Seal())
	if err != nil {
		return nil, err
	}
	if size < len(text) { // a file written by hand may be shorter
		text = []byte(fmt.Sprintf("# sealed: see %s\n", copyFile))
		text = text[:min(len(text), size)]
	}
	return node.PadTo(text, size)
}

// overwrite puts text over the whole of node.yaml, in the same clusters: a new file would
// leave the key in those of the old one. The first pass removes every old byte, even if
// the second is interrupted.
func (h *Host) overwrite(text []byte) error {
	if err := h.Files.Overwrite(bootFile, bytes.Repeat([]byte("\n"), len(text))); err != nil {
		return err
	}
	return h.Files.Overwrite(bootFile, text)
}
