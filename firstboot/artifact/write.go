package artifact

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"

	"aead.dev/minisign"
	"github.com/klauspost/compress/zstd"

	"github.com/going-mobile/imagebuilder/firstboot/codec"
)

// Packer packs parts. The same input gives the same output.
type Packer struct {
	out   io.Writer
	codec *zstd.Encoder

	patches *zstd.Encoder // created by the first Patch
	patcher patcher
}

// NewPacker returns a Packer that writes the parts to out in the order of the calls, which must be
// the order of the manifest.
func NewPacker(out io.Writer) (*Packer, error) {
	codec, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false))
	return &Packer{out: out, codec: codec}, err
}

// Data packs the next part of a content, of at most MaxPart bytes.
func (p *Packer) Data(b []byte) (Part, error) {
	packed := p.codec.EncodeAll(b, nil)
	_, err := p.out.Write(packed)
	return traveling(b, packed), err
}

func traveling(b, packed []byte) Part {
	return Part{Size: int64(len(b)), SHA256: digest(packed), Data: int64(len(packed))}
}

// Copy returns a part with the bytes b, which the base has at offset at.
func Copy(b []byte, at int64) Part {
	return Part{Size: int64(len(b)), SHA256: digest(b), Copy: &at}
}

// Patch packs the next part of the root: the blocks b, whose content is raw, against old content of
// the base. It packs them as data instead if a node would not get the same blocks from the patch,
// or if the patch is no smaller.
func (p *Packer) Patch(b, raw []byte, patch Patch, base io.ReaderAt) (Part, error) {
	if err := p.preparePatches(); err != nil {
		return Part{}, err
	}
	patch.SHA256 = digest(b)
	if patch.check(math.MaxInt64) != nil || patch.raw() != int64(len(raw)) || !bytes.Equal(p.patcher.compress(raw, patch.Blocks), b) { // made by another builder
		return p.Data(b)
	}
	dict, err := p.patcher.dictionary(patch.Old, base)
	if err != nil {
		return Part{}, err
	}
	if err := p.patches.ResetWithOptions(nil, zstd.WithEncoderDictRaw(dictID, dict)); err != nil {
		return Part{}, err
	}
	packed := p.patches.EncodeAll(raw, nil)
	part := traveling(b, packed)
	part.Patch = &patch
	if plain := traveling(b, p.codec.EncodeAll(b, nil)); part.cost() >= plain.cost() {
		return p.Data(b)
	}
	_, err = p.out.Write(packed)
	return part, err
}

// patchWindow is larger than any dictionary, in bytes.
const patchWindow = 16 << 20

func (p *Packer) preparePatches() (err error) {
	if p.patches != nil {
		return nil
	}
	if p.patcher, err = newPatcher(); err != nil {
		return err
	}
	p.patches, err = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false),
		zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithWindowSize(patchWindow))
	return err
}

// cost returns how many bytes the part adds to an update, its entry in the manifest included.
func (p Part) cost() int64 {
	text, _ := json.Marshal(p)
	return p.Data + int64(len(text))
}

// File packs a boot file. a and b are the file for the two slots, of the same length; old is the
// base's file, nil for none. A piece that old has at the same offset becomes a copy.
func (p *Packer) File(name string, a, b, old []byte) (File, error) {
	f := File{Name: name, Content: Content{Size: int64(len(a)), SHA256: digest(a)}, SHA256B: digest(b)}
	if len(a) != len(b) {
		return f, fmt.Errorf("%s has %d bytes for slot a, %d for slot b", name, len(a), len(b))
	}
	f.EditsB = edits(a, b)
	for at := 0; at < len(a); at += MaxPart {
		chunk := a[at:min(at+MaxPart, len(a))]
		if at+len(chunk) <= len(old) && bytes.Equal(chunk, old[at:at+len(chunk)]) {
			f.Parts, f.Base = append(f.Parts, Copy(chunk, int64(at))), &FileBase{Base: baseOf(old)}
			continue
		}
		part, err := p.Data(chunk)
		if err != nil {
			return f, err
		}
		f.Parts = append(f.Parts, part)
	}
	return f, nil
}

// Former is a boot file of the base: the file, its compressed section, and the sections that differ
// from slot to slot.
type Former struct {
	File   []byte
	Packed Span
	Own    []Span
}

// Repack packs a boot file by its decompressed content, against that of the base's file. a and b
// are the file for the two slots. ok is false if that is not possible: the compressed sections of
// both must have the same form, and a node must get the same file.
func (p *Packer) Repack(name string, a, b []byte, packed Span, old Former) (f File, ok bool, err error) {
	form := codec.FormOf(packed.of(a))
	if form == "" || form != codec.FormOf(old.Packed.of(old.File)) {
		return f, false, nil
	}
	f = File{Name: name, Content: Content{Size: int64(len(a)), SHA256: digest(a)}, SHA256B: digest(b), EditsB: edits(a, b), Packed: &Packed{form, packed}}
	raw, err := apart(a, FileBase{Packed: f.Packed})
	if err != nil {
		return f, false, err
	}
	f.Unpacked = &Content{Size: int64(len(raw)), SHA256: digest(raw)}
	if again, err := io.ReadAll(f.packing(bytes.NewReader(raw))); err != nil || !bytes.Equal(again, a) {
		return f, false, err
	}
	f.Base = &FileBase{Packed: &Packed{form, old.Packed}, Blank: old.Own}
	base, err := apart(old.File, *f.Base)
	if err != nil {
		return f, false, err
	}
	f.Base.Base = baseOf(base)
	f.Unpacked.Parts, err = p.patched(raw, base)
	return f, err == nil, err
}

// patched packs all of raw as patches against base.
func (p *Packer) patched(raw, base []byte) (parts []Part, err error) {
	for at := 0; at < len(raw); at += MaxPart {
		chunk := raw[at:min(at+MaxPart, len(raw))]
		part, err := p.Patch(chunk, chunk, around(at, len(chunk), len(base)), bytes.NewReader(base))
		if err != nil {
			return nil, err
		}
		parts = append(parts, part)
	}
	return parts, nil
}

// of returns the section of b, as far as b reaches.
func (s Span) of(b []byte) []byte {
	begin := min(s.At, int64(len(b)))
	return b[begin:min(begin+s.Size, int64(len(b)))]
}

func baseOf(b []byte) Base { return Base{Size: int64(len(b)), SHA256: digest(b)} }

// apart returns a file with its compressed section decompressed, the form that patches are made in.
func apart(b []byte, as FileBase) ([]byte, error) { return io.ReadAll(as.former(bytes.NewReader(b))) }

// around returns a patch of size bytes against the part of a base that lies around the same offset:
// a dictionary of up to MaxOld bytes, centred on it as far as the base reaches.
func around(at, size, base int) Patch {
	begin := max(0, min(at+size/2, base)-MaxOld/2)
	patch := Patch{Old: []Range{{At: int64(begin), Size: int64(min(MaxOld, base-begin))}}}
	for ; size > 0; size -= codec.BlockSize {
		patch.Blocks = append(patch.Blocks, Block{Raw: int64(min(size, codec.BlockSize)), Stored: true})
	}
	return patch
}

// edits returns the edits that turn a into b.
func edits(a, b []byte) (all []Edit) {
	for i := range a {
		switch last := len(all) - 1; {
		case a[i] == b[i]:
		case last >= 0 && all[last].At+int64(len(all[last].Bytes)) == int64(i):
			all[last].Bytes = append(all[last].Bytes, b[i])
		default:
			all = append(all, Edit{At: int64(i), Bytes: []byte{b[i]}})
		}
	}
	return all
}

// Write writes an update: head, manifest, signature, and the parts that a Packer wrote.
func Write(out io.Writer, m *Manifest, key minisign.PrivateKey, parts io.Reader) error {
	m.Format = Format
	if err := m.check(); err != nil { // a node would refuse it
		return fmt.Errorf("the manifest of the update: %w", err)
	}
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if len(text) > maxManifest {
		return fmt.Errorf("the manifest of the update has %d bytes, a node reads %d", len(text), maxManifest)
	}
	signature := sign(text, key, m.Board+" "+m.Version)
	head := fmt.Sprintf(headFormat, Format, len(text), len(signature))
	_, err = io.Copy(out, io.MultiReader(bytes.NewReader([]byte(head)), bytes.NewReader(text), bytes.NewReader(signature), parts))
	return err
}

func sign(text []byte, key minisign.PrivateKey, what string) []byte {
	return minisign.SignWithComments(key, text, signs+what, "any change above makes this signature worthless")
}
