package fat

import (
	"encoding/binary"
	"fmt"
	"strings"
)

var le = binary.LittleEndian

const (
	mediaFixed = 0xf8
	endOfChain = 0x0fffffff
	// fatMask excludes the upper four bits of an entry, which are reserved.
	fatMask = 0x0fffffff
	noLabel = "NO NAME    "
)

// bootCode is the code that a BIOS runs if told to boot this partition: it returns to the
// BIOS, which tries its next device (int 18h), or halts.
var bootCode = []byte{0xcd, 0x18, 0xeb, 0xfe}

// bootSector encodes the BPB (fatgen103, "Boot sector and BPB").
func bootSector(g geometry, opt Options, label string) []byte {
	b := make([]byte, sectorSize)
	copy(b, []byte{0xeb, 0x58, 0x90})
	copy(b[3:11], "MSWIN4.1") // the OEM name that fatgen103 recommends to every formatter
	le.PutUint16(b[11:], uint16(g.bytesPerSector))
	b[13] = byte(g.sectorsPerCluster)
	le.PutUint16(b[14:], uint16(g.reserved))
	b[16] = byte(g.fats)
	b[21] = mediaFixed
	le.PutUint16(b[24:], 63)  // sectors per track
	le.PutUint16(b[26:], 255) // heads
	le.PutUint32(b[28:], opt.HiddenSectors)
	le.PutUint32(b[32:], uint32(g.totalSectors))
	le.PutUint32(b[36:], uint32(g.fatSectors))
	le.PutUint32(b[44:], g.rootCluster)
	le.PutUint16(b[48:], fsInfoSector)
	le.PutUint16(b[50:], backupBootSector)
	b[64] = 0x80 // BIOS drive
	b[66] = 0x29 // the next three fields are present
	le.PutUint32(b[67:], opt.VolumeID)
	copy(b[71:82], label)
	copy(b[82:90], "FAT32   ")
	copy(b[90:], bootCode)
	b[510], b[511] = 0x55, 0xaa
	return b
}

// fsInfo encodes the FSInfo sector, which only holds hints. next is the first free cluster.
func fsInfo(free int64, next uint32) []byte {
	b := make([]byte, sectorSize)
	copy(b, "RRaA")
	copy(b[484:], "rrAa")
	le.PutUint32(b[488:], uint32(free))
	le.PutUint32(b[492:], next)
	b[510], b[511] = 0x55, 0xaa
	return b
}

// volumeLabel checks a label and returns it as 11 bytes.
func volumeLabel(s string) (string, error) {
	if s == "" {
		return noLabel, nil
	}
	up := strings.ToUpper(s)
	if len(up) > 11 || up[0] == ' ' {
		return "", fmt.Errorf("volume label %q: at most 11 characters, not beginning with a space", s)
	}
	for _, c := range []byte(up) {
		if c != ' ' && !shortChar(c) {
			return "", fmt.Errorf("volume label %q: the character %q is not allowed", s, c)
		}
	}
	return fmt.Sprintf("%-11s", up), nil
}

// parseBoot decodes and checks a boot sector. The geometry that it returns is safe to
// compute with, however hostile the sector is.
func parseBoot(b []byte) (geometry, error) {
	g := geometry{
		bytesPerSector:    int64(le.Uint16(b[11:])),
		sectorsPerCluster: int64(b[13]),
		reserved:          int64(le.Uint16(b[14:])),
		fats:              int64(b[16]),
		fatSectors:        int64(le.Uint32(b[36:])),
		totalSectors:      int64(le.Uint32(b[32:])),
		rootCluster:       le.Uint32(b[44:]),
	}
	if err := g.check(b); err != nil {
		return geometry{}, fmt.Errorf("%w: %w", ErrNotFAT32, err)
	}
	data := g.totalSectors - g.reserved - g.fats*g.fatSectors
	g.clusters = min(data/g.sectorsPerCluster, g.fatSectors*g.bytesPerSector/4-2, maxClusters)
	if !g.valid(g.rootCluster) {
		return geometry{}, fmt.Errorf("root directory at cluster %d of %d", g.rootCluster, g.clusters)
	}
	return g, nil
}

func (g *geometry) check(b []byte) error {
	powerOfTwo := func(n int64) bool { return n > 0 && n&(n-1) == 0 }
	switch {
	case b[510] != 0x55 || b[511] != 0xaa:
		return fmt.Errorf("no boot sector signature")
	case b[0] != 0xeb && b[0] != 0xe9:
		return fmt.Errorf("no jump at the start of the boot sector")
	case !powerOfTwo(g.bytesPerSector) || g.bytesPerSector < 512 || g.bytesPerSector > 4096:
		return fmt.Errorf("sectors of %d bytes", g.bytesPerSector)
	case !powerOfTwo(g.sectorsPerCluster):
		return fmt.Errorf("clusters of %d sectors", g.sectorsPerCluster)
	case le.Uint16(b[17:]) != 0 || le.Uint16(b[22:]) != 0:
		return fmt.Errorf("the volume is FAT12 or FAT16")
	case le.Uint16(b[42:]) != 0:
		return fmt.Errorf("unknown version %#x", le.Uint16(b[42:]))
	case g.fats < 1 || g.fats > 2 || g.reserved < 1 || g.fatSectors < 1:
		return fmt.Errorf("%d FATs of %d sectors after %d reserved ones", g.fats, g.fatSectors, g.reserved)
	case g.totalSectors <= g.reserved+g.fats*g.fatSectors:
		return fmt.Errorf("%d sectors leave no room for data", g.totalSectors)
	}
	return nil
}
