package artifact

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"aead.dev/minisign"
	"github.com/klauspost/compress/zstd"

	"github.com/going-mobile/imagebuilder/firstboot/artifact/artifacttest"
	"github.com/going-mobile/imagebuilder/firstboot/codec"
	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/slot"
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

// The sample: a base of noise and a block of text; a root that begins with the end of the noise and
// has that block, changed, in the middle; two boot files.
var (
	noise   = artifacttest.Noise(3<<20, 1)
	base    = slices.Concat(noise, artifacttest.Block(oldText))
	before  = append(bytes.Clone(noise[2<<20:]), append(artifacttest.Noise(100<<10, 2), make([]byte, 1<<20-100<<10)...)...)
	patched = slices.Concat(artifacttest.Block(newText[:30<<10]), newText[30<<10:])
	root    = slices.Concat(before, patched, make([]byte, 100<<10))
	oldText = artifacttest.Text(40<<10, 1)
	newText = artifacttest.Text(40<<10, 2)
	initrd  = artifacttest.Noise(2*MaxPart+1, 3)
	// in its middle is something that the old file has too
	oldBoot = map[string][]byte{slot.Initrd: slices.Concat(make([]byte, MaxPart), initrd[MaxPart:2*MaxPart], []byte("other"))}
	kernel  = artifacttest.Noise(5000, 4)
	cmdline = "bootargs=quiet imagebuilder.slot=a end"
)

// sample returns an update, changed before it is signed.
func sample(t testing.TB, key minisign.PrivateKey, change func(*Manifest)) []byte {
	t.Helper()
	var parts, out bytes.Buffer
	p := must(NewPacker(&parts))
	at := int64(2 << 20)
	m := &Manifest{Codec: codec.Name(), Board: "rpi4", Arch: "arm64", Version: "2", Made: time.Unix(1764000000, 0).UTC(), DiskID: "deadbeef", Components: map[string]string{"k3s": "v1.33.1+k3s1"},
		Base: &Base{Size: int64(len(base)), SHA256: sum(base)},
		Root: Content{Size: int64(len(root)), SHA256: sum(root), Parts: []Part{Copy(noise[at:], at)}}}
	m.Root.Parts = append(m.Root.Parts, must(p.Data(before[1<<20:])), must(p.Patch(patched, newText, samplePatch(), bytes.NewReader(base))), must(p.Data(root[len(root)-100<<10:])))
	for _, f := range []struct{ name, a, b string }{
		{slot.Initrd, string(initrd), string(initrd)}, {slot.Cmdline, cmdline, strings.Replace(cmdline, "=a", "=b", 1)}, {slot.Kernel, string(kernel), string(kernel)},
	} {
		m.Boot = append(m.Boot, must(p.File(f.name, []byte(f.a), []byte(f.b), oldBoot[f.name])))
	}
	if change != nil {
		change(m)
	}
	if err := Write(&out, m, key, &parts); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// samplePatch has a block that is compressed, and one that is not.
func samplePatch() Patch {
	return Patch{Old: []Range{{At: 1000, Size: 1000}, {At: int64(len(noise)), Size: int64(len(base) - len(noise)), Raw: int64(len(oldText))}},
		Blocks: []Block{{Raw: 30 << 10}, {Raw: 10 << 10, Stored: true}}}
}

// unpack reads all of an update, as slot b wants it.
func unpack(r io.Reader, key minisign.PublicKey) (files map[string]string, err error) {
	in, err := Open(r, key)
	if err != nil {
		return nil, err
	}
	files = map[string]string{}
	b, err := io.ReadAll(in.ReadRoot(bytes.NewReader(base)))
	if err != nil {
		return nil, err
	}
	files["root"] = string(b)
	for i := range in.Boot {
		if b, err = io.ReadAll(in.ReadFile(&in.Boot[i], "b", bytes.NewReader(oldBoot[in.Boot[i].Name]))); err != nil {
			return nil, err
		}
		files[in.Boot[i].Name] = string(b)
	}
	return files, nil
}

// TestThereAndBack: what is packed comes out, with slot b's letters, through a pipe
// that gives one byte at a time, and the length is known before.
func TestThereAndBack(t *testing.T) {
	public, private := artifacttest.Keys(t, 1)
	data := sample(t, private, nil)
	if !bytes.Equal(data, sample(t, private, nil)) {
		t.Error("the same update twice has other bytes")
	}
	got, err := unpack(iotest.OneByteReader(bytes.NewReader(data)), public)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"root": string(root), slot.Initrd: string(initrd), slot.Kernel: string(kernel), slot.Cmdline: strings.Replace(cmdline, "=a", "=b", 1)}
	for name, text := range want {
		if got[name] != text {
			t.Errorf("%s has other bytes: %d, want %d", name, len(got[name]), len(text))
		}
	}
	in := must(Open(bytes.NewReader(data), public))
	if in.Length != int64(len(data)) {
		t.Errorf("length %d, not %d", in.Length, len(data))
	}
	if _, err := io.Copy(io.Discard, in.ReadRoot(bytes.NewReader(base))); err != nil {
		t.Fatal(err)
	}
	if a := must(io.ReadAll(in.ReadFile(&in.Boot[0], "a", bytes.NewReader(oldBoot[slot.Initrd])))); !bytes.Equal(a, initrd) {
		t.Error("slot a gets other bytes")
	}
}

// TestNotOne: any changed byte and any early end is an error, and never yields other bytes.
func TestNotOne(t *testing.T) {
	public, private := artifacttest.Keys(t, 1)
	data := sample(t, private, nil)
	parts := len(data) - int(must(Open(bytes.NewReader(data), public)).Travels())
	for at := 0; at < len(data); at += 1 + at/12 {
		bad := bytes.Clone(data)
		bad[at] ^= 0x10
		_, err := unpack(bytes.NewReader(bad), public)
		if err == nil && !inUntrustedComment(data, at) {
			t.Errorf("byte %d changed: taken", at)
		}
		if at >= parts && !strings.Contains(err.Error(), "a part of the update is damaged") { // nobody unpacked it
			t.Errorf("byte %d changed: %v", at, err)
		}
		if _, err := unpack(bytes.NewReader(data[:at]), public); !errors.Is(err, ErrTruncated) {
			t.Errorf("cut at %d: %v", at, err)
		}
	}
}

// inUntrustedComment: minisign does not sign the untrusted comment, and nobody reads it.
func inUntrustedComment(data []byte, at int) bool {
	begin := bytes.Index(data, []byte("\nuntrusted comment:"))
	begin = max(begin, bytes.Index(data, []byte("untrusted comment:")))
	return at >= begin && at < begin+bytes.IndexByte(data[begin:], '\n')
}

func TestRefused(t *testing.T) {
	public, private := artifacttest.Keys(t, 1)
	_, stranger := artifacttest.Keys(t, 2)
	foreign := bytes.Replace(sample(t, private, nil), []byte("imagebuilder-update 1 "), []byte("imagebuilder-update 2 "), 1)
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"nothing":       {nil, "ends too early"},
		"a picture":     {append([]byte("\x89PNG\r\n\x1a\n"), make([]byte, 100)...), "this is no update"},
		"another form":  {foreign, "has format 2, this program knows 1"},
		"a long line":   {[]byte("imagebuilder-update 1 1 1 " + strings.Repeat(" ", 100) + "\n"), "first line is damaged"},
		"too long":      {[]byte("imagebuilder-update 1 99999999 300\n"), "first line is damaged"},
		"negative":      {[]byte("imagebuilder-update 1 -1 300\n"), "first line is damaged"},
		"another owner": {sample(t, stranger, nil), "was signed with key"},
		"no signature":  {[]byte("imagebuilder-update 1 2 3\n{}abc"), "no signature that can be read"},
		"other purpose": {withSignature("{}", minisign.SignWithComments(private, []byte("{}"), "node=home-pi time=1", "")), "was made for something else"},
		"no manifest":   {withSignature("{}", sign([]byte("{}"), private, "")), "format 0, this program knows 1"},
		"more fields":   {withSignature(`{"format":1,"also":2}`, sign([]byte(`{"format":1,"also":2}`), private, "")), `unknown field "also"`},
		"more JSON":     {withSignature(`{"format":1}{}`, sign([]byte(`{"format":1}{}`), private, "")), "something follows it"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := unpack(bytes.NewReader(c.data), public); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

func withSignature(manifest string, signature []byte) []byte {
	return append(fmt.Appendf(nil, headFormat, Format, len(manifest), len(signature)), append([]byte(manifest), signature...)...)
}

// TestManifests refuses manifests that no builder makes.
func TestManifests(t *testing.T) {
	_, private := artifacttest.Keys(t, 1)
	far, behind := int64(len(base)), int64(-1)
	for name, c := range map[string]struct {
		change func(*Manifest)
		want   string
	}{
		"no board":            {func(m *Manifest) { m.Board = "" }, "must all be there"},
		"no digest":           {func(m *Manifest) { m.Root.SHA256 = strings.ToUpper(m.Root.SHA256) }, "root: sha256 is no digest"},
		"another size":        {func(m *Manifest) { m.Root.Size++ }, "root: its parts have"},
		"empty":               {func(m *Manifest) { m.Root.Size, m.Root.Parts = 0, nil }, "root: its parts have 0 bytes"},
		"a large part":        {func(m *Manifest) { m.Root.Parts[1].Size = MaxPart + 1 }, "part 1: a part has 1 to"},
		"much data":           {func(m *Manifest) { m.Root.Parts[1].Data = maxPacked + 1 }, "part 1: data of"},
		"no data":             {func(m *Manifest) { m.Root.Parts[1].Data = 0 }, "part 1: data of 0 bytes"},
		"both":                {func(m *Manifest) { m.Root.Parts[0].Data = 1 }, "part 0: it is data and a copy"},
		"beyond":              {func(m *Manifest) { m.Root.Parts[0].Copy = &far }, "part 0: it is copied from beyond"},
		"before":              {func(m *Manifest) { m.Root.Parts[0].Copy = &behind }, "part 0: it is copied from beyond"},
		"no base":             {func(m *Manifest) { m.Base = nil }, "part 0: it is copied from beyond"},
		"a base of nothing":   {func(m *Manifest) { m.Base.Size = 0 }, "base: no size"},
		"a copied kernel":     {func(m *Manifest) { m.Boot[2].Parts[0].Data, m.Boot[2].Parts[0].Copy = 0, new(int64) }, "vmlinuz: part 0: it is copied from beyond"},
		"a patch of a copy":   {func(m *Manifest) { m.Root.Parts[2].Copy, m.Root.Parts[2].Data = new(int64), 0 }, "it is a patch and a copy"},
		"a patch of nothing":  {func(m *Manifest) { m.Root.Parts[2].Patch.Old = nil }, "1 to 256 ranges, not 0"},
		"a patch of much":     {func(m *Manifest) { m.Root.Parts[2].Patch.Old = make257() }, "1 to 256 ranges, not 257"},
		"from beyond":         {func(m *Manifest) { m.Root.Parts[2].Patch.Old[0].At = far - 999 }, "its dictionary is beyond the base"},
		"from before":         {func(m *Manifest) { m.Root.Parts[2].Patch.Old[0].At = behind }, "its dictionary is beyond the base"},
		"from none":           {func(m *Manifest) { m.Root.Parts[2].Patch.Old[0].Size = 0 }, "its dictionary is beyond the base"},
		"a large dictionary":  {func(m *Manifest) { m.Root.Parts[2].Patch.Old[1].Raw = MaxOld - 999 }, "its dictionary has more than 8388608 bytes"},
		"a huge dictionary":   {func(m *Manifest) { m.Root.Parts[2].Patch.Old[1].Raw = math.MaxInt64 }, "its dictionary has more than"},
		"packed larger":       {func(m *Manifest) { m.Root.Parts[2].Patch.Old[1].Raw = 999 }, "its dictionary has 999 bytes, packed"},
		"unpacked negative":   {func(m *Manifest) { m.Root.Parts[2].Patch.Old[1].Raw = -1 }, "its dictionary has -1 bytes"},
		"a large block":       {func(m *Manifest) { m.Root.Parts[2].Patch.Blocks[0].Raw = codec.BlockSize + 1 }, "it has a block of 131073 bytes"},
		"an empty block":      {func(m *Manifest) { m.Root.Parts[2].Patch.Blocks[0].Raw = 0 }, "it has a block of 0 bytes"},
		"no blocks":           {func(m *Manifest) { m.Root.Parts[2].Patch.Blocks = nil }, "its blocks have 0 bytes"},
		"many blocks":         {func(m *Manifest) { m.Root.Parts[2].Patch.Blocks = slices.Repeat([]Block{{Raw: codec.BlockSize}}, 9) }, "its blocks have 1179648 bytes"},
		"a patch's no digest": {func(m *Manifest) { m.Root.Parts[2].Patch.SHA256 = "" }, "the patch's sha256 is no digest"},
		"no codec":            {func(m *Manifest) { m.Codec = "" }, "codec: there must be one for patches"},
		"a codec for nothing": {func(m *Manifest) { m.Root.Parts[2].Patch = nil }, "codec: there must be one for patches"},
		"a patched kernel":    {func(m *Manifest) { m.Boot[2].Parts[0].Patch = m.Root.Parts[2].Patch }, "vmlinuz: a file whose content is not known apart"},
		"a base of no file":   {func(m *Manifest) { m.Boot[0].Base.SHA256 = "" }, "initrd.img: base: no size or no digest"},
		"packed for nothing":  {func(m *Manifest) { m.Boot[2].Packed = &Packed{Form: codec.Zstd} }, "vmlinuz: a file whose content is not known apart"},
		"nothing packed":      {func(m *Manifest) { m.Boot[0].Unpacked = &Content{} }, "initrd.img: a file whose content is not known apart"},
		"an unknown form":     {func(m *Manifest) { apartFrom(m, "lzma", 0, 5) }, `initrd.img: form "lzma" is unknown`},
		"packed before":       {func(m *Manifest) { apartFrom(m, codec.Zstd, -1, 5) }, "initrd.img: what is packed has no place"},
		"packed beyond":       {func(m *Manifest) { apartFrom(m, codec.Zstd, m.Boot[0].Size, 5) }, "initrd.img: what is packed is beyond its end"},
		"packed into nothing": {func(m *Manifest) { apartFrom(m, codec.Zstd, 0, 5); m.Boot[0].Unpacked.Size -= 6 }, "or there is nothing in it"},
		"packed of nothing":   {func(m *Manifest) { apartFrom(m, codec.Zstd, 0, 5); m.Boot[0].Packed.Size = 0 }, "has no place, or no bytes"},
		"twice told":          {func(m *Manifest) { f := &m.Boot[0]; p := f.Parts; apartFrom(m, codec.Gzip, 0, 5); f.Parts = p }, "initrd.img: its content is known apart"},
		"content of nothing":  {func(m *Manifest) { apartFrom(m, codec.Gzip, 0, 5); m.Boot[0].Unpacked.SHA256 = "" }, "initrd.img: sha256 is no digest"},
		"a base's form":       {func(m *Manifest) { m.Boot[0].Base.Packed = &Packed{Form: "lzma"} }, `initrd.img: base: form "lzma" is unknown`},
		"blank before":        {func(m *Manifest) { m.Boot[0].Base.Blank = []Span{{-1, 1}} }, "initrd.img: base: what is blank has no place"},
		"blank beyond all":    {func(m *Manifest) { m.Boot[0].Base.Blank = []Span{{0, MaxPart}, {0, 1}} }, "initrd.img: base: what is blank has no place"},
		"beyond a file":       {func(m *Manifest) { m.Boot[0].Base.Size = MaxPart }, "initrd.img: part 1: it is copied from beyond"},
		"kernel first":        {func(m *Manifest) { m.Boot[0], m.Boot[2] = m.Boot[2], m.Boot[0] }, "not in its place"},
		"twice":               {func(m *Manifest) { m.Boot = append(m.Boot, m.Boot[2]) }, "not in its place"},
		"another place":       {func(m *Manifest) { m.Boot[0].Name = "../a/vmlinuz" }, "is unknown"},
		"no kernel":           {func(m *Manifest) { m.Boot = m.Boot[:2] }, "there is no kernel"},
		"an edit outside":     {func(m *Manifest) { m.Boot[1].EditsB[0].At = m.Boot[1].Size }, "beyond the end"},
		"an edit before":      {func(m *Manifest) { m.Boot[1].EditsB[0].At = -1 }, "out of order"},
	} {
		t.Run(name, func(t *testing.T) {
			var err error
			func() {
				defer func() { _ = recover() }()
				_ = sample(failing{t, &err}, private, c.change)
			}()
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

func make257() []Range { return slices.Repeat([]Range{{Size: 1}}, 257) }

// apartFrom gives the first boot file Unpacked and Packed, with a compressed section at the offset.
func apartFrom(m *Manifest, form codec.Form, at, size int64) {
	f := &m.Boot[0]
	f.Unpacked, f.Parts = &Content{f.Size + 1, f.SHA256, f.Parts}, nil
	f.Packed = &Packed{form, Span{at, size}}
}

// failing records a failure instead of failing the test.
type failing struct {
	testing.TB
	err *error
}

func (f failing) Fatal(args ...any) {
	*f.err = args[0].(error)
	panic("fatal")
}

// TestWrongContents: signed parts that do not make up what was signed.
func TestWrongContents(t *testing.T) {
	public, private := artifacttest.Keys(t, 1)
	for name, c := range map[string]struct {
		change func(*Manifest)
		want   string
	}{
		"a patch":        {func(m *Manifest) { m.Root.Parts[2].Patch.SHA256 = sum(nil) }, "a patch of the update does not give what it was made to give: send the whole image"},
		"a patch's size": {func(m *Manifest) { m.Root.Parts[2].Size--; m.Root.Size-- }, "a patch of the update does not give"},
		"more inside":    {func(m *Manifest) { m.Root.Parts[2].Patch.Blocks[0].Raw-- }, "unpack a patch of the update"},
		"less inside":    {func(m *Manifest) { m.Root.Parts[2].Patch.Blocks[0].Raw++ }, "a patch of the update has 40960 bytes instead of 40961"},
		"more before":    {func(m *Manifest) { m.Root.Parts[2].Patch.Old[1].Raw-- }, "not what the update was made for: at 3145728"},
		"less before":    {func(m *Manifest) { m.Root.Parts[2].Patch.Old[1].Raw++ }, "not what the update was made for: at 3145728"},
		"root":           {func(m *Manifest) { m.Root.SHA256 = sum(nil) }, "do not make up"},
		"slot b's":       {func(m *Manifest) { m.Boot[1].SHA256B = m.Boot[1].SHA256 }, "do not make up"},
		"another initrd": {func(m *Manifest) { m.Boot[0].Parts[1].Copy = new(int64) }, "not what the update was made for: at 0"},
		"going back": {func(m *Manifest) {
			p := m.Boot[0].Parts
			p[0], p[1], p[2].Copy, p[2].Data, p[2].Size = p[1], p[0], new(int64), 0, 1
		}, "the update goes back in it"},
		"another base":   {func(m *Manifest) { m.Root.Parts[0] = Copy(noise[:1<<20], 1<<20) }, "not what the update was made for: at 1048576"},
		"longer inside":  {func(m *Manifest) { m.Root.Parts[1].Size--; m.Root.Size-- }, "a part of the update"},
		"shorter inside": {func(m *Manifest) { m.Root.Parts[len(m.Root.Parts)-1].Size++; m.Root.Size++ }, "a part of the update"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := unpack(bytes.NewReader(sample(t, private, c.change)), public); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

// TestAnotherBase: a patch applied to other content than it was made against is an error, and never
// yields other bytes.
func TestAnotherBase(t *testing.T) {
	public, private := artifacttest.Keys(t, 1)
	data, wrong := sample(t, private, nil), 0
	for at := len(noise); at < len(base); at += 97 {
		other := bytes.Clone(base)
		other[at] ^= 1
		in := must(Open(bytes.NewReader(data), public))
		b, err := io.ReadAll(in.ReadRoot(bytes.NewReader(other)))
		if err != nil {
			wrong++
			if !strings.Contains(err.Error(), "not what the update was made for") && !strings.Contains(err.Error(), "a patch of the update") {
				t.Errorf("byte %d: %v", at, err)
			}
		}
		if len(b) > len(before) && !bytes.Equal(b, root) {
			t.Fatalf("byte %d: other bytes", at)
		}
	}
	in := must(Open(bytes.NewReader(data), public))
	if _, err := io.ReadAll(in.ReadRoot(bytes.NewReader(base[:len(base)-1]))); err == nil || !strings.Contains(err.Error(), "read the running slot at 3145728") {
		t.Errorf("a short base: %v", err)
	}
	if wrong < 50 {
		t.Errorf("only %d of the changes were noticed", wrong)
	}
}

// TestPatchOrData: if a node would make other bytes, or has nothing similar, it gets data;
// otherwise it gets a much smaller patch.
func TestPatchOrData(t *testing.T) {
	fast := must(zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest)))
	random := artifacttest.Noise(40<<10, 9)
	var plain bytes.Buffer
	data := must(must(NewPacker(&plain)).Data(patched))
	for name, c := range map[string]struct {
		b, raw []byte
		patch  bool
	}{
		"alike":            {patched, newText, true},
		"another encoder":  {slices.Concat(fast.EncodeAll(newText[:30<<10], nil), newText[30<<10:]), newText, false},
		"nothing alike":    {slices.Concat(artifacttest.Block(random[:30<<10]), random[30<<10:]), random, false},
		"less than stated": {patched, newText[:39<<10], false},
	} {
		var out bytes.Buffer
		part := must(must(NewPacker(&out)).Patch(c.b, c.raw, samplePatch(), bytes.NewReader(base)))
		if (part.Patch != nil) != c.patch || part.Size != int64(len(c.b)) || part.Data != int64(out.Len()) || part.SHA256 != sum(out.Bytes()) {
			t.Errorf("%s: %+v, %d bytes", name, part, out.Len())
		}
		if c.patch && part.Data > data.Data/4 {
			t.Errorf("%s: %d bytes, %d without patch", name, part.Data, data.Data)
		}
	}
}

// repackable is a boot file of a slot: a compressed section between uncompressed ones.
func repackable(form codec.Form, slot, head string, raw []byte, tail string) Former {
	packed := artifacttest.Packed(form, raw)
	f := Former{File: slices.Concat([]byte(head), packed, []byte(tail)), Packed: Span{int64(len(head)), int64(len(packed))}}
	for at := range f.File {
		if outside := at < len(head) || at >= len(head)+len(packed); outside && f.File[at] == '?' {
			f.File[at] = slot[0]
			f.Own = append(f.Own, Span{int64(at), 1})
		}
	}
	return f
}

// TestRepacked: a boot file with a compressed section, or compressed as a whole, travels as the
// changes to its content, and comes out as the same file, whichever slot runs. Applied to another
// file than it was made against, it is an error.
func TestRepacked(t *testing.T) {
	oldRaw := slices.Concat(artifacttest.Text(2<<20, 1), artifacttest.Noise(10<<20, 7))
	newRaw := slices.Concat([]byte("shifted"), artifacttest.Text(2<<20, 2), artifacttest.Noise(10<<20, 7), []byte("longer"))
	kernel := string(artifacttest.Noise(2<<20, 8))
	for name, c := range map[string]struct {
		form                               codec.Form
		oldHead, newHead, oldTail, newTail string
	}{
		"all of it":        {form: codec.Zstd},
		"of gzip":          {form: codec.Gzip},
		"between":          {codec.Zstd, "PE ? one " + kernel[:9999], "PE ? another " + kernel[:9999], kernel + "signed ? once", kernel + "signed ? again"},
		"between, of gzip": {codec.Gzip, "?", "new ?", "?", "?"},
	} {
		t.Run(name, func(t *testing.T) {
			next := func(slot string) Former { return repackable(c.form, slot, c.newHead, newRaw, c.newTail) }
			old := func(slot string) Former { return repackable(c.form, slot, c.oldHead, oldRaw, c.oldTail) }
			var parts bytes.Buffer
			f, ok, err := must(NewPacker(&parts)).Repack(slot.Kernel, next("a").File, next("b").File, next("a").Packed, old("a"))
			if !ok || err != nil || parts.Len() > len(next("a").File)/100 {
				t.Fatalf("%v, %v, %d of %d bytes", ok, err, parts.Len(), len(next("a").File))
			}
			for _, runs := range contract.Slots {
				for _, other := range contract.Slots {
					if b, err := repacked(t, f, parts.Bytes(), other, old(runs).File); err != nil || !bytes.Equal(b, next(other).File) {
						t.Errorf("slot %s, where %s runs: %d bytes, %v", other, runs, len(b), err)
					}
				}
			}
			for what, file := range map[string][]byte{"another": repackable(c.form, "a", c.oldHead, newRaw[1<<20:], c.oldTail).File, "short": old("a").File[:len(old("a").File)/2]} {
				if b, err := repacked(t, f, parts.Bytes(), "b", file); err == nil {
					t.Errorf("%s: %d bytes", what, len(b))
				}
			}
		})
	}
}

// repacked returns the boot file that a node makes from runs, its running slot's file of that name.
func repacked(t *testing.T, f File, parts []byte, slot string, runs []byte) ([]byte, error) {
	public, private := artifacttest.Keys(t, 1)
	small := Part{Size: 1, SHA256: sum([]byte("x")), Copy: new(int64)}
	m := &Manifest{Codec: codec.Name(), Board: "rpi4", Arch: "arm64", Version: "2", Made: time.Unix(1764000000, 0).UTC(), DiskID: "deadbeef",
		Base: &Base{Size: 1, SHA256: sum([]byte("x"))}, Root: Content{Size: 1, SHA256: sum([]byte("x")), Parts: []Part{small}}, Boot: []File{f}}
	var out bytes.Buffer
	if err := Write(&out, m, private, bytes.NewReader(parts)); err != nil {
		t.Fatal(err)
	}
	in := must(Open(&out, public))
	if _, err := io.ReadAll(in.ReadRoot(strings.NewReader("x"))); err != nil {
		t.Fatal(err)
	}
	got := &in.Boot[0]
	former, err := io.ReadAll(got.Former(bytes.NewReader(runs)))
	if err == nil && sum(former) != got.Base.SHA256 {
		err = errors.New("the base has another digest")
	}
	if err != nil {
		return nil, err
	}
	return io.ReadAll(in.ReadFile(got, slot, got.Former(bytes.NewReader(runs))))
}

// TestNotRepacked: a file that has no known form, or another form than the old file, or is new, or
// comes from another compressor.
func TestNotRepacked(t *testing.T) {
	text := artifacttest.Text(100<<10, 1)
	zst, gz := artifacttest.Packed(codec.Zstd, text), artifacttest.Packed(codec.Gzip, text)
	var fast bytes.Buffer
	w := must(zstd.NewWriter(&fast, zstd.WithEncoderLevel(zstd.SpeedFastest)))
	_, err := w.Write(text)
	must(0, errors.Join(err, w.Close()))
	for name, c := range map[string][2][]byte{"no form": {text, text[1:]}, "another": {zst, gz}, "new": {zst, nil}, "another's": {fast.Bytes(), zst}} {
		var out bytes.Buffer
		if _, ok, err := must(NewPacker(&out)).Repack(slot.Initrd, c[0], c[0], Span{Size: int64(len(c[0]))}, Former{File: c[1], Packed: Span{Size: int64(len(c[1]))}}); ok || err != nil || out.Len() > 0 {
			t.Errorf("%s: %v, %v", name, ok, err)
		}
	}
}

// FuzzOpen: whatever is signed is read, or refused, in bounded memory.
func FuzzOpen(f *testing.F) {
	public, private := artifacttest.Keys(f, 1)
	data := sample(f, private, nil)
	line, rest, _ := bytes.Cut(data, []byte("\n"))
	var long int
	_, _ = fmt.Sscanf(string(line), "imagebuilder-update 1 %d ", &long)
	f.Add(string(rest[:long]), []byte{})
	f.Add(`{"format":1}`, data)
	f.Fuzz(func(t *testing.T, manifest string, junk []byte) {
		if len(manifest) > maxManifest {
			return
		}
		_, _ = unpack(bytes.NewReader(junk), public)
		signed := append(withSignature(manifest, sign([]byte(manifest), private, "")), junk...)
		files, err := unpack(bytes.NewReader(signed), public)
		if err == nil && len(files) < 2 {
			t.Errorf("taken, with %d files", len(files))
		}
	})
}
