package backup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/dirsync"
)

// Two machines may share one bucket, for example after the previous machine was switched on again.
// Their copies differ only in time, so a machine remembers which copies belong to its own server's
// past, and adds a copy only after one of those.

// noteFile lies beside the database and is lost with it. It lists the names of copies, the latest
// last.
const noteFile = "copies"

// remembered is how many names the note holds: enough for a bucket that was unreachable for a year,
// with a copy every hour.
const remembered = 366 * 24

// own returns the names of the copies that this machine has written or taken over: those in the
// note, and those in its own directories, where an older image without a note may have written
// some. A machine about which nothing is known takes all existing copies for its own.
func (k *Keeper) own() ([]string, error) {
	names, err := k.noted()
	if err != nil {
		return nil, err
	}
	for _, s := range k.Stores {
		if d, ok := s.(Dir); ok {
			its, err := copies(d)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", d, err)
			}
			names = append(names, its...)
		}
	}
	if len(names) == 0 {
		names, _ = k.all() // a store that cannot be asked now is written to another night
	}
	return names, nil
}

// all returns the names in all stores that can be asked, the latest last. The error lists the other
// stores.
func (k *Keeper) all() (all []string, err error) {
	for _, s := range k.Stores {
		names, fault := copies(s)
		if fault != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w", s, fault))
		}
		all = append(all, names...)
	}
	slices.Sort(all)
	return all, err
}

func (k *Keeper) noted() ([]string, error) {
	text, err := os.ReadFile(filepath.Join(k.Data, noteFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return strings.Fields(string(text)), err
}

// note remembers more names, durably.
func (k *Keeper) note(more ...string) error {
	if len(more) == 0 {
		return nil
	}
	names, err := k.noted()
	if err != nil {
		return err
	}
	for _, name := range more {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	names = names[max(0, len(names)-remembered):]
	const begun = ".copies-" // Headscale uses no such name
	if err := sweep(k.Data, begun); err != nil {
		return err
	}
	next := filepath.Join(k.Data, begun+strconv.Itoa(os.Getpid()))
	return dirsync.Replace(next, filepath.Join(k.Data, noteFile), func(f *os.File) error {
		_, err := f.WriteString(strings.Join(names, "\n") + "\n")
		return err
	})
}

// Newest returns when the newest copy in a store was made; zero if there is none. It returns an
// error if that copy is another machine's.
func (k *Keeper) Newest(s Store) (time.Time, error) {
	own, err := k.own()
	if err != nil {
		return time.Time{}, err
	}
	return newest(s, own)
}

func newest(s Store, own []string) (time.Time, error) {
	names, err := copies(s)
	if err != nil || len(names) == 0 {
		return time.Time{}, err
	}
	if !slices.Contains(own, names[0]) {
		return time.Time{}, fmt.Errorf("its newest copy, %s, was written by another machine, so nothing was written and nothing deleted: switch off the one that is not to run Headscale any more. "+
			"If this one stays, say here, once: firstboot headscale-backup --take-over", names[0])
	}
	return time.Parse(prefix+timeFormat+suffix, names[0])
}

// TakeOver makes all existing copies this machine's: its owner says that its database is the one
// that counts.
func (k *Keeper) TakeOver() error {
	all, err := k.all()
	if err != nil {
		return err
	}
	return k.note(all...)
}
