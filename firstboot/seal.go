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

// seal: nothing secret is left on the boot partition. The key is used up;
// tokens are where k3s keeps them. A copy without them stays on the data
// partition, so that a spoilt node.yaml stops no member.

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

// sealDo may be cut off anywhere. sealingFile says that the boot partition's
// file is being written over, from when it may be torn to when it is whole.
// First of all k3s' certificates and the like must be on the medium, which it
// writes without fsync: who reads "joined" may pull the plug.
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

// LostChains are the files that fsck.fat -a, before each mount, makes of clusters on the
// boot partition which no name leads to, as a power cut leaves them: a kernel, or an
// earlier node.yaml. It counts from 0000 up.
func LostChains(f Files) (files []string, err error) {
	names, err := f.List(bootDir)
	for _, name := range names {
		if ok, _ := path.Match("FSCK[0-9][0-9][0-9][0-9].REC", strings.ToUpper(name)); ok {
			files = append(files, bootDir+"/"+name)
		}
	}
	return files, err
}

// RemoveLost writes over them first: removing a name leaves the clusters as they are, and
// with them what was secret.
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

// unsealed returns what must be written over node.yaml, nil if nothing must.
// Only two things may be written over: the text that this node works from, and
// what our own interrupted work left. A file that a person has just put there,
// or one that was refused, is theirs to mend.
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

// sealedText is node.yaml without secrets, as long as the file is.
func (m *machine) sealedText(size int) ([]byte, error) {
	text, err := node.Marshal(m.cfg.Seal())
	if err != nil {
		return nil, err
	}
	if size < len(text) { // a file a person wrote by hand may be shorter
		text = []byte(fmt.Sprintf("# sealed: see %s\n", copyFile))
		text = text[:min(len(text), size)]
	}
	return node.PadTo(text, size)
}

// overwrite puts text over the whole of node.yaml, in its own clusters: a
// file written anew would leave the key in those of the old one. The first
// pass removes every old byte also where the second is cut off.
func (h *Host) overwrite(text []byte) error {
	if err := h.Files.Overwrite(bootFile, bytes.Repeat([]byte("\n"), len(text))); err != nil {
		return err
	}
	return h.Files.Overwrite(bootFile, text)
}
