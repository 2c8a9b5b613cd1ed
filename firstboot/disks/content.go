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

// state is what a disk means to us.
type state int

const (
	foreign  state = iota // has somebody's data, or may have
	blank                 // empty at both ends
	making                // our own work, never finished, and nothing else
	made                  // finished: a node's own disk for this purpose
	misnamed              // a node's own disk for the other purpose
)

// content is what is on a disk.
type content struct {
	state
	mark        // of a finished disk, if it has one
	id   string // of a finished disk: its GUID
	what string // of a foreign disk: what is on it, for a person
}

// mark is what the first sector of our disks says, in the 440 bytes where other
// disks have boot code. A program that writes a new partition table may leave
// these bytes alone, as parted does, or zero them, as fdisk and sfdisk do. So a
// mark says nothing about what was put on the disk since.
type mark struct {
	done    bool
	purpose Purpose
	node    string
}

const bootCode = 440

// notThisDisk is the beginning of a mark, for a BIOS that runs it as code
// because it cannot tell that this disk is not for booting: it asks for the
// next disk (int 18h), or waits. Marks of older disks lack it and begin with
// their text.
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

// edge is how much at each end of a disk must be empty for the disk to count as
// blank, in bytes. Every file system, volume manager, RAID and partition table
// has its signature there, and encrypted data without a signature is not empty.
const edge = 4 << 20

// inspect tells what is on a disk of the given size. table is nil if the disk
// has no table that can be used.
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

// isOwn recognises a finished disk by its table: tools that copy disks may
// leave out the boot code, and with it the mark.
func isOwn(t *ptable.Table, p Purpose) bool {
	if t == nil || t.Scheme != contract.GPT || len(t.Entries) != 1 {
		return false
	}
	e := t.Entry(ownPart)
	return e != nil && e.Type == p.partType()
}

// onlyBegun reports whether in front of the partition there is nothing but what
// makeOwn puts there before its last write, or part of that: the mark, without
// the two bytes that make others look for a table, and a GPT header and entry.
func onlyBegun(head []byte, sector int64) bool {
	ours := bytes.Clone(head[:3*sector]) // the mark, the header, the first entries
	clear(ours[:bootCode])
	if header := ours[sector:]; bytes.HasPrefix(header, []byte(gptMagic)) {
		clear(header[:gptHeader])
	}
	clear(ours[2*sector:][:gptEntry])
	return erased(ours) && erased(head[3*sector:])
}

// Of a GPT (UEFI specification 2.10, section 5.3): the signature of its header,
// and the lengths of the header and of an entry in bytes.
const (
	gptMagic  = "EFI PART"
	gptHeader = 92
	gptEntry  = 128
)

// hasTable reports whether a first sector says that a partition table follows.
// Ours does not before all is finished.
func hasTable(head []byte) bool { return string(head[510:512]) == tableMagic }

const tableMagic = "\x55\xaa"

// erased accepts zeros and ones, which erased flash reads as, sector by sector.
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

// guess names the most common contents. It only words what is refused anyway.
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

// belongs says to whom a disk belongs.
func (c content) belongs() string {
	if c.node == "" {
		return "an unknown node"
	}
	return "node " + strings.TrimSpace(c.node)
}
