package fat

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/image/tree"
)

// memory is a volume in RAM.
type memory []byte

func (m memory) ReadAt(p []byte, off int64) (int, error) { return bytes.NewReader(m).ReadAt(p, off) }
func (m memory) WriteAt(p []byte, off int64) (int, error) {
	return copy(m[off:off+int64(len(p))], p), nil
}

// huge claims a size nobody wants to store in a test.
type huge struct {
	tree.Content
	size int64
}

func (h huge) Size() int64 { return h.size }

func file(path string, c tree.Content) *tree.Node {
	return &tree.Node{Path: path, Mode: 0o644, Content: c, Source: "test"}
}

func TestWriteRefuses(t *testing.T) {
	small := tree.String("x")
	tests := []struct {
		name  string
		nodes []*tree.Node
		want  string
	}{
		{"case", []*tree.Node{file("Config.txt", small), file("config.txt", small)}, "/Config.txt and /config.txt differ only in case"},
		{"case beyond ASCII", []*tree.Node{file("Ä.txt", small), file("ä.txt", small)}, "differ only in case"},
		{"colon", []*tree.Node{file("a:b", small)}, `/a:b: FAT names cannot contain ':'`},
		{"control", []*tree.Node{file("a\nb", small)}, `cannot contain '\n'`},
		{"dot", []*tree.Node{file("a.", small)}, "cannot end in a dot"},
		{"space", []*tree.Node{file("a ", small)}, "cannot end in a dot or a space"},
		{"directory name", []*tree.Node{{Path: "a?", Mode: fs.ModeDir | 0o755, Source: "test"}}, `/a?: FAT names cannot contain '?'`},
		{"long", []*tree.Node{file(strings.Repeat("y", 256), small)}, "longer than 255"},
		{"long in UTF-16", []*tree.Node{file(strings.Repeat("😀", 128), small)}, "longer than 255"},
		{"4 GiB", []*tree.Node{file("big.img", huge{small, 1 << 32})}, "/big.img: 4294967296 bytes"},
		{"full", []*tree.Node{file("a", huge{small, 20 << 20}), file("b", huge{small, 20 << 20})}, "/b does not fit: the volume of 33 MiB holds 34054144 bytes of files and directories, the content needs 41943552"},
		{"symlink", []*tree.Node{{Path: "l", Mode: fs.ModeSymlink | 0o777, Link: "x", Source: "test"}}, "/l: FAT holds files and directories only, this is a symbolic link"},
		{"device", []*tree.Node{{Path: "d", Mode: fs.ModeDevice, Source: "test"}}, "this is a device"},
		{"dangling", []*tree.Node{{Path: "h", Mode: 0o644, Link: "gone", Source: "test"}}, "hard link to /gone"},
		{"short content", []*tree.Node{file("f", huge{small, 2})}, "/f: content shorter than the announced 2 bytes"},
		{"long content", []*tree.Node{file("f", huge{tree.String("xyz"), 2})}, "/f: content longer than the announced 2 bytes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tr := tree.New()
			for _, n := range tt.nodes {
				if err := tr.Add(n); err != nil {
					t.Fatal(err)
				}
			}
			err := Write(discard{}, tr, Options{Size: MinSize})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

type discard struct{}

func (discard) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }

func TestOptionsRefused(t *testing.T) {
	tests := map[string]Options{
		"choose a multiple of 512 between":       {Size: MinSize - 512},
		"volume of 34603009 bytes":               {Size: MinSize + 1},
		"at most 11 characters":                  {Size: MinSize, Label: "TWELVE CHARS"},
		`the character '*' is not allowed`:       {Size: MinSize, Label: "A*B"},
		"volume of 3298534883328 bytes cannot b": {Size: 3 << 40},
	}
	for want, opt := range tests {
		err := Write(discard{}, tree.New(), opt)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: got %v, want %q", opt, err, want)
		}
	}
}

// damaged stands for a cache entry whose digest turned out wrong.
type damaged struct{ tree.Content }

var errDamaged = errors.New("digest wrong")

func (damaged) Open() (io.ReadCloser, error) { return nil, errDamaged }

func TestContentErrorIsPassedOn(t *testing.T) {
	tr := tree.New()
	if err := tr.Add(file("f", damaged{tree.String("x")})); err != nil {
		t.Fatal(err)
	}
	if err := Write(discard{}, tr, Options{Size: MinSize}); !errors.Is(err, errDamaged) {
		t.Error(err)
	}
}

func TestShortNames(t *testing.T) {
	tests := []struct{ name, short string }{
		{"config.txt", "CONFIG.TXT exact 18"},
		{"README", "README exact 0"},
		{"UPPER.low", "UPPER.LOW exact 10"},
		{"start4.elf", "START4.ELF exact 18"},
		{"Readme.txt", "README.TXT"},
		{"a+b.txt", "A_B~1.TXT"},
		{"bcm2711-rpi-4-b.dtb", "BCM271~1.DTB"},
		{"bcm2711-rpi-400.dtb", "BCM271~2.DTB"},
		{".hidden", "HIDDEN~1"},
		{"...x", "_~1.X"},
		{"many.dots.tar.gz", "MANYDO~1.GZ"},
		{"page.html", "PAGE~1.HTM"},
		{"ü", "_~1"},
		{"ı.txt", "_~1.TXT"},
		{"a b", "AB~1"},
	}
	a := newAliases()
	for _, tt := range tests {
		s, flags, ok := exactShort(tt.name)
		got := fmt.Sprintf("%s exact %x", s, flags)
		if !ok {
			var err error
			if s, err = a.alias(tt.name); err != nil {
				t.Fatal(err)
			}
			got = s.String()
		}
		if got != tt.short {
			t.Errorf("%s: got %s, want %s", tt.name, got, tt.short)
		}
	}
}

func TestManyAliases(t *testing.T) {
	a := newAliases()
	seen := map[short]bool{}
	for range 12345 {
		s, err := a.alias("the same long name.txt")
		if err != nil || seen[s] {
			t.Fatal(s, err)
		}
		seen[s] = true
	}
	if s := (short)([]byte("TH~12345TXT")); !seen[s] {
		t.Error("no ~12345")
	}
}
