// Package efiboot makes UEFI firmware start a disk: it writes a boot entry, the order of entries
// (BootOrder) and the next entry (BootNext). It also reads from which medium firmware has started,
// and knows where the variables are that tell whom Secure Boot trusts.
//
// It writes through Vars, knowing the variables' content (UEFI specification 2.10, chapters 3 and
// 10). It writes only what is not there yet, since the flash that holds the variables wears, and it
// removes nothing.
package efiboot

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"unicode/utf16"
)

// Vars are the firmware's global variables. Read returns an error of fs.ErrNotExist for a variable
// that does not exist.
type Vars interface {
	Names() ([]string, error)
	Read(name string) ([]byte, error)
	Write(name string, data []byte) error
}

// Loader is what firmware starts: a program on a partition of a GPT.
type Loader struct {
	// Title is what the firmware's menu shows. An existing entry with this title is taken for an
	// older version of this one, and replaced.
	Title string
	// Partition is the partition's number and GUID its PARTUUID; First and Sectors count logical
	// sectors.
	Partition      int
	GUID           string
	First, Sectors uint64
	// File is the path of the program, with backslashes.
	File string
}

var entryName = regexp.MustCompile(`^Boot([0-9A-F]{4})$`)

const (
	orderVar = "BootOrder"
	nextVar  = "BootNext"
)

// Start makes firmware start l next, and first from then on. Not every firmware obeys.
func Start(v Vars, l Loader) error {
	option, err := l.encode()
	if err != nil {
		return err
	}
	number, err := find(v, l.Title)
	if err != nil {
		return err
	}
	if err := ensure(v, fmt.Sprintf("Boot%04X", number), option); err != nil {
		return err
	}
	order, err := v.Read(orderVar)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	id := binary.LittleEndian.AppendUint16(nil, number)
	if err := ensure(v, orderVar, inFront(order, id)); err != nil {
		return err
	}
	return ensure(v, nextVar, id)
}

// inFront moves a number to the beginning of an order, or puts it there.
func inFront(order, id []byte) []byte {
	out := slices.Clone(id)
	for ; len(order) >= 2; order = order[2:] {
		if !bytes.Equal(order[:2], id) {
			out = append(out, order[:2]...)
		}
	}
	return out
}

// find returns the number of the entry with the title, or else the lowest free one.
func find(v Vars, title string) (uint16, error) {
	names, err := v.Names()
	if err != nil {
		return 0, err
	}
	taken := map[uint16]bool{}
	for _, name := range names {
		m := entryName.FindStringSubmatch(name)
		if m == nil {
			continue
		}
		n, _ := strconv.ParseUint(m[1], 16, 16) // four hex digits
		data, err := v.Read(name)
		if errors.Is(err, syscall.EIO) { // an entry of another system, which a faulty firmware lists but cannot read
			taken[uint16(n)] = true
			continue
		}
		if err != nil {
			return 0, err
		}
		if titleOf(data) == title {
			return uint16(n), nil
		}
		taken[uint16(n)] = true
	}
	for n := range 0x10000 {
		if !taken[uint16(n)] {
			return uint16(n), nil
		}
	}
	return 0, errors.New("the firmware has no room for another boot entry")
}

func ensure(v Vars, name string, data []byte) error {
	have, err := v.Read(name)
	if err == nil && bytes.Equal(have, data) {
		return nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return v.Write(name, data)
}

// Values of the UEFI specification: the attribute LOAD_OPTION_ACTIVE; the bytes of an
// EFI_LOAD_OPTION before its title; the type of a device path's media nodes.
const (
	active    = 1
	beforeIt  = 6
	nodeMedia = 4
)

// encode returns an EFI_LOAD_OPTION with a short-form device path: firmware looks for the partition
// on every disk.
func (l Loader) encode() ([]byte, error) {
	guid, err := hex.DecodeString(strings.ReplaceAll(l.GUID, "-", ""))
	if err != nil || len(guid) != 16 {
		return nil, fmt.Errorf("%q is not a GUID", l.GUID)
	}
	slices.Reverse(guid[0:4])
	slices.Reverse(guid[4:6])
	slices.Reverse(guid[6:8])
	le := binary.LittleEndian
	drive := le.AppendUint32(nil, uint32(l.Partition))
	drive = le.AppendUint64(le.AppendUint64(drive, l.First), l.Sectors)
	const gpt, byGUID = 2, 2
	drive = append(append(drive, guid...), gpt, byGUID)
	path := slices.Concat(node(nodeMedia, 1, drive), node(nodeMedia, 4, text(l.File)), node(0x7f, 0xff, nil))
	option := le.AppendUint32(nil, active)
	option = le.AppendUint16(option, uint16(len(path)))
	return slices.Concat(option, text(l.Title), path), nil
}

// node returns one node of a device path. Its length includes the header.
func node(kind, sub byte, data []byte) []byte {
	head := binary.LittleEndian.AppendUint16([]byte{kind, sub}, uint16(4+len(data)))
	return append(head, data...)
}

// text returns s in UTF-16, with a terminating zero.
func text(s string) (out []byte) {
	for _, u := range append(utf16.Encode([]rune(s)), 0) {
		out = binary.LittleEndian.AppendUint16(out, u)
	}
	return out
}

// titleOf reads the title of an EFI_LOAD_OPTION; "" if that is damaged.
func titleOf(option []byte) string {
	var units []uint16
	for b := option[min(len(option), beforeIt):]; len(b) >= 2; b = b[2:] {
		u := binary.LittleEndian.Uint16(b)
		if u == 0 {
			return string(utf16.Decode(units))
		}
		units = append(units, u)
	}
	return ""
}
