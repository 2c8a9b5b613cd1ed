// Package artifact is the format in which an update travels, over ssh or on a stick: a line with
// the lengths of the next two items; a manifest; a signature of the manifest by the fleet's key;
// the parts that the manifest lists.
//
// Only the manifest is signed. It has the digest of everything that follows. No byte of a part is
// returned or unpacked before the digest of the part was checked. A part is data, a copy of
// something in the running slot, or a patch against that. The result of a patch is compressed by
// package codec, and has a digest too. A node holds one dictionary and one part in memory, and no
// more.
//
// The package is a leaf: io in, io out. It does not know disks or what a node runs: package update
// judges whether an update fits.
package artifact

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/codec"
	"github.com/going-mobile/imagebuilder/firstboot/slot"
)

// Format is the version of the format that this package reads and writes.
const Format = 1

// MaxPart is the largest size of a part, unpacked, in bytes: a node holds one part in memory.
const MaxPart = 1 << 20

// maxPacked is the largest size of such a part in transit, in bytes: data that cannot be compressed
// becomes slightly longer.
const maxPacked = MaxPart + 4<<10

// Manifest describes what an update writes to a slot.
type Manifest struct {
	Format int    `json:"format"`
	Board  string `json:"board"`
	Arch   string `json:"arch"` // Debian's name
	// Version is the image's; Made is the time of its newest Debian index. No update goes back to
	// an earlier Made.
	Version string    `json:"version"`
	Made    time.Time `json:"made"`
	// DiskID identifies the disk that the new kernel looks for.
	DiskID string `json:"diskId"`
	// Components has the versions of what is not a Debian package, k3s above all, and the storage
	// level (contract.StorageComponent). Deferred has the digests of the components that a node
	// downloads itself.
	Components map[string]string `json:"components"`
	Deferred   map[string]string `json:"deferred,omitempty"`
	// Base is the root that parts are copied from or patched against, nil if there are none.
	Base *Base `json:"base,omitempty"`
	// Codec is the compressor of the root's blocks, with which a node must compress those of
	// patches again; empty if there are no patches.
	Codec string  `json:"codec,omitempty"`
	Root  Content `json:"root"`
	// Boot is in the order of slot.Files.
	Boot []File `json:"boot"`
}

// Base is what the running slot must have.
type Base struct {
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// Content is a run of bytes, and the parts that it is made of.
type Content struct {
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
	Parts  []Part `json:"parts"`
}

// Part is the next piece of a content: data that travels, a copy, or a patch, which is both.
type Part struct {
	// Size is the number of bytes that the part gives.
	Size int64 `json:"size"`
	// SHA256 is the digest of the data that travels, or of the bytes that are copied.
	SHA256 string `json:"sha256"`
	// Data is the number of bytes that travel: a zstd frame.
	Data int64 `json:"data,omitempty"`
	// Copy is the offset in Base of the bytes to copy.
	Copy *int64 `json:"copy,omitempty"`
	// Patch says how to use the data that travels; nil if that is the content itself.
	Patch *Patch `json:"patch,omitempty"`
}

// File is one of slot.Files, as slot a has it. EditsB turns it into slot b's.
type File struct {
	Name string `json:"name"`
	Content
	SHA256B string `json:"sha256b"`
	EditsB  []Edit `json:"editsB,omitempty"`
	// Base is what the running slot must have under this name if parts are copied from it or
	// patched against it; else nil.
	Base *FileBase `json:"base,omitempty"`
	// Unpacked is the file with its section Packed decompressed; the node compresses that section
	// again. If it is set, the parts are in Unpacked, and Content has none.
	Unpacked *Content `json:"unpacked,omitempty"`
	Packed   *Packed  `json:"packed,omitempty"`
}

// FileBase is a boot file of the running slot, with the section Packed decompressed.
type FileBase struct {
	Base
	Packed *Packed `json:"packed,omitempty"`
	// Blank are the sections to read as zeroes, by their offsets in the file as it is stored: their
	// content is each slot's own.
	Blank []Span `json:"blank,omitempty"`
}

// Packed is the compressed section of a file: the whole of an initramfs, or the initramfs in a
// unified kernel image.
type Packed struct {
	Form codec.Form `json:"form"`
	Span
}

// Span is a section of a file: offset and size in bytes.
type Span struct {
	At   int64 `json:"at"`
	Size int64 `json:"size"`
}

// Edit replaces bytes at an offset with as many others.
type Edit struct {
	At    int64  `json:"at"`
	Bytes []byte `json:"bytes"`
}

// Patches reports whether a node has to compress anything.
func (m *Manifest) Patches() bool {
	return m.Root.patches() || slices.ContainsFunc(m.Boot, func(f File) bool { return f.Unpacked != nil })
}

func (c *Content) patches() bool {
	return slices.ContainsFunc(c.Parts, func(p Part) bool { return p.Patch != nil })
}

// Travels returns how many bytes follow the manifest and its signature.
func (m *Manifest) Travels() (n int64) {
	for _, p := range m.Root.Parts {
		n += p.Data
	}
	for _, f := range m.Boot {
		for _, p := range f.source().Parts {
			n += p.Data
		}
	}
	return n
}

// source is the content that the parts make up: the file, or the file with its section
// decompressed.
func (f *File) source() *Content {
	if f.Unpacked != nil {
		return f.Unpacked
	}
	return &f.Content
}

// Files returns the names of the boot files.
func (m *Manifest) Files() (names []string) {
	for _, f := range m.Boot {
		names = append(names, f.Name)
	}
	return names
}

// decode is strict: a node does nothing that it only half understands.
func decode(data []byte) (*Manifest, error) {
	var m Manifest
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&m); err != nil {
		return nil, err
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, errors.New("something follows it")
	}
	return &m, m.check()
}

// check refuses a manifest that no builder makes.
func (m *Manifest) check() error {
	switch {
	case m.Format != Format:
		return fmt.Errorf("format %d, this program knows %d", m.Format, Format)
	case m.Board == "" || m.Arch == "" || m.Version == "" || m.DiskID == "" || m.Made.IsZero():
		return errors.New("board, arch, version, diskId and made must all be there")
	}
	base, err := m.Base.check()
	if err != nil {
		return err
	}
	if err := m.Root.check(base); err != nil {
		return fmt.Errorf("root: %w", err)
	}
	if m.Patches() != (m.Codec != "") {
		return errors.New("codec: there must be one for patches, and for them alone")
	}
	return m.checkBoot()
}

func (m *Manifest) checkBoot() error {
	last := -1
	for _, f := range m.Boot {
		at := slices.Index(slot.Files, f.Name)
		if at <= last { // in order, and each once, so that what makes the slot startable comes last
			return fmt.Errorf("boot: %q is unknown, or not in its place", f.Name)
		}
		last = at
		if err := f.check(); err != nil {
			return fmt.Errorf("boot: %s: %w", f.Name, err)
		}
	}
	if last < slices.Index(slot.Files, slot.Kernel) {
		return errors.New("boot: there is no kernel")
	}
	return nil
}

// check returns the size of what may be copied; 0 without a base.
func (b *Base) check() (int64, error) {
	switch {
	case b == nil:
		return 0, nil
	case b.Size <= 0 || !isDigest(b.SHA256):
		return 0, errors.New("base: no size or no digest")
	}
	return b.Size, nil
}

func (f *File) check() error {
	base, err := f.Base.check()
	if err != nil {
		return err
	}
	if err := f.checkPacked(); err != nil {
		return err
	}
	if err := f.source().check(base); err != nil {
		return err
	}
	if !isDigest(f.SHA256) || !isDigest(f.SHA256B) || f.Size < 1 {
		return errors.New("sha256 or sha256b is no digest, or it is empty")
	}
	end := int64(0)
	for _, e := range f.EditsB {
		if len(e.Bytes) == 0 || e.At < end || e.At > f.Size-int64(len(e.Bytes)) {
			return fmt.Errorf("editsB: at %d: out of order, empty or beyond the end", e.At)
		}
		end = e.At + int64(len(e.Bytes))
	}
	return nil
}

func (f *File) checkPacked() error {
	switch {
	case (f.Unpacked == nil) != (f.Packed == nil) || f.Unpacked == nil && f.patches():
		return errors.New("a file whose content is not known apart has no patches and nothing packed")
	case f.Unpacked == nil:
		return nil
	case len(f.Parts) > 0 || f.Base == nil:
		return errors.New("its content is known apart, and has neither all parts nor a base")
	case f.Packed.Size > f.Size-f.Packed.At || f.inside() < 1:
		return errors.New("what is packed is beyond its end, or there is nothing in it")
	}
	return f.Packed.check()
}

// inside returns the size of the packed section, decompressed.
func (f *File) inside() int64 { return f.Unpacked.Size - (f.Size - f.Packed.Size) }

// check returns the size of what may be copied; 0 without a base.
func (b *FileBase) check() (int64, error) {
	if b == nil {
		return 0, nil
	}
	if b.Packed != nil {
		if err := b.Packed.check(); err != nil {
			return 0, fmt.Errorf("base: %w", err)
		}
	}
	blank := int64(0)
	for _, s := range b.Blank {
		if s.At < 0 || s.Size < 1 || s.Size > MaxPart-blank {
			return 0, fmt.Errorf("base: what is blank has no place, or not 1 to %d bytes", MaxPart)
		}
		blank += s.Size
	}
	return b.Base.check()
}

func (p *Packed) check() error {
	switch {
	case p.Form != codec.Zstd && p.Form != codec.Gzip:
		return fmt.Errorf("form %q is unknown", p.Form)
	case p.At < 0 || p.Size < 1:
		return errors.New("what is packed has no place, or no bytes")
	}
	return nil
}

// check requires parts that make up the content, and copies only from the first base bytes.
func (c *Content) check(base int64) error {
	if !isDigest(c.SHA256) {
		return errors.New("sha256 is no digest")
	}
	sum := int64(0)
	for i, p := range c.Parts {
		if err := p.check(base); err != nil {
			return fmt.Errorf("part %d: %w", i, err)
		}
		sum += p.Size
	}
	if sum != c.Size || sum == 0 {
		return fmt.Errorf("its parts have %d bytes, it has %d", sum, c.Size)
	}
	return nil
}

func (p Part) check(base int64) error {
	switch {
	case p.Size < 1 || p.Size > MaxPart:
		return fmt.Errorf("a part has 1 to %d bytes, not %d", MaxPart, p.Size)
	case !isDigest(p.SHA256):
		return errors.New("sha256 is no digest")
	case p.Copy != nil && p.Data != 0:
		return errors.New("it is data and a copy")
	case p.Copy != nil && (*p.Copy < 0 || *p.Copy > base-p.Size):
		return errors.New("it is copied from beyond the base")
	case p.Copy == nil && (p.Data < 1 || p.Data > maxPacked):
		return fmt.Errorf("data of %d bytes", p.Data)
	case p.Patch != nil && p.Copy != nil:
		return errors.New("it is a patch and a copy")
	case p.Patch != nil:
		return p.Patch.check(base)
	}
	return nil
}

func isDigest(s string) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == 32 && hex.EncodeToString(b) == s
}
