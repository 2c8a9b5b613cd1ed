package grub

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/ulikunitz/xz/lzma"
)

// Fields of lzma_decompress.img (include/grub/offsets.h, GRUB_DECOMPRESSOR_I386_PC_*), 32
// bits each.
const (
	compressedSize   = 0x08
	uncompressedSize = 0x0c
	reedSolomon      = 0x10 // bytes of redundancy
	noReedSolomon    = 0x14 // how much of the image is not protected by it; as set by the linker
)

// blockSize is the size of an entry in diskboot.img's block list, in bytes: 64 bits for the
// first sector, 16 for the number of sectors, 16 for the segment to load them to.
const blockSize = 12

// maxCore is grub-mkimage's limit, in bytes: the core begins at 0x9000, the kernel's link
// address, and must end below 0x78000 (GRUB_KERNEL_I386_PC_LINK_ADDR and
// GRUB_MEMORY_MACHINE_UPPER). The compressed core is loaded to 0x8200, so there is room to
// spare.
const maxCore = 0x78000 - 0x9000

// firstSegment is the segment to which diskboot.img loads what follows it.
const firstSegment = 0x820

// newCore returns diskboot.img, the decompressor and the compressed payload.
func newCore(files Files, payload []byte) ([]byte, error) {
	packed, err := compress(payload)
	if err != nil {
		return nil, err
	}
	core, err := decompressor(files, len(packed), len(payload))
	if err != nil {
		return nil, err
	}
	core = append(core, packed...)
	if len(core) > maxCore {
		return nil, fmt.Errorf("%d bytes are more than a BIOS has room for (%d)", len(core), maxCore)
	}
	core = append(core, make([]byte, -len(core)&(sector-1))...)
	disk, err := diskBoot(files, len(core)/sector)
	return append(disk, core...), err
}

func decompressor(files Files, packed, unpacked int) ([]byte, error) {
	b, err := files("lzma_decompress.img")
	if err != nil {
		return nil, err
	}
	if len(b) < sector || !bytes.Equal(b[compressedSize:noReedSolomon], make([]byte, noReedSolomon-compressedSize)) {
		return nil, errors.New("lzma_decompress.img: its fields are not where GRUB 2.12 has them; this version is not known")
	}
	b = bytes.Clone(b)
	le.PutUint32(b[compressedSize:], uint32(packed))
	le.PutUint32(b[uncompressedSize:], uint32(unpacked))
	le.PutUint32(b[reedSolomon:], 0)
	return b, nil
}

func diskBoot(files Files, sectors int) ([]byte, error) {
	b, err := files("diskboot.img")
	if err != nil {
		return nil, err
	}
	if len(b) != sector || le.Uint16(b[sector-2:]) != firstSegment {
		return nil, errors.New("diskboot.img: its list of blocks is not where GRUB 2.12 has it; this version is not known")
	}
	b = bytes.Clone(b)
	le.PutUint16(b[sector-4:], uint16(sectors))
	return b, nil
}

// compress makes an LZMA stream with the parameters that are built into the decompressor:
// no header, no end mark.
func compress(payload []byte) ([]byte, error) {
	var b bytes.Buffer
	w, err := lzma.WriterConfig{
		Properties: &lzma.Properties{LC: 3, LP: 0, PB: 2}, DictCap: 1 << 16,
		SizeInHeader: true, Size: int64(len(payload)), Matcher: lzma.HashTable4,
	}.NewWriter(&b)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(payload); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes()[lzma.HeaderLen:], nil
}
