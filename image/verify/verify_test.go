package verify_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/image/compress"
	"github.com/going-mobile/imagebuilder/image/disk"
	"github.com/going-mobile/imagebuilder/image/fat"
	"github.com/going-mobile/imagebuilder/image/imagetest"
	"github.com/going-mobile/imagebuilder/image/manifest"
	"github.com/going-mobile/imagebuilder/image/progress"
	"github.com/going-mobile/imagebuilder/image/provenance"
	"github.com/going-mobile/imagebuilder/image/verify"
)

// run calls a program in a directory.
func run(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%s is missing: run make deps", name)
	}
	cmd := exec.Command(path, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// dist is a directory with x.img as a build leaves it, and x.img.FORMAT with
// its .sha256.
func dist(t *testing.T, scheme contract.Scheme, formats ...compress.Format) string {
	t.Helper()
	dir := t.TempDir()
	name := filepath.Join(dir, "x.img")
	if err := imagetest.Write(name, "rpi4", scheme, true); err != nil {
		t.Fatal(err)
	}
	raw := read(t, name)
	for _, format := range formats {
		var packed bytes.Buffer
		if err := compress.Write(t.Context(), &packed, format, bytes.NewReader(raw), int64(len(raw)), progress.Discard); err != nil {
			t.Fatal(err)
		}
		file := name + "." + string(format)
		write(t, file, packed.Bytes())
		write(t, file+verify.SumSuffix, []byte(run(t, dir, "sha256sum", filepath.Base(file))))
	}
	return dir
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func write(t *testing.T, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(name, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// edit changes a file of a directory.
func edit(t *testing.T, dir, name string, change func(b []byte) []byte) {
	t.Helper()
	file := filepath.Join(dir, name)
	write(t, file, change(read(t, file)))
}

func flip(at int) func([]byte) []byte {
	return func(b []byte) []byte { b[at] ^= 0x10; return b }
}

func cut(n int) func([]byte) []byte {
	return func(b []byte) []byte { return b[:len(b)-n] }
}

func checked(r *verify.Report) string {
	var list []string
	for _, c := range r.Checks {
		list = append(list, strings.TrimPrefix(filepath.Base(c.Against), "x.img"))
	}
	slices.Sort(list)
	return strings.Join(list, " ")
}

func TestAGoodImageIsComparedWithAllThatLiesBesideIt(t *testing.T) {
	for _, scheme := range []contract.Scheme{contract.MBR, contract.GPT} {
		dir := dist(t, scheme, append(slices.Clone(compress.Formats), compress.QCOW2)...)
		all := ".bmap .manifest.json .provenance.json"
		for file, want := range map[string]string{"x.img": all, "x.img.zst": all + " .zst.sha256", "x.img.xz": all + " .xz.sha256", "x.img.gz": all + " .gz.sha256", "x.img.qcow2": all + " .qcow2.sha256"} {
			r, err := verify.Image(t.Context(), filepath.Join(dir, file), false, progress.Discard)
			if err != nil {
				t.Fatal(err)
			}
			if r.Label == nil || r.Label.Board != "rpi4" || r.Personalised || len(r.NodeFile) == 0 || int(r.Size) != len(read(t, filepath.Join(dir, "x.img"))) {
				t.Errorf("%s: %+v", file, r)
			}
			words := strings.Fields(want)
			slices.Sort(words)
			if got := checked(r); got != strings.Join(words, " ") {
				t.Errorf("%s: checked against %s, want %s", file, got, words)
			}
		}
	}
}

func TestNothingBesideAnImageIsNothingChecked(t *testing.T) {
	name := filepath.Join(t.TempDir(), "x.img")
	if err := imagetest.Write(name, "rpi4", contract.MBR, false); err != nil {
		t.Fatal(err)
	}
	r, err := verify.Image(t.Context(), name, false, progress.Discard)
	if err != nil || len(r.Checks) != 0 || r.Label == nil {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestDamageIsFound is one edit of a good directory each.
func TestDamageIsFound(t *testing.T) {
	const root = 34<<20 + 200_000
	without := func(suffixes ...string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			for _, s := range suffixes {
				if err := os.Remove(filepath.Join(dir, "x.img"+s)); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	all := []string{disk.MapSuffix, manifest.Suffix, provenance.Suffix}
	tests := []struct {
		name, file, edited string
		change             func([]byte) []byte
		more               func(*testing.T, string)
		want               string
	}{
		{"a flipped bit", "x.img", "x.img", flip(root), nil, "x.img.bmap says: something between bytes 35651584 and"},
		{"a flipped bit, no map", "x.img", "x.img", flip(root), without(disk.MapSuffix), "x.img.manifest.json says: its sha256 is"},
		{"a flipped bit, provenance only", "x.img", "x.img", flip(root), without(disk.MapSuffix, manifest.Suffix), "is not among the subjects"},
		{"a flipped bit where no file lies", "x.img", "x.img", flip(33 << 20), nil, "x.img.manifest.json says: its sha256 is"},
		{"cut short", "x.img", "x.img", cut(1 << 20), nil, "it has 37748736 bytes instead of 38797312, as if it was cut short"},
		{"cut short, no map", "x.img", "x.img", cut(1 << 20), without(disk.MapSuffix), "x.img.manifest.json says: it has 37748736 bytes"},
		{"cut short, nothing beside it", "x.img", "x.img", cut(1 << 20), without(all...), "is not a whole imagebuilder image: the copy of the partition table"},
		{"cut shorter, nothing beside it", "x.img", "x.img", cut(3 << 20), without(all...), "is not a whole imagebuilder image: is no disk image: read GPT: partition 2"},
		{"longer", "x.img", "x.img", func(b []byte) []byte { return append(b, 0) }, nil, "it has 38797313 bytes instead of 38797312;"},
		{"noise", "x.img", "x.img", func(b []byte) []byte { return bytes.Repeat([]byte("noise!"), 5<<20/6) }, without(all...), "is not a whole imagebuilder image: is no disk image: no partition table"},
		{"another board's manifest", "x.img", "x.img.manifest.json", replace(`"board": "rpi4"`, `"board": "rpi5"`), nil, "it is for board rpi4, version 2025.3, that tells of board rpi5, version 2025.3"},
		{"a stale manifest", "x.img", "x.img.manifest.json", replace(`"version": "2025.3"`, `"version": "2025.2"`), nil, "tells of board rpi4, version 2025.2; get or build both again, or remove x.img.manifest.json if that is of another image"},
		{"no manifest of ours", "x.img", "x.img.manifest.json", func([]byte) []byte { return []byte(`{"layers": []}`) }, nil, `unknown field "layers"; get or build it again together with the image, or remove it`},
		{"a damaged map", "x.img", "x.img.bmap", replace("<BlocksCount> 9472", "<BlocksCount> 9473"), nil, "x.img.bmap: is damaged: its own checksum is wrong"},
		{"another's provenance", "x.img", "x.img.provenance.json", replace(provenance.StatementType, "https://example.org"), nil, "is no in-toto statement"},
		{"a wrong sum", "x.img.zst", "x.img.zst.sha256", func(b []byte) []byte { return append([]byte("0000"), b[4:]...) }, nil, "x.img.zst.sha256 says: its sha256 is"},
		{"a wrong sum of xz", "x.img.xz", "x.img.xz.sha256", func(b []byte) []byte { return append([]byte("0000"), b[4:]...) }, nil, "x.img.xz.sha256 says: its sha256 is"},
		{"a wrong sum of gz", "x.img.gz", "x.img.gz.sha256", func(b []byte) []byte { return append([]byte("0000"), b[4:]...) }, nil, "x.img.gz.sha256 says: its sha256 is"},
		{"a sum of another file", "x.img.zst", "x.img.zst.sha256", replace("x.img.zst", "y.img.zst"), nil, "does not name x.img.zst: it is of another file"},
		{"a sum that is none", "x.img.zst", "x.img.zst.sha256", func([]byte) []byte { return []byte("hello\n") }, nil, `"hello" is no line of sha256sum`},
		{"a sum of the raw image", "x.img", "x.img", flip(root), func(t *testing.T, dir string) {
			without(all...)(t, dir)
			write(t, filepath.Join(dir, "x.img.sha256"), fmt.Appendf(nil, "%064d *x.img\n", 0))
		}, "x.img.sha256 says: its sha256 is"},
		{"compressed, cut short", "x.img.zst", "x.img.zst", cut(100), without(".zst.sha256"), "the zst data is damaged or cut short"},
		{"compressed with a sum, cut short", "x.img.zst", "x.img.zst", cut(100), nil, "x.img.zst.sha256 says"},
		{"compressed from another image", "x.img.zst", "x.img.manifest.json", replace(`"size": 38797312`, `"size": 5`), without(disk.MapSuffix), "it has 38797312 bytes instead of 5"},
		{"a wrong sum of qcow2", "x.img.qcow2", "x.img.qcow2.sha256", func(b []byte) []byte { return append([]byte("0000"), b[4:]...) }, nil, "x.img.qcow2.sha256 says: its sha256 is"},
		{"qcow2, its disk damaged", "x.img.qcow2", "x.img.qcow2", flip(9 << 16), without(".qcow2.sha256"), "x.img.bmap says: something between bytes"},
		{"qcow2, its disk damaged, no map", "x.img.qcow2", "x.img.qcow2", flip(9 << 16), without(".qcow2.sha256", disk.MapSuffix), "x.img.manifest.json says: its sha256 is"},
		{"qcow2, cut short", "x.img.qcow2", "x.img.qcow2", cut(100), without(".qcow2.sha256"), "of the file is not there: it is damaged or cut short"},
		{"qcow2 with a sum, cut short", "x.img.qcow2", "x.img.qcow2", cut(100), nil, "x.img.qcow2.sha256 says"},
		{"qcow2 with another file", "x.img.qcow2", "x.img.qcow2", func(b []byte) []byte { b[79] = 4; return b }, nil, "x.img.qcow2: qcow2: keeps its data in another file"},
		{"qcow2 of another image", "x.img.qcow2", "x.img.manifest.json", replace(`"size": 38797312`, `"size": 5`), without(disk.MapSuffix), "it has 38797312 bytes instead of 5"},
		{"a list of sums", "x.img.zst", "x.img.zst", func(b []byte) []byte { return b }, func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, verify.SumsName), fmt.Appendf(nil, "%064d  x.img.zst\n", 0))
		}, "SHA256SUMS says: its sha256 is"},
		{"a list of sums with another manifest", "x.img.zst", "x.img.zst", func(b []byte) []byte { return b }, func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, verify.SumsName), fmt.Appendf(nil, "%064d  x.img.manifest.json\n", 0))
		}, "x.img.manifest.json is not what"},
	}
	good := dist(t, contract.GPT, append(slices.Clone(compress.Formats), compress.QCOW2)...)
	for _, tt := range tests {
		dir := t.TempDir()
		run(t, dir, "cp", "-r", good+"/.", dir)
		edit(t, dir, tt.edited, tt.change)
		if tt.more != nil {
			tt.more(t, dir)
		}
		_, err := verify.Image(t.Context(), filepath.Join(dir, tt.file), false, progress.Discard)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.want)
		}
	}
}

func replace(old, new string) func([]byte) []byte {
	return func(b []byte) []byte {
		if !bytes.Contains(b, []byte(old)) {
			panic("no " + old)
		}
		return bytes.Replace(b, []byte(old), []byte(new), 1)
	}
}

func TestWhatAWholeImageHas(t *testing.T) {
	l, err := imagetest.Layout(contract.MBR)
	if err != nil {
		t.Fatal(err)
	}
	boot, root := int(l.Partitions[0].Start), int(l.Partitions[1].Start)
	for want, change := range map[string]func([]byte) []byte{
		"is no imagebuilder image":                    replace("IMAGEB~1JSO", "IMAGEB~1TXT"),
		"has no boot partition":                       func(b []byte) []byte { b[boot+510] = 0; return b },
		"its boot file system of":                     func(b []byte) []byte { b[boot+34]++; return b },
		"its root, partition 2":                       func(b []byte) []byte { copy(b[root:], "xxxx"); return b },
		"it has no root: partition 2 is missing":      func(b []byte) []byte { b[446+16+4] = 0x82; return b },
		"its root is cut short: 170":                  func(b []byte) []byte { b[root+40+3] = 1; return b },
		"is no disk image: partition table: partitio": func(b []byte) []byte { b[446+16+12+3] = 1; return b },
	} {
		name := filepath.Join(t.TempDir(), "x.img")
		if err := imagetest.Write(name, "rpi4", contract.MBR, false); err != nil {
			t.Fatal(err)
		}
		edit(t, "/", name, change)
		_, err := verify.Image(t.Context(), name, false, progress.Discard)
		var foreign *verify.ForeignError
		if !errors.As(err, &foreign) || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
		if r, err := verify.Image(t.Context(), name, true, progress.Discard); err != nil || len(r.Checks) != 0 {
			t.Errorf("%s, foreign: %+v, %v", want, r, err)
		}
	}
}

func TestAForeignImageMustStillBeWhatItsSumSays(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "debian.img")
	write(t, name, bytes.Repeat([]byte("debian"), 1<<18))
	write(t, name+verify.SumSuffix, []byte(run(t, dir, "sha256sum", "debian.img")))
	run(t, dir, "bmaptool", "create", "-o", name+disk.MapSuffix, name)
	r, err := verify.Image(t.Context(), name, true, progress.Discard)
	if err != nil || r.Label != nil || len(r.Checks) != 2 {
		t.Errorf("%+v, %v", r, err)
	}
	edit(t, dir, "debian.img", flip(1<<18))
	if _, err := verify.Image(t.Context(), name, true, progress.Discard); err == nil || !strings.Contains(err.Error(), "is not what") {
		t.Error(err)
	}
}

// TestAPersonalisedImage differs from what lies beside it where it may only.
func TestAPersonalisedImage(t *testing.T) {
	dir := dist(t, contract.MBR, compress.Zstd)
	name := filepath.Join(dir, "x.img")
	write(t, name+verify.SumSuffix, []byte(run(t, dir, "sha256sum", "x.img")))
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	l, _ := imagetest.Layout(contract.MBR)
	err = errors.Join(fat.Overwrite(l.Partitions[0].Window(f), node.FileName, []byte("node: me\n")), f.Close())
	if err != nil {
		t.Fatal(err)
	}
	for _, sum := range []string{"of before", "of now"} {
		r, err := verify.Image(t.Context(), name, false, progress.Discard)
		if err != nil || !r.Personalised || len(r.Checks) != 4 || r.SHA256 != strings.Fields(run(t, dir, "sha256sum", "x.img"))[0] {
			t.Fatalf("sum %s: %+v, %v", sum, r, err)
		}
		write(t, name+verify.SumSuffix, []byte(run(t, dir, "sha256sum", "x.img")))
	}
	run(t, dir, "zstd", "-q", "-f", "x.img")
	os.Remove(name + ".zst" + verify.SumSuffix)
	if r, err := verify.Image(t.Context(), name+".zst", false, progress.Discard); err != nil || !r.Personalised {
		t.Errorf("%+v, %v", r, err)
	}
	edit(t, dir, "x.img", flip(34<<20+1000))
	if _, err := verify.Image(t.Context(), name, false, progress.Discard); err == nil || !strings.Contains(err.Error(), "is damaged") {
		t.Error(err)
	}
}

func TestCheckingStops(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	dir := dist(t, contract.MBR, compress.Zstd)
	for _, name := range []string{"x.img", "x.img.zst"} {
		if _, err := verify.Image(ctx, filepath.Join(dir, name), false, progress.Discard); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
}
