package disks

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/disks/ptable"
)

// state is what a disk is to us.
type state int

const (
	foreign  state = iota // somebody's data, or what may be
	blank                 // nothing at both ends
	making                // our own work, never finished, and nothing else
	made                  // a node's own
	misnamed              // a node's own, for the other purpose
)

// content is what is on a disk.
type content struct {
	state
	mark        // of a disk that is made, as far as it says
	id   string // of a disk that is made: its GUID
	what string // of a foreign one, for a person
}

// mark is what the first sector of a disk of ours says, where other disks have
// boot code, in 440 bytes. Who writes a table of partitions may leave them alone,
// as parted does, or zero them, as fdisk and sfdisk do for a new one: a mark says
// nothing about what was put on the disk since.
type mark struct {
	done    bool
	purpose Purpose
	node    string
}

const bootCode = 440

// notThisDisk is what of a mark a BIOS executes, which cannot tell that nobody
// starts from this disk: it asks for the next one (int 18h), or waits. Marks of
// disks that were made before this was known begin with their text.
var notThisDisk = []byte{0xcd, 0x18, 0xeb, 0xfe}

func (m mark) text() string {
	state := "making"
	if m.done {
		state = "made"
	}
	return fmt.Sprintf("imagebuilder: %s %s disk of %s\n", state, m.purpose, m.node)
}

func (m mark) encode() []byte {
	b := make([]byte, bootCode)
	copy(b[copy(b, notThisDisk):], m.text())
	return b
}

func parseMark(sector0 []byte) (m mark, ok bool) {
	var state string
	all := bytes.TrimRight(bytes.TrimPrefix(sector0[:bootCode], notThisDisk), "\x00")
	text, _, _ := bytes.Cut(all, []byte("\n"))
	n, _ := fmt.Sscanf(string(text), "imagebuilder: %s %s disk of %s", &state, &m.purpose, &m.node)
	m.done = state == "made"
	return m, n == 3 && m.text() == string(all)
}

// edge is how much at each end of a disk must be empty for it to be blank, in
// bytes. No file system, volume manager, RAID or table of partitions keeps its
// first word elsewhere, and what is encrypted without a word is not empty.
const edge = 4 << 20

// inspect tells what is on a disk of the given size. table is nil where none
// can be used.
func inspect(r io.ReaderAt, size, sector int64, table *ptable.Table, purpose Purpose) (content, error) {
	head, tail, err := ends(r, size)
	if err != nil {
		return content{}, err
	}
	m, marked := parseMark(head)
	unfinished := marked && !m.done
	switch {
	case unfinished && onlyBegun(head, sector):
		return content{state: making, mark: m}, nil
	case unfinished:
		return content{what: fmt.Sprintf("it was begun as the %s disk of node %s, and something else is on it by now", m.purpose, m.node)}, nil
	case isOwn(table, purpose):
		return content{state: made, mark: m, id: table.ID}, nil
	case isOwn(table, purpose.other()):
		return content{state: misnamed, mark: m}, nil
	case erased(head) && erased(tail):
		return content{state: blank}, nil
	case marked:
		return content{what: fmt.Sprintf("it was made the %s disk of node %s, and that is damaged", m.purpose, m.node)}, nil
	}
	return content{what: "there is " + guess(head) + " on it"}, nil
}

func ends(r io.ReaderAt, size int64) (head, tail []byte, err error) {
	head = make([]byte, min(edge, size))
	tail = make([]byte, len(head))
	_, err = r.ReadAt(head, 0)
	_, err2 := r.ReadAt(tail, size-int64(len(tail)))
	if err := errors.Join(ignoreEOF(err), ignoreEOF(err2)); err != nil {
		return nil, nil, fmt.Errorf("read the disk: %w", err)
	}
	return head, tail, nil
}

func ignoreEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// isOwn knows a finished disk by its table: tools that copy disks may leave
// out the boot code.
func isOwn(t *ptable.Table, p Purpose) bool {
	if t == nil || t.Scheme != contract.GPT || len(t.Entries) != 1 {
		return false
	}
	e := t.Entry(ownPart)
	return e != nil && e.Type == p.partType()
}

// onlyBegun reports whether before the partition there is nothing but what makeOwn
// puts there until its last write: the mark without the two bytes that make others
// look for a table, and a part of that.
func onlyBegun(head []byte, sector int64) bool {
	ours := bytes.Clone(head[:3*sector]) // the mark, the header, the first entries
	clear(ours[:bootCode])
	if header := ours[sector:]; bytes.HasPrefix(header, []byte(gptMagic)) {
		clear(header[:gptHeader])
	}
	clear(ours[2*sector:][:gptEntry])
	return erased(ours) && erased(head[3*sector:])
}

// Of a GPT (UEFI specification 2.10, section 5.3): how its header begins, and how many
// bytes that and an entry have.
const (
	gptMagic  = "EFI PART"
	gptHeader = 92
	gptEntry  = 128
)

// hasTable knows a first sector behind which somebody's partitions may be. None of
// ours has these bytes before all is finished.
func hasTable(head []byte) bool { return string(head[510:512]) == tableMagic }

const tableMagic = "\x55\xaa"

// erased accepts what erased flash reads as, sector by sector.
func erased(b []byte) bool {
	zero, ones := make([]byte, 512), bytes.Repeat([]byte{0xff}, 512)
	for ; len(b) > 0; b = b[min(512, len(b)):] {
		part := b[:min(512, len(b))]
		if !bytes.Equal(part, zero[:len(part)]) && !bytes.Equal(part, ones[:len(part)]) {
			return false
		}
	}
	return true
}

// guess names the commonest things. It only words what is refused anyway.
func guess(head []byte) string {
	for _, known := range []struct {
		at          int
		magic, name string
	}{
		{512, gptMagic, "a partition table (GPT)"},
		{4096, gptMagic, "a partition table (GPT)"},
		{0, "LUKS", "an encrypted volume (LUKS)"},
		{0x438, "\x53\xef", "a Linux file system (ext4)"},
		{0, "XFSB", "a Linux file system (XFS)"},
		{0x10040, "_BHRfS_M", "a Linux file system (btrfs)"},
		{512, "LABELONE", "a Linux volume group (LVM)"},
		{4086, "SWAPSPACE2", "swap space"},
		{4096, "\xfc\x4e\x2b\xa9", "a part of a RAID"},
		{3, "NTFS    ", "a Windows file system (NTFS)"},
		{3, "EXFAT   ", "a file system (exFAT)"},
		{82, "FAT32   ", "a file system (FAT)"},
		{54, "FAT16   ", "a file system (FAT)"},
		{510, tableMagic, "a partition table"},
	} {
		if end := known.at + len(known.magic); end <= len(head) && string(head[known.at:end]) == known.magic {
			return known.name
		}
	}
	return "something unknown"
}

// belongs says whose a disk is.
func (c content) belongs() string {
	if c.node == "" {
		return "an unknown node"
	}
	return "node " + strings.TrimSpace(c.node)
}
