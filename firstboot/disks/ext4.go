package disks

import (
	"encoding/binary"
	"fmt"
	"io"
)

// ext4 describes a file system by its superblock, as the kernel documentation
// filesystems/ext4/super.rst lays it out.
type ext4 struct {
	blocks    uint64
	blockSize int64
}

func (f ext4) bytes() int64 { return int64(f.blocks) * f.blockSize }

// readExt4 reads the superblock of the file system at the beginning of r. It
// checks only that one is there: the rest is e2fsck's work.
func readExt4(r io.ReaderAt) (ext4, error) {
	sb := make([]byte, 1024)
	if _, err := r.ReadAt(sb, 1024); err != nil {
		return ext4{}, fmt.Errorf("read the superblock: %w", err)
	}
	le := binary.LittleEndian
	if le.Uint16(sb[0x38:]) != 0xef53 {
		return ext4{}, fmt.Errorf("there is no ext4 superblock")
	}
	shift := le.Uint32(sb[0x18:])
	if shift > 6 {
		return ext4{}, fmt.Errorf("the ext4 superblock is damaged: block size 2^%d", 10+int64(shift))
	}
	f := ext4{blocks: uint64(le.Uint32(sb[0x04:])), blockSize: 1024 << shift}
	const incompat64bit = 0x80
	if le.Uint32(sb[0x60:])&incompat64bit != 0 {
		f.blocks |= uint64(le.Uint32(sb[0x150:])) << 32
	}
	if f.blocks == 0 || f.blocks > 1<<50 {
		return ext4{}, fmt.Errorf("the ext4 superblock is damaged: %d blocks", f.blocks)
	}
	return f, nil
}
