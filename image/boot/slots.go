package boot

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/slot"
	"github.com/going-mobile/imagebuilder/image/authenticode"
)

// SlotFile is one of slot.Files, as slot a and slot b have it.
type SlotFile struct {
	Name string
	A, B []byte
}

// SlotFiles reads the files of slot a from an image and derives those of slot b, which
// differ only in the slot's letter and have the same length. If an owner signed the image,
// owner must be the same key, to sign slot b's; else it is nil.
func SlotFiles(read func(path string) ([]byte, error), owner *authenticode.Signer) ([]SlotFile, error) {
	var all []SlotFile
	for _, name := range slot.Files {
		f := SlotFile{Name: name}
		var err error
		if f.A, err = read(slot.Place(name, "a", 1)); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			f.B, err = forB(name, f.A, owner)
		}
		if err != nil {
			return nil, fmt.Errorf("boot file %s: %w", name, err)
		}
		all = append(all, f)
	}
	return all, nil
}

var errNoLetter = errors.New("it does not name slot a: it was made by another version of imagebuilder")

// forB derives slot b's file from slot a's. A file that ought to change but does not is an
// error: it would start slot a's root from slot b.
func forB(name string, a []byte, owner *authenticode.Signer) (b []byte, err error) {
	switch name {
	case slot.Initrd, slot.Kernel:
		return a, nil
	case slot.Unified:
		b, err = signedForB(a, owner)
	default:
		b = textForB(a)
	}
	if err == nil && bytes.Equal(a, b) {
		err = errNoLetter
	}
	return b, err
}

// textForB changes the slot in the kernel arguments and in the texts that entry and
// osRelease write.
func textForB(a []byte) []byte {
	names := strings.NewReplacer("(slot a)\"\n", "(slot b)\"\n", "(slot a)\n", "(slot b)\n", "\nlinux /a/", "\nlinux /b/", "\ninitrd /a/", "\ninitrd /b/")
	return []byte(contract.ForSlot(names.Replace(string(a)), "a", "b"))
}

// signedForB derives slot b's unified kernel image and signs it if slot a's is signed. It
// refuses another key than slot a's: the machine would not start the result.
func signedForB(a []byte, owner *authenticode.Signer) ([]byte, error) {
	bare, err := authenticode.Bare(a)
	if err != nil {
		return nil, err
	}
	switch {
	case len(bare) == len(a) && owner == nil:
		return unifiedForB(a)
	case len(bare) == len(a):
		return nil, errors.New("bears no signature, and none is wanted (--sign) on a machine that starts it")
	case owner == nil:
		return nil, errors.New("bears the signature of a key, which slot b's needs, too: --sign KEY --cert CERTIFICATE, as it was built")
	}
	if again, err := owner.Sign(bare); err != nil || !bytes.Equal(again, a) {
		return nil, errors.Join(errors.New("was signed with another key than that of --sign"), err)
	}
	b, err := unifiedForB(bare)
	if err != nil {
		return nil, err
	}
	return owner.Sign(b)
}

// unifiedForB changes two sections of a unified kernel image, and its checksum.
func unifiedForB(a []byte) ([]byte, error) {
	b := bytes.Clone(a)
	pe, err := parsePE(b)
	if err != nil {
		return nil, err
	}
	for _, name := range []string{".osrel", ".cmdline"} {
		section, err := pe.section(b, name)
		if err != nil {
			return nil, err
		}
		changed := textForB(section)
		if bytes.Equal(changed, section) {
			return nil, fmt.Errorf("section %s: %w", name, errNoLetter)
		}
		copy(section, changed)
	}
	pe.seal(b)
	return b, nil
}

// Span is a range of bytes in a file: offset and length.
type Span struct{ At, Size int64 }

// UnifiedParts finds the initramfs in a unified kernel image. own are the parts that differ
// between slots: name, kernel arguments, the header's checksum and, at the end, a
// signature.
func UnifiedParts(b []byte) (initrd Span, own []Span, err error) {
	pe, err := parsePE(b)
	if err != nil {
		return initrd, nil, err
	}
	own = []Span{{int64(pe.opt + optChecksum), 4}}
	for _, name := range []string{".osrel", ".cmdline"} {
		s, err := pe.find(b, name)
		if err != nil {
			return initrd, nil, err
		}
		own = append(own, s)
	}
	bare, err := authenticode.Bare(b)
	if err != nil {
		return initrd, nil, err
	}
	if signature := int64(len(b) - len(bare)); signature > 0 {
		own = append(own, Span{int64(len(bare)), signature})
	}
	initrd, err = pe.find(b, ".initrd")
	return initrd, own, err
}

// section returns the bytes of a section, in place.
func (p *peFile) section(b []byte, name string) ([]byte, error) {
	s, err := p.find(b, name)
	return b[s.At : s.At+s.Size], err
}

// find returns the range of a section's data.
func (p *peFile) find(b []byte, name string) (Span, error) {
	le := binary.LittleEndian
	for i := range p.count {
		s := b[p.table+i*sectionSize:]
		if string(bytes.TrimRight(s[:8], "\x00")) != name {
			continue
		}
		size, raw, start := uint64(le.Uint32(s[8:])), uint64(le.Uint32(s[16:])), uint64(le.Uint32(s[20:]))
		if size > raw || start+size > uint64(len(b)) {
			return Span{}, fmt.Errorf("section %s is beyond the end", name)
		}
		return Span{int64(start), int64(size)}, nil
	}
	return Span{}, fmt.Errorf("there is no section %s", name)
}
