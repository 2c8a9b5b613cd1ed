package disk

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"strings"

	"github.com/diskfs/go-diskfs/partition/gpt"
	"github.com/diskfs/go-diskfs/partition/mbr"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
)

var le = binary.LittleEndian

// Write writes l's table to w: the first sector and, for a GPT, the tables at the start and
// at the end of l.Size bytes. Nothing in between changes. The caller must give an MBR image
// file its length of l.Size.
func Write(w io.WriterAt, l Layout) error {
	if err := l.Check(); err != nil {
		return err
	}
	write := writeGPT
	if l.Scheme == contract.MBR {
		write = writeMBR
	}
	if err := write(w, l); err != nil {
		return fmt.Errorf("write %s: %w", strings.ToUpper(string(l.Scheme)), err)
	}
	return nil
}

func writeMBR(w io.WriterAt, l Layout) error {
	t := &mbr.Table{LogicalSectorSize: SectorSize, PhysicalSectorSize: SectorSize}
	for n := 1; n <= maxNumMBR; n++ {
		t.Partitions = append(t.Partitions, mbrEntry(l, n))
	}
	// go-diskfs writes only from byte 446 on and does not set the disk signature, on which
	// root=PARTUUID= depends.
	sector := make(sectorWriter, SectorSize)
	if err := t.Write(backend{w: sector}, l.Size); err != nil {
		return err
	}
	id, err := hex.DecodeString(l.ID)
	if err != nil {
		return err
	}
	le.PutUint32(sector[440:], binary.BigEndian.Uint32(id))
	_, err = w.WriteAt(sector, 0)
	return err
}

// mbrEntry is the entry numbered n, or an empty one if l has none: go-diskfs takes an
// entry's number from its position.
func mbrEntry(l Layout, n int) *mbr.Partition {
	for _, p := range l.Partitions {
		if p.Number != n {
			continue
		}
		e := &mbr.Partition{Index: n, Bootable: p.Active, Start: uint32(p.Start / SectorSize), Size: uint32(p.Size / SectorSize)}
		var typ [1]byte
		hex.Decode(typ[:], []byte(p.Type))
		e.Type = mbr.Type(typ[0])
		e.StartHead, e.StartSector, e.StartCylinder = chs(p.Start / SectorSize)
		e.EndHead, e.EndSector, e.EndCylinder = chs(p.End()/SectorSize - 1)
		return e
	}
	return &mbr.Partition{}
}

// chs is the address of a sector in the usual geometry of 255 heads and 63 sectors. Some
// boot ROMs read it; for them it must be right where it can be, and the largest value
// elsewhere.
func chs(lba int64) (head, sector, cylinder byte) {
	c, h, s := lba/(255*63), lba/63%255, lba%63+1
	if c > 1023 {
		c, h, s = 1023, 254, 63
	}
	return byte(h), byte(s) | byte(c>>8<<6), byte(c)
}

func writeGPT(w io.WriterAt, l Layout) error {
	t := &gpt.Table{LogicalSectorSize: SectorSize, PhysicalSectorSize: SectorSize, GUID: l.ID, ProtectiveMBR: true}
	for _, p := range l.Partitions {
		t.Partitions = append(t.Partitions, &gpt.Partition{
			Index: p.Number, Start: uint64(p.Start / SectorSize), End: uint64(p.End()/SectorSize - 1), Size: uint64(p.Size),
			Type: gpt.Type(p.Type), Name: p.Name, GUID: p.UUID, Attributes: p.Attributes,
		})
	}
	sector := make(sectorWriter, SectorSize)
	if err := t.Write(backend{w: splitWriter{sector, w}}, l.Size); err != nil {
		return err
	}
	// go-diskfs leaves the CHS of the protective entry zero and truncates its length to 32
	// bits. UEFI 2.10, table 5-4, requires these values.
	copy(sector[446+1:], []byte{0x00, 0x02, 0x00})
	copy(sector[446+5:], []byte{0xff, 0xff, 0xff})
	le.PutUint32(sector[446+12:], uint32(min(l.Size/SectorSize-1, 1<<32-1)))
	_, err := w.WriteAt(sector, 0)
	return err
}
