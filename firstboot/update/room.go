package update

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
)

// atticRoom is the room that /var must have left beside what a trial keeps, in bytes: logs go on.
const atticRoom = 64 << 20

// k3sRoom is what another k3s takes when it unpacks itself beside the running one, in bytes.
const k3sRoom = 300 << 20

// unpacks is the room, in bytes, that the programs of another system take when they unpack
// themselves. Those of an earlier system may be gone, so they do not count.
func (u *update) unpacks(next map[string]string) int64 {
	if u.running.Components["k3s"] == next["k3s"] {
		return 0
	}
	return k3sRoom
}

// refuseAttic requires room on /var for what is kept until the trial has ended, and for does, the
// bytes that the trial itself writes. It first removes what an earlier trial left half kept: that
// would be in the way, and nobody else removes it.
func (u *update) refuseAttic(trial contract.Trial, does int64) error {
	if err := u.slots.Tidy(); err != nil {
		return fmt.Errorf("remove what an earlier trial has left: %w", err)
	}
	need := atticRoom + does
	for _, name := range slices.Concat(trial.Keep, trial.Locked) {
		n, err := u.usage(name)
		if err != nil {
			return err
		}
		need += n
	}
	_, room, err := u.Files.Space("/var")
	if err != nil {
		return err
	}
	if room < need {
		return fmt.Errorf("/var has room for %d MB, the trial needs %d MB, also to keep what it may change: remove what is not needed there", room>>20, need>>20)
	}
	return nil
}

// blockSize is the least that a file takes, in bytes.
const blockSize = 4 << 10

// usage adds up a directory and everything below it, in bytes. A name that is gone by now takes no
// room; a symbolic link takes a block, and is not followed.
func (u *update) usage(name string) (int64, error) {
	if _, err := u.Files.Readlink(name); err == nil {
		return blockSize, nil
	}
	fi, err := u.Files.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return 0, nil
	case err != nil:
		return 0, err
	case !fi.IsDir():
		return fi.Size() + blockSize, nil
	}
	names, err := u.Files.List(name)
	if err != nil {
		return 0, err
	}
	size := int64(blockSize)
	for _, below := range names {
		n, err := u.usage(path.Join(name, below))
		if err != nil {
			return 0, err
		}
		size += n
	}
	return size, nil
}
