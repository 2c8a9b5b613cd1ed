package host

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"

	"github.com/going-mobile/imagebuilder/firstboot"
)

// Spool keeps an update that comes in pieces below Dir, which is SpoolDir on a node.
type Spool struct{ Dir string }

// SpoolDir is on /var: an update that is arriving survives a restart.
const SpoolDir = "/var/lib/imagebuilder/update"

// noteSuffix is the suffix of a note about the outcome of an update.
const noteSuffix = ".json"

var spoolID = regexp.MustCompile(`^[0-9a-f]{64}$`)

func (s Spool) file(id string) (string, error) {
	if !spoolID.MatchString(id) {
		return "", fmt.Errorf("%.80q is no sha256 of an update", id)
	}
	return filepath.Join(s.Dir, id), nil
}

// Have returns how many bytes of an update have arrived; 0 for an unknown update.
func (s Spool) Have(id string) (int64, error) {
	name, err := s.file(id)
	if err != nil {
		return 0, err
	}
	fi, err := os.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return fi.Size(), nil
}

// Keep deletes every other update, and all notes.
func (s Spool) Keep(id string) error {
	if _, err := s.file(id); err != nil {
		return err
	}
	return s.dropBut(id)
}

// Append adds to an update. When it returns, what came is on the medium.
func (s Spool) Append(id string, r io.Reader) error {
	name, err := s.file(id)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(s.Dir, 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, f.Sync(), f.Close())
}

// Open reads an update from its start.
func (s Spool) Open(id string) (io.ReadCloser, error) {
	name, err := s.file(id)
	if err != nil {
		return nil, err
	}
	return os.Open(name)
}

// Done stores a note about the outcome of an update, and deletes the update.
func (s Spool) Done(id string, note []byte) error {
	if _, err := s.file(id); err != nil {
		return err
	}
	dir := Files{Root: s.Dir}
	if err := dir.Put(id+noteSuffix, bytes.NewReader(note), firstboot.Attr{Mode: 0o600}); err != nil {
		return err
	}
	return s.dropBut(id + noteSuffix)
}

// Note returns the note that Done stored, nil if there is none.
func (s Spool) Note(id string) ([]byte, error) {
	name, err := s.file(id)
	if err != nil {
		return nil, err
	}
	note, err := os.ReadFile(name + noteSuffix)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return note, err
}

// Drop deletes every update, and all notes.
func (s Spool) Drop() error { return os.RemoveAll(s.Dir) }

func (s Spool) dropBut(keep string) error {
	entries, err := os.ReadDir(s.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		if e.Name() != keep {
			err = errors.Join(err, os.RemoveAll(filepath.Join(s.Dir, e.Name())))
		}
	}
	return err
}
