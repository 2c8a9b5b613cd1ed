package image

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/image/board"
	"github.com/going-mobile/imagebuilder/image/disk"
	"github.com/going-mobile/imagebuilder/image/tree"
)

// loaders is what a package with two loaders brings.
func loaders(t *testing.T) *tree.Tree {
	t.Helper()
	root := tree.New()
	if err := root.MkdirAll("usr/lib/u-boot/x", time.Time{}, "test"); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{"first": strings.Repeat("1", 200<<10), "second": strings.Repeat("2", 1<<20), "empty": ""} {
		if err := root.Add(&tree.Node{Path: "usr/lib/u-boot/x/" + name, Mode: 0o644, Content: tree.String(content), Source: "test"}); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func rawBoard(raw ...board.Raw) *board.Board {
	b := &board.Board{Name: "rock", Arch: "arm64", Firmware: board.UEFI, Disk: board.Disk{Boot: 65 << 20, Slot: 1 << 30, Raw: raw}}
	for i := range b.Disk.Raw {
		b.Disk.Raw[i].File, b.Disk.Raw[i].Line = "usr/lib/u-boot/x/"+b.Disk.Raw[i].File, 30+i
	}
	return b
}

// TestRawFilesThatDoNotFit: what only the packages tell is told as the rest is,
// by file, line and field.
func TestRawFilesThatDoNotFit(t *testing.T) {
	const kib, mib = 1 << 10, 1 << 20
	for _, c := range []struct {
		raw  []board.Raw
		want string
	}{
		{[]board.Raw{{File: "first", Offset: 32 * kib}, {File: "second", Offset: 8 * mib}}, ""},
		{[]board.Raw{{File: "second", Offset: 8 * mib}, {File: "first", Offset: 8*mib - 200*kib}}, ""},
		{[]board.Raw{{File: "second", Offset: 15 * mib}}, ""},
		{[]board.Raw{{File: "frist", Offset: 32 * kib}}, `rock.yaml:30: field "disk.raw[0].file": `},
		{[]board.Raw{{File: "frist", Offset: 32 * kib}}, "add the package that has it"},
		{[]board.Raw{{File: "empty", Offset: 32 * kib}}, "/usr/lib/u-boot/x/empty is empty or no file"},
		{[]board.Raw{{File: "", Offset: 32 * kib}}, "is empty or no file"},
		{[]board.Raw{{File: "second", Offset: 8 * mib}, {File: "first", Offset: 8*mib - 199*kib}},
			`rock.yaml:31: field "disk.raw[1].file": /usr/lib/u-boot/x/first has 204800 bytes, and 1024 of them would lie over usr/lib/u-boot/x/second, which begins at 8MiB`},
		{[]board.Raw{{File: "second", Offset: 15*mib + kib}}, "1024 of them would lie over the first partition, which begins at 16MiB"},
	} {
		files, err := rawFiles(rawBoard(c.raw...), loaders(t))
		if got := fmt.Sprint(err); c.want == "" && (err != nil || len(files) != len(c.raw)) || !strings.Contains(got, c.want) {
			t.Errorf("%+v: got %q, want %q", c.raw, got, c.want)
		}
	}
}

// TestRawFilesLieWhereTheyWereAskedFor, with partition tables of both kinds around
// them.
func TestRawFilesLieWhereTheyWereAskedFor(t *testing.T) {
	for _, firmware := range []board.Firmware{board.UEFI, board.RaspberryPi} {
		b := rawBoard(board.Raw{File: "first", Offset: 32 << 10}, board.Raw{File: "second", Offset: 8 << 20})
		b.Firmware = firmware
		raw, err := rawFiles(b, loaders(t))
		if err != nil {
			t.Fatal(err)
		}
		draft, err := (&plan{opt: Options{Board: b}}).layout()
		if err != nil {
			t.Fatal(err)
		}
		placed, err := disk.Arrange(draft, disk.AlignCard)
		if err != nil {
			t.Fatal(err)
		}
		if boot, root := placed.Partitions[0], placed.Partitions[1]; boot.Start != board.RawRoom || root.Start%disk.AlignCard != 0 {
			t.Errorf("%s: partitions begin at %d and %d", firmware, boot.Start, root.Start)
		}
		f, err := os.Create(filepath.Join(t.TempDir(), "disk"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := f.Truncate(placed.Size); err != nil {
			t.Fatal(err)
		}
		if err := disk.Write(f, placed); err != nil {
			t.Fatal(err)
		}
		if err := (&bootFiles{raw: raw}).outside(f); err != nil {
			t.Fatal(err)
		}
		if _, err := disk.Read(f, placed.Size); err != nil {
			t.Errorf("%s: the table behind the loaders: %v", firmware, err)
		}
		for at, want := range map[int64]string{32 << 10: "1", 232<<10 - 1: "1", 232 << 10: "\x00", 8<<20 - 1: "\x00", 8 << 20: "2", 9<<20 - 1: "2", 9 << 20: "\x00"} {
			got := make([]byte, 1)
			if _, err := io.ReadFull(io.NewSectionReader(f, at, 1), got); err != nil || string(got) != want {
				t.Errorf("%s: byte %d is %q (%v), want %q", firmware, at, got, err, want)
			}
		}
	}
}
