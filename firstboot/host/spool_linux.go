package host

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
)

// Spool keeps an update that comes in pieces below a directory, SpoolDir on a node.
type Spool struct{ Dir string }

// SpoolDir is on /var: an update outlives a restart on its way.
const SpoolDir = "/var/lib/imagebuilder/update"

var spoolID = regexp.MustCompile(`^[0-9a-f]{64}$`)

func (s Spool) file(id string) (string, error) {
	if !spoolID.MatchString(id) {
		return "", fmt.Errorf("%.80q is no sha256 of an update", id)
	}
	return filepath.Join(s.Dir, id), nil
}

// Have is how many bytes of an update are there. Another one makes place.
func (s Spool) Have(id string) (int64, error) {
	name, err := s.file(id)
	if err != nil {
		return 0, err
	}
	fi, err := os.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, s.Drop()
	}
	if err != nil {
		return 0, err
	}
	return fi.Size(), nil
}

// Append adds to an update. What came is on the medium when it returns.
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

// Drop forgets every update.
func (s Spool) Drop() error { return os.RemoveAll(s.Dir) }
