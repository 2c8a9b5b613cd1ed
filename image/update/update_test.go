package update

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"aead.dev/minisign"

	"github.com/going-mobile/imagebuilder/firstboot/artifact"
	"github.com/going-mobile/imagebuilder/firstboot/artifact/artifacttest"
	"github.com/going-mobile/imagebuilder/firstboot/codec"
	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/slot"
	"github.com/going-mobile/imagebuilder/firstboot/wear"
	"github.com/going-mobile/imagebuilder/image/authenticode"
	"github.com/going-mobile/imagebuilder/image/boot"
	"github.com/going-mobile/imagebuilder/image/imagetest"
	"github.com/going-mobile/imagebuilder/image/progress"
	"github.com/going-mobile/imagebuilder/image/squashfs"
	"github.com/going-mobile/imagebuilder/image/tree"
)

// open makes a small image and opens it.
func open(t *testing.T, scheme contract.Scheme) *Image {
	t.Helper()
	name := filepath.Join(t.TempDir(), "x.img")
	if err := imagetest.Write(name, "rpi4", scheme, true); err != nil {
		t.Fatal(err)
	}
	i, err := Open(t.Context(), name, t.TempDir(), progress.Discard)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := i.Close(); err != nil {
			t.Error(err)
		}
	})
	return i
}

// TestWhatANodeReads: the update has the image's root and, for slot b, its boot files
// with that letter; whole, or against what the node has.
func TestWhatANodeReads(t *testing.T) {
	public, private, err := minisign.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	for scheme, letters := range map[contract.Scheme]string{contract.MBR: slot.Cmdline, contract.GPT: slot.Entry} {
		var sizes []int64
		for _, base := range []*Image{nil, open(t, scheme)} {
			i := open(t, scheme)
			want, m, out := written(t, i, base, private)
			if m.Board != "rpi4" || m.Version != imagetest.Version || !m.Made.Equal(time.Unix(1, 0)) || m.Components[contract.StorageComponent] != "2" {
				t.Errorf("%+v", m)
			}
			for _, f := range m.Boot {
				if copied := f.Base != nil && f.Parts[0].Copy != nil; copied != (base != nil && f.Name != letters) {
					t.Errorf("%s: %s: %+v, base %+v", scheme, f.Name, f.Parts, f.Base)
				}
			}
			sizes = append(sizes, int64(out.Len()))
			root, files := read(t, out, public, bytes.NewReader(want))
			if !bytes.Equal(root, want) {
				t.Errorf("%s: the root has other bytes", scheme)
			}
			if err := wear.Check(t.Context(), bytes.NewReader(root)); err != nil { // with everything that verifies it
				t.Error(err)
			}
			if !strings.Contains(files[letters], "imagebuilder.slot=b ") || files[slot.Kernel] != "kernel" || files[slot.Initrd] != "initramfs" || len(files) != 3 {
				t.Errorf("%s: %q", scheme, files)
			}
		}
		if sizes[1] > sizes[0]/4 {
			t.Errorf("%s: %d bytes against the same image, %d without", scheme, sizes[1], sizes[0])
		}
	}
}

// TestStatesNoStorage: if the image's label does not mention storage, the update does not,
// either.
func TestStatesNoStorage(t *testing.T) {
	i := open(t, contract.MBR)
	i.Label.Storage = contract.StorageNone
	if states, ok := i.manifest().Components[contract.StorageComponent]; ok {
		t.Errorf("it states %q", states)
	}
}

// TestStatesItsCertificate: the update names the certificate, as a node cannot see who
// signed a kernel before it has written it.
func TestStatesItsCertificate(t *testing.T) {
	i := open(t, contract.GPT)
	for name, c := range map[string]struct {
		signer *authenticode.Signer
		file   string
		want   string
	}{
		"signed":       {authenticode.NewOf(nil, &x509.Certificate{Raw: []byte("certificate")}), slot.Unified, contract.EncodeCertificate([]byte("certificate"))},
		"not signed":   {nil, slot.Unified, ""},
		"of a Pi, too": {authenticode.NewOf(nil, &x509.Certificate{Raw: []byte("certificate")}), slot.Kernel, ""},
	} {
		m := i.manifest()
		if vouch(m, []boot.SlotFile{{Name: c.file}}, c.signer); m.Components[contract.CertificateComponent] != c.want {
			t.Errorf("%s: %+v", name, m.Components)
		}
	}
}

// written is an update, and the root that must result from it.
func written(t *testing.T, i, base *Image, key minisign.PrivateKey) (root []byte, m *artifact.Manifest, out *bytes.Buffer) {
	t.Helper()
	root, err := io.ReadAll(io.NewSectionReader(i.root, 0, i.root.Size()))
	if err != nil {
		t.Fatal(err)
	}
	out = &bytes.Buffer{}
	if m, err = Write(t.Context(), out, i, Options{Base: base, Key: key, Progress: progress.Discard}); err != nil {
		t.Fatal(err)
	}
	return root, m, out
}

func read(t *testing.T, r io.Reader, key minisign.PublicKey, base io.ReaderAt) (root []byte, files map[string]string) {
	t.Helper()
	in, err := artifact.Open(r, key)
	if err != nil {
		t.Fatal(err)
	}
	if root, err = io.ReadAll(in.ReadRoot(base)); err != nil {
		t.Fatal(err)
	}
	files = map[string]string{}
	for n := range in.Boot {
		text, err := io.ReadAll(in.ReadFile(&in.Boot[n], "b", strings.NewReader(map[string]string{slot.Kernel: "kernel", slot.Initrd: "initramfs"}[in.Boot[n].Name])))
		if err != nil {
			t.Fatal(err)
		}
		files[in.Boot[n].Name] = string(text)
	}
	return root, files
}

// TestUndone: an update that cannot be written leaves nothing behind.
func TestUndone(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	_, private, err := minisign.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	i := open(t, contract.MBR)
	if _, err := Write(t.Context(), full{}, i, Options{Key: private, Progress: progress.Discard}); !errors.Is(err, errFull) {
		t.Error(err)
	}
	if left, _ := os.ReadDir(os.Getenv("TMPDIR")); len(left) != 0 {
		t.Errorf("%v", left)
	}
}

var errFull = errors.New("full")

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errFull }

// TestRuns: a file that changed is sent, with the tables; all others are copied from their
// places in the base.
func TestRuns(t *testing.T) {
	big := strings.Repeat("0123456789abcdef", 1<<14) // two blocks
	old := map[string]string{"a": noise(1, 300<<10), "b": noise(2, 300<<10), "c": big, "d": "small", "e": noise(3, 200<<10)}
	next := map[string]string{"a": old["b"], "b": old["a"], "c": big, "d": "smaller", "e": noise(4, 200<<10), "f": noise(5, 10)}
	base, root := pack(t, old), pack(t, next)
	all := divide(t, root, base, false)
	pos, copied := int64(0), int64(0)
	for n, r := range all {
		if r.at != pos || r.size < 1 {
			t.Fatalf("run %d: %+v at %d", n, r, pos)
		}
		pos += r.size
		if r.from == travels {
			continue
		}
		copied += r.size
		a, b := make([]byte, r.size), make([]byte, r.size)
		_, err := root.ReadAt(a, r.at)
		_, err2 := base.ReadAt(b, r.from)
		if err := errors.Join(err, err2); err != nil || !bytes.Equal(a, b) {
			t.Errorf("run %d: %+v is no copy: %v", n, r, err)
		}
	}
	if pos != root.Size() || copied < 600<<10 || copied > 700<<10 {
		t.Errorf("%d of %d bytes, %d copied, %+v", pos, root.Size(), copied, all)
	}
}

// TestPatched: for a file of another version only the changes are sent, even if the number
// in its name differs, beside new and random files. If the base's builder compressed
// differently, the whole file is sent. The result on the node is the same.
func TestPatched(t *testing.T) {
	public, private, err := minisign.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	text := func(size int, seed byte) string { return string(artifacttest.Text(size, seed)) }
	was := map[string]string{"lib-6.1/a.so.3": text(3<<20, 1), "lib-6.1/b.so": text(1<<10, 2), "c": noise(3, 400<<10)}
	is := map[string]string{"lib-6.12/a.so.4": "new" + text(3<<20, 9), "lib-6.12/b.so": text(1<<10, 3), "c": "shifted" + noise(3, 400<<10), "new": text(200<<10, 5)}
	var sizes []int64
	for _, name := range []string{codec.Name(), "another"} {
		base, i := open(t, contract.MBR), open(t, contract.MBR)
		base.root, i.root, base.Manifest.Codec = pack(t, was), pack(t, is), name
		want, m, out := written(t, i, base, private)
		if m.Patches() != (name == codec.Name()) || m.Patches() != (m.Codec != "") {
			t.Errorf("%s: codec %q, patches: %v", name, m.Codec, m.Patches())
		}
		sizes = append(sizes, int64(out.Len()))
		if root, _ := read(t, out, public, base.root); !bytes.Equal(root, want) {
			t.Errorf("%s: the root has other bytes", name)
		}
	}
	if sizes[0] > sizes[1]/5 {
		t.Errorf("%d bytes with patches, %d without", sizes[0], sizes[1])
	}
}

// TestUnified: of a unified kernel image only the changes are sent if the node compresses as
// this builder does; otherwise the whole image. It is never compared with a whole file, as
// it differs between the slots.
func TestUnified(t *testing.T) {
	old, next := unifiedSlots(t, "one", 1), unifiedSlots(t, "another", 2)
	for name, c := range map[string]struct {
		old   []byte
		patch bool
	}{"patched": {old.A, true}, "the same": {next.A, true}, "another codec": {old.A, false}, "the same, another codec": {next.A, false}} {
		var parts bytes.Buffer
		packer, err := artifact.NewPacker(&parts)
		if err != nil {
			t.Fatal(err)
		}
		f, err := packFile(packer, next, c.old, c.patch)
		if err != nil {
			t.Fatal(err)
		}
		if apart := f.Unpacked != nil && f.Base != nil && len(f.Base.Blank) > 0; apart != c.patch || !c.patch && f.Base != nil {
			t.Errorf("%s: %+v", name, f)
		}
		if less := parts.Len() < len(next.A)/8; less != c.patch {
			t.Errorf("%s: %d of %d bytes", name, parts.Len(), len(next.A))
		}
	}
}

// unifiedSlots are unified kernel images with the same kernel and an initramfs of its own.
func unifiedSlots(t *testing.T, version string, seed byte) boot.SlotFile {
	t.Helper()
	stub, err := os.ReadFile("/usr/lib/systemd/boot/efi/linuxx64.efi.stub")
	if err != nil {
		t.Fatalf("%v: run make deps", err)
	}
	initrd := artifacttest.Packed(codec.Zstd, artifacttest.Text(4<<20, seed))
	a, err := boot.UKI(stub, []boot.Section{{Name: ".osrel", Data: []byte("PRETTY_NAME=\"" + version + " (slot a)\"\n")}, {Name: ".cmdline", Data: []byte(contract.Args{Slot: "a", DiskID: "deadbeef", SlotSize: 64 << 20}.Encode())},
		{Name: ".initrd", Data: initrd}, {Name: ".linux", Data: artifacttest.Noise(2<<20, 1)}})
	if err != nil {
		t.Fatal(err)
	}
	files, err := boot.SlotFiles(func(name string) ([]byte, error) {
		if name == slot.Place(slot.Unified, "a", 1) {
			return a, nil
		}
		return nil, fs.ErrNotExist
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return files[0]
}

// TestLike: the blocks nearest to a place come first, up to the size of a dictionary.
func TestLike(t *testing.T) {
	base, err := newOld(pack(t, map[string]string{"big-1": noise(1, 20<<20), "a-2": "small", "b": noise(2, 130<<10)}))
	if err != nil {
		t.Fatal(err)
	}
	all, err := base.like([]squashfs.Block{{Pieces: []squashfs.Piece{{Path: "big-77", At: 10 << 20}, {Path: "a-3"}}}, {Pieces: []squashfs.Piece{{Path: "elsewhere"}}}})
	if err != nil || len(all) != 2 {
		t.Fatalf("%+v, %v", all, err)
	}
	sum := int64(0)
	for _, r := range all {
		sum += max(r.Size, r.Raw)
	}
	if sum < artifact.MaxOld-codec.BlockSize || sum > artifact.MaxOld {
		t.Errorf("%d bytes: %+v", sum, all)
	}
	if none, err := base.like([]squashfs.Block{{Pieces: []squashfs.Piece{{Path: "elsewhere"}}}}); err != nil || len(none) != 0 {
		t.Errorf("%+v, %v", none, err)
	}
}

func divide(t *testing.T, root, base *io.SectionReader, patch bool) []run {
	t.Helper()
	former, err := newOld(base)
	if err != nil {
		t.Fatal(err)
	}
	fsys, err := squashfs.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	blocks, err := fsys.Blocks()
	if err != nil {
		t.Fatal(err)
	}
	all, err := runs(blocks, root, former, patch)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// noise cannot be compressed.
func noise(seed, size int) string {
	var b strings.Builder
	for x := uint32(seed*2654435761 + 1); b.Len() < size; {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		b.WriteByte(byte(x >> 11))
	}
	return b.String()
}

func pack(t *testing.T, files map[string]string) *io.SectionReader {
	t.Helper()
	root := tree.New()
	for name, text := range files {
		if err := root.MkdirAll(path.Dir(name), time.Unix(1, 0), "test"); err != nil {
			t.Fatal(err)
		}
		if err := root.Add(&tree.Node{Path: name, Mode: 0o644, Content: tree.String(text), Source: "test"}); err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.Create(filepath.Join(t.TempDir(), fmt.Sprint(len(files))))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	size, err := squashfs.Write(t.Context(), f, root, squashfs.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return io.NewSectionReader(f, 0, size)
}
