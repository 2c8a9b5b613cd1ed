package board

import (
	"fmt"
	"io/fs"
	"slices"
	"strconv"

	"gopkg.in/yaml.v3"

	"github.com/going-mobile/imagebuilder/firstboot/strictyaml"
)

// Raw is a file that lies outside of all partitions, at the place where a
// processor's boot ROM looks for it: what others have in a flash chip.
type Raw struct {
	// File of a package, such as usr/lib/u-boot/rockpro64-rk3399/idbloader.img.
	File string `yaml:"file"`
	// Offset of its first byte on the disk. Sizes are whole KiB, so it begins
	// with a sector.
	Offset Size `yaml:"offset"`
	// Line of the board file, for what only a look into the packages can tell.
	Line int `yaml:"-" json:"-"`
}

// RawRoom in bytes lies before the first partition of a disk with raw files:
// as much as Rockchip's loaders are given by their maker
// (https://opensource.rock-chips.com/wiki_Partitions).
const RawRoom = 16 << 20

// UnmarshalYAML implements yaml.Unmarshaler.
func (r *Raw) UnmarshalYAML(n *yaml.Node) error {
	type plain Raw
	r.Line = n.Line
	return strictyaml.DecodeNode(n, (*plain)(r))
}

// rawProblem looks at what is known before any package is. How long the files
// are, and so whether they overlap, is not.
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

// tableEnd is the first offset behind the partition table, rounded up to what a
// board file can say: an MBR is one sector, a GPT 34.
func (b *Board) tableEnd() Size {
	if b.Firmware == RaspberryPi {
		return 1 << 10
	}
	return 17 << 10
}
