// Package backup keeps copies of Headscale's database and keys, and brings the
// newest back to a machine that has none: without them every node of the tailnet
// would have to be given a key again.
//
// A copy is one archive, in a directory and, where there is one, in a bucket of
// S3. The package refuses to bring back what is damaged, or of a version that
// Headscale does not open, to replace a database that is there, to let a server
// begin anew while it cannot know whether there is a copy, and to write after the
// copies of another machine.
package backup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Keeper copies what Headscale has in Data to its stores, and back.
type Keeper struct {
	Data   string // a directory
	Stores []Store
	// UID and GID own what is brought back.
	UID, GID int
	// Version is that of the Headscale here, "" for one that opens whatever there is.
	Version string
}

// Store is a place for copies.
type Store interface {
	// List returns the names of what is in it, in any order; a bucket's with
	// slashes in them.
	List() ([]string, error)
	Get(name string) ([]byte, error)
	Put(name string, data []byte) error
	Delete(name string) error
	String() string
}

// database is what makes a server the same one again. The keys beside it are
// what clients know it by.
const database = "db.sqlite"

var keys = []string{NoiseKey, "derp_server_private.key"}

// NoiseKey is made at a server's first start here and never again. One that is brought
// back is of the time when that was.
const NoiseKey = "noise_private.key"

// kept is how many copies each store has: a month of nights.
const kept = 30

// The names of copies sort by time.
const (
	prefix     = "headscale-"
	timeFormat = "20060102T150405Z"
	suffix     = ".tar.gz"
)

// Backup puts a copy into every store and takes the oldest away. One store that
// cannot be reached, or has another machine's copies, keeps no other from having it.
func (k *Keeper) Backup(ctx context.Context, now time.Time) error {
	data, err := k.copy(ctx)
	if err != nil {
		return err
	}
	own, err := k.own()
	if err != nil {
		return err
	}
	name := prefix + now.UTC().Format(timeFormat) + suffix
	if err := k.note(append(own, name)...); err != nil { // before it is there: in between there may be no power
		return err
	}
	var faults []error
	for _, s := range k.Stores {
		_, err := newest(s, own)
		if err == nil {
			err = s.Put(name, data)
		}
		if err == nil {
			err = thin(s)
		}
		if err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", s, err))
		}
	}
	return errors.Join(faults...)
}

// thin deletes all but the newest copies.
func thin(s Store) error {
	names, err := copies(s)
	if err != nil {
		return err
	}
	for _, name := range names[min(kept, len(names)):] {
		if err := s.Delete(name); err != nil {
			return err
		}
	}
	return nil
}

// copies lists those of a store, the newest first. Other files there are none
// of ours.
func copies(s Store) ([]string, error) {
	all, err := s.List()
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(name string) bool {
		stamp, ours := strings.CutPrefix(strings.TrimSuffix(name, suffix), prefix)
		_, err := time.Parse(timeFormat, stamp)
		return !ours || err != nil
	})
	slices.Sort(all)
	slices.Reverse(all)
	return all, nil
}

// Newest says when the newest copy of a store was made, by whomever; zero is never.
func Newest(s Store) (time.Time, error) {
	names, err := copies(s)
	if err != nil || len(names) == 0 {
		return time.Time{}, err
	}
	return time.Parse(prefix+timeFormat+suffix, names[0])
}

// copy returns an archive of the database as of one moment, and of the keys.
func (k *Keeper) copy(ctx context.Context) ([]byte, error) {
	tmp, err := os.MkdirTemp("", "headscale-backup-") // 0700
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	// A copy of the file alone would lack what is in the write-ahead log; VACUUM
	// INTO reads both in one transaction (sqlite.org/lang_vacuum.html).
	if err := sqlite(ctx, filepath.Join(k.Data, database), "VACUUM INTO '"+filepath.Join(tmp, database)+"'", ""); err != nil {
		return nil, err
	}
	names := []string{database}
	for _, name := range keys {
		text, err := os.ReadFile(filepath.Join(k.Data, name))
		if errors.Is(err, fs.ErrNotExist) { // not born yet
			continue
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(tmp, name), text, 0o600)
		}
		if err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	version, err := usedBy(ctx, filepath.Join(tmp, database))
	if err != nil {
		return nil, err
	}
	return pack(tmp, names, released.FindString(version))
}

// sqlite runs one statement and wants an answer.
func sqlite(ctx context.Context, file, statement, want string) error {
	got, err := query(ctx, file, statement)
	if err != nil {
		return err
	}
	if got != want {
		return fmt.Errorf("sqlite3 says: %s", got)
	}
	return nil
}

// query runs one statement and returns the answer.
func query(ctx context.Context, file, statement string) (string, error) {
	if _, err := os.Stat(file); err != nil { // sqlite3 would make an empty one
		return "", err
	}
	out, err := exec.CommandContext(ctx, "sqlite3", "-batch", "-cmd", ".timeout 60000", file, statement).CombinedOutput()
	got := strings.TrimSpace(string(out))
	if err != nil {
		return "", fmt.Errorf("sqlite3: %w: %s", err, got)
	}
	return got, nil
}

// Restore brings the newest whole copy back where there is no database, and
// returns its name; "" if there was nothing to do, or no copy. A damaged one is
// told of, and the one before it taken.
func (k *Keeper) Restore(ctx context.Context, tell func(string)) (string, error) {
	if err := sweep(k.Data, unpacked); err != nil {
		return "", err
	}
	if _, err := os.Lstat(filepath.Join(k.Data, database)); !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	type place struct {
		store Store
		name  string
	}
	var all []place
	for _, s := range k.Stores {
		names, err := copies(s)
		if err != nil {
			return "", fmt.Errorf("whether %s has a copy of an earlier server cannot be known: %w", s, err)
		}
		for _, name := range names {
			all = append(all, place{s, name})
		}
	}
	slices.SortStableFunc(all, func(a, b place) int { return strings.Compare(b.name, a.name) })
	if err := k.TakeOver(); err != nil {
		return "", err
	}
	for _, p := range all {
		data, err := p.store.Get(p.name)
		if err != nil {
			return "", fmt.Errorf("%s: %s: %w", p.store, p.name, err)
		}
		err = k.bringBack(ctx, data)
		if err == nil {
			return p.name, nil
		}
		if !errors.Is(err, errDamaged) {
			return "", fmt.Errorf("%s: %s: %w", p.store, p.name, err)
		}
		tell(fmt.Sprintf("%s: %s is not used: %v", p.store, p.name, err))
	}
	if len(all) > 0 {
		return "", errors.New("no copy of the earlier server is whole")
	}
	return "", nil
}

var errDamaged = errors.New("it is damaged")

// unpacked is what the name of a copy's directory begins with, until its files are in place.
const unpacked = ".restore-"

// bringBack puts a copy in place, the database last: where it is, the rest is.
func (k *Keeper) bringBack(ctx context.Context, data []byte) error {
	tmp, err := os.MkdirTemp(k.Data, unpacked)
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	names, err := unpack(data, tmp)
	if err == nil {
		err = sqlite(ctx, filepath.Join(tmp, database), "PRAGMA integrity_check", "ok")
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errDamaged, err)
	}
	version, err := usedBy(ctx, filepath.Join(tmp, database))
	if err == nil {
		err = Opens(k.Version, version)
	}
	if err != nil {
		return err
	}
	slices.SortStableFunc(names, func(a, b string) int { return last(a) - last(b) })
	for _, name := range names {
		from := filepath.Join(tmp, name)
		if err := os.Lchown(from, k.UID, k.GID); err != nil {
			return err
		}
		if err := syncFile(from); err != nil {
			return err
		}
		if err := os.Rename(from, filepath.Join(k.Data, name)); err != nil {
			return err
		}
	}
	return syncFile(k.Data)
}

func last(name string) int {
	if name == database {
		return 1
	}
	return 0
}

func syncFile(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}
