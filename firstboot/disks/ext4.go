package disks

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
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
// checks only that there is one: the rest is e2fsck's work.
func readExt4(r io.ReaderAt) (ext4, error) {
	sb := make([]byte, 1024)
	if _, err := r.ReadAt(sb, 1024); errors.Is(err, io.EOF) {
		return ext4{}, fmt.Errorf("%w: there is no room for one", ErrNoExt4)
	} else if err != nil {
		return ext4{}, fmt.Errorf("read the superblock: %w", err)
	}
	le := binary.LittleEndian
	if le.Uint16(sb[0x38:]) != 0xef53 {
		return ext4{}, fmt.Errorf("%w: there is no superblock", ErrNoExt4)
	}
	shift := le.Uint32(sb[0x18:])
	if shift > 6 {
		return ext4{}, fmt.Errorf("%w: the superblock is damaged: block size 2^%d", ErrNoExt4, 10+int64(shift))
	}
	f := ext4{blocks: uint64(le.Uint32(sb[0x04:])), blockSize: 1024 << shift}
	const incompat64bit = 0x80
	if le.Uint32(sb[0x60:])&incompat64bit != 0 {
		f.blocks |= uint64(le.Uint32(sb[0x150:])) << 32
	}
	if f.blocks == 0 || f.blocks > 1<<50 {
		return ext4{}, fmt.Errorf("%w: the superblock is damaged: %d blocks", ErrNoExt4, f.blocks)
	}
	return f, nil
}

// isIntact compares the superblock with its checksum. A superblock without one,
// which Format does not make, counts as intact.
func isIntact(r io.ReaderAt) (bool, error) {
	sb := make([]byte, 1024)
	if _, err := r.ReadAt(sb, 1024); err != nil {
		return false, err
	}
	const metadataCsum, at = 0x400, 0x3fc
	le := binary.LittleEndian
	if le.Uint32(sb[0x64:])&metadataCsum == 0 {
		return true, nil
	}
	return le.Uint32(sb[at:]) == ^crc32.Checksum(sb[:at], crc32.MakeTable(crc32.Castagnoli)), nil
}
