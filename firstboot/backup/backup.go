// Package backup keeps copies of Headscale's database and keys, and restores the newest copy to a
// machine that has no database: otherwise every node of the tailnet would need a new key.
//
// A copy is one archive, in a directory and, if there is one, in an S3 bucket. The package refuses
// to restore a copy that is damaged or of a version that Headscale does not open, to replace an
// existing database, to let a server start afresh while it cannot know whether a copy exists, and
// to add to the copies of another machine.
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

	"github.com/going-mobile/imagebuilder/firstboot/dirsync"
)

// Keeper copies Headscale's files from Data to its stores, and back.
type Keeper struct {
	Data   string // a directory
	Stores []Store
	// UID and GID own the restored files.
	UID, GID int
	// Version is the version of the Headscale here; "" for one that opens any database.
	Version string
}

// Store is a place for copies.
type Store interface {
	// List returns the names in the store, in any order. A bucket's names may contain slashes.
	List() ([]string, error)
	Get(name string) ([]byte, error)
	Put(name string, data []byte) error
	Delete(name string) error
	String() string
}

// database is what makes a server the same one again. The keys beside it are what clients recognise
// it by.
const database = "db.sqlite"

var keys = []string{NoiseKey, "derp_server_private.key"}

// NoiseKey is made at a server's first start on this machine and never again. A restored one has
// the time of the restore.
const NoiseKey = "noise_private.key"

// A store keeps the newest copies, a day of hours, and before them the last one of each day, kept
// days in all.
const (
	recent = 24
	kept   = 30
)

// The names of copies sort by time.
const (
	prefix     = "headscale-"
	timeFormat = "20060102T150405Z"
	suffix     = ".tar.gz"
)

// Backup puts a copy into every store and deletes the oldest copies. A store that cannot be
// reached, or holds another machine's copies, does not stop the others.
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
	if err := k.note(append(own, name)...); err != nil { // before the copy exists: power may fail in between
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

// thin deletes the copies that are not kept.
func thin(s Store) error {
	names, err := copies(s)
	if err != nil {
		return err
	}
	for _, name := range spare(names) {
		if err := s.Delete(name); err != nil {
			return err
		}
	}
	return nil
}

// spare are the names, given with the newest first, that are not kept.
func spare(names []string) (out []string) {
	days, day := 0, ""
	for i, name := range names {
		its := name[:len(prefix+"20060102")]
		last := its != day
		if day = its; last {
			days++
		}
		if i >= recent && (!last || days > kept) {
			out = append(out, name)
		}
	}
	return out
}

// copies lists the copies in a store, the newest first. Files with other names are not ours.
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

// Newest returns when the newest copy in a store was made, by whichever machine; zero if there is
// none.
func Newest(s Store) (time.Time, error) {
	names, err := copies(s)
	if err != nil || len(names) == 0 {
		return time.Time{}, err
	}
	return time.Parse(prefix+timeFormat+suffix, names[0])
}

// copy returns an archive with the keys and a consistent snapshot of the database.
func (k *Keeper) copy(ctx context.Context) ([]byte, error) {
	tmp, err := os.MkdirTemp("", "headscale-backup-") // 0700
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	// A copy of the file alone would lack what is in the write-ahead log. VACUUM INTO reads both in
	// one transaction (sqlite.org/lang_vacuum.html).
	if err := sqlite(ctx, filepath.Join(k.Data, database), "VACUUM INTO '"+filepath.Join(tmp, database)+"'", ""); err != nil {
		return nil, err
	}
	names := []string{database}
	for _, name := range keys {
		text, err := os.ReadFile(filepath.Join(k.Data, name))
		if errors.Is(err, fs.ErrNotExist) { // not made yet
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

// sqlite runs one statement and requires the answer want.
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
	if _, err := os.Stat(file); err != nil { // sqlite3 would create an empty database
		return "", err
	}
	out, err := exec.CommandContext(ctx, "sqlite3", "-batch", "-cmd", ".timeout 60000", file, statement).CombinedOutput()
	got := strings.TrimSpace(string(out))
	if err != nil {
		return "", fmt.Errorf("sqlite3: %w: %s", err, got)
	}
	return got, nil
}

// Restore restores the newest valid copy where there is no database, and returns its name; "" if
// there is a database, or no copy. It reports a damaged copy to tell, and goes on with the next
// older one.
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

// unpacked begins the name of the directory of a copy's files, until they are in place.
const unpacked = ".restore-"

// bringBack moves the files of a copy into place, the database last: if it is there, the rest is
// too.
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
	// SQLite would play the log of a database that was here before into this one.
	for _, former := range []string{database + "-wal", database + "-shm"} {
		if err := os.Remove(filepath.Join(k.Data, former)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
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
	return dirsync.Dir(k.Data)
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
