package initramfs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
)

// stage is contract.StageFile, one sector of the boot partition. It is written without mounting the
// file system: a mount would mark it as in use each time, and a power cut would leave it marked.
type stage struct {
	dev  string // the partition
	at   int64  // offset on the partition, in bytes
	said contract.Stage
}

// findStage looks for the sector, and for what the boot loader left in it. An older image has no
// such file.
func (m *machine) findStage() {
	err := m.onBoot(unix.MS_RDONLY, func(dir string) error {
		f, err := os.Open(filepath.Join(dir, contract.StageFile))
		if err != nil {
			return err
		}
		defer f.Close()
		m.stage, err = readStage(f)
		return err
	})
	if err == nil {
		m.stage.dev, err = m.disk.Partition(contract.PartBoot)
	}
	if err != nil {
		m.stage = nil
		m.con.log("init: " + err.Error())
	}
}

// readStage returns the content of the file, and where the file is on its partition.
func readStage(f *os.File) (*stage, error) {
	data := make([]byte, contract.StageSize)
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() != contract.StageSize {
		return nil, fmt.Errorf("%s has %d bytes, not the %d that an image gives it", contract.StageFile, info.Size(), contract.StageSize)
	}
	if _, err := f.ReadAt(data, 0); err != nil {
		return nil, err
	}
	at, err := place(f)
	return &stage{at: at, said: contract.ParseStage(data)}, err
}

// Two ioctls of include/uapi/linux/fs.h. FIBMAP returns the block of the file system that holds a
// given block of a file, 0 for a hole. FIGETBSZ returns the size of a block in bytes.
const (
	fiBMap      = 1
	fiBlockSize = 2
)

// place returns the offset on its partition of a file of one block, in bytes.
func place(f *os.File) (int64, error) {
	block, err := unix.IoctlGetInt(int(f.Fd()), fiBMap) // asks for block 0 of the file, and returns the answer
	if err != nil {
		return 0, fmt.Errorf("where is %s: %w", f.Name(), err)
	}
	size, err := unix.IoctlGetInt(int(f.Fd()), fiBlockSize)
	if err != nil {
		return 0, fmt.Errorf("how long is a block of %s: %w", f.Name(), err)
	}
	if block == 0 {
		return 0, fmt.Errorf("%s has no place on the disk", f.Name())
	}
	return int64(block) * int64(size), nil
}

// reached writes to the boot partition what init is about to do: if that never ends, the card says
// so.
func (m *machine) reached(what string) {
	if m.stage == nil {
		return
	}
	m.stage.said.Kernel = release()
	m.stage.said.Reached = fmt.Sprintf("The kernel of slot %s runs and %s.", m.args.Slot, what)
	if err := m.stage.write(); err != nil {
		m.con.log("init: " + err.Error())
		m.stage = nil
	}
}

func (s *stage) write() error {
	f, err := os.OpenFile(s.dev, os.O_WRONLY|unix.O_DSYNC, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(s.said.Encode(), s.at)
	return errors.Join(err, f.Close())
}
