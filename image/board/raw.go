package board

import (
	"fmt"
	"io/fs"
	"slices"
	"strconv"

	"gopkg.in/yaml.v3"

	"github.com/going-mobile/imagebuilder/firstboot/strictyaml"
)

// Raw is a file outside of all partitions, at an offset where a processor's boot ROM looks
// for it. Other machines have such code in a flash chip.
type Raw struct {
	// File is a path in a package, such as usr/lib/u-boot/rockpro64-rk3399/idbloader.img.
	File string `yaml:"file"`
	// Offset of the file's first byte on the disk. Sizes are whole KiB, so it is the start
	// of a sector.
	Offset Size `yaml:"offset"`
	// Line in the board file, for errors that can be found only once the packages are read.
	Line int `yaml:"-" json:"-"`
}

// RawRoom, in bytes, is where the first partition begins on a disk with raw files. It is
// the room that Rockchip reserves for its loaders
// (https://opensource.rock-chips.com/wiki_Partitions).
const RawRoom = 16 << 20

// UnmarshalYAML implements yaml.Unmarshaler.
func (r *Raw) UnmarshalYAML(n *yaml.Node) error {
	type plain Raw
	r.Line = n.Line
	return strictyaml.DecodeNode(n, (*plain)(r))
}

// rawProblem checks what can be checked before the packages are read. The lengths of the
// files, and so whether they overlap, are not known yet.
func (b *Board) rawProblem() (field, problem string) {
	if b.BIOS && len(b.Disk.Raw) > 0 {
		return "raw", "goes without bios: GRUB lies there"
	}
	for i, r := range b.Disk.Raw {
		first := slices.IndexFunc(b.Disk.Raw, func(o Raw) bool { return o.Offset == r.Offset })
		switch {
		case r.File == "":
			return at("raw", i, "file"), "is missing; name one that a package brings, such as usr/lib/u-boot/rockpro64-rk3399/idbloader.img"
		case !fs.ValidPath(r.File) || r.File == ".":
			return at("raw", i, "file"), strconv.Quote(r.File) + " is no file of a package; write it without / in front and without .."
		case r.Offset < b.tableEnd():
			return at("raw", i, "offset"), fmt.Sprintf("%v is within the partition table, which ends at %v", r.Offset, b.tableEnd())
		case r.Offset >= RawRoom:
			return at("raw", i, "offset"), fmt.Sprintf("%v is within the first partition, which begins at %v", r.Offset, Size(RawRoom))
		case first < i:
			return at("raw", i, "offset"), fmt.Sprintf("%v is where %s lies", r.Offset, b.Disk.Raw[first].File)
		}
	}
	return "", ""
}

// tableEnd is the first offset after the partition table, rounded up to the whole KiB of a
// board file: an MBR takes one sector, a GPT 34.
func (b *Board) tableEnd() Size {
	if b.Firmware == RaspberryPi {
		return 1 << 10
	}
	return 17 << 10
}
