package ptable

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
)

const (
	mib    = 1 << 20
	diskID = "11111111-2222-3333-4444-555555555555"
)

// run returns what a judge printed; a judge that is not there fails the test.
func run(t *testing.T, stdin, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	if _, err := exec.LookPath(name); err != nil {
		cmd.Path = filepath.Join("/usr/sbin", name)
	}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, os.ErrNotExist) {
		t.Fatalf("%s is missing: run make deps", name)
	}
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return string(out)
}

func image(t *testing.T, size int64) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "disk.img")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Truncate(size), f.Close()); err != nil {
		t.Fatal(err)
	}
	return name
}

func open(t *testing.T, name string) *os.File {
	t.Helper()
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func read(t *testing.T, name string, sector int64) *Table {
	t.Helper()
	f := open(t, name)
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	table, err := Read(f, info.Size(), sector)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// text prints a table the way the tests expect it.
func text(t *Table) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s stale=%v\n", t.Scheme, t.ID, t.Stale)
	for _, e := range t.Entries {
		fmt.Fprintf(&b, "%d %d+%d %s %q\n", e.Number, e.First, e.Sectors, e.Type, e.Name)
	}
	return b.String()
}

func makeGPT(t *testing.T, name string) {
	t.Helper()
	run(t, "", "sgdisk", "-a", "8192", "-U", diskID, "-n", "1:8192:+16M", "-t", "1:ef00", "-c", "1:boot",
		"-n", "2:0:+8M", "-t", "2:8304", "-c", "2:root-a", name)
}

func makeMBR(t *testing.T, name string) {
	t.Helper()
	run(t, "label: dos\nlabel-id: 0xdeadbeef\nstart=8192,size=32768,type=c,bootable\nstart=40960,size=16384,type=83\n", "sfdisk", "-q", name)
}

func grow(t *testing.T, name string, size int64) {
	t.Helper()
	if err := os.Truncate(name, size); err != nil {
		t.Fatal(err)
	}
}

const gptText = `gpt 11111111-2222-3333-4444-555555555555 stale=false
1 8192+32768 c12a7328-f81f-11d2-ba4b-00a0c93ec93b "boot"
2 40960+16384 4f68bce3-e8cd-4db1-96e7-fbcaf984b709 "root-a"
`

const mbrText = `mbr deadbeef stale=false
1 8192+32768 0c ""
2 40960+16384 83 ""
`

func TestReadsWhatToolsWrite(t *testing.T) {
	gpt, mbr := image(t, 40*mib), image(t, 40*mib)
	makeGPT(t, gpt)
	makeMBR(t, mbr)
	if diff := cmp.Diff(gptText, text(read(t, gpt, 512))); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(mbrText, text(read(t, mbr, 512))); diff != "" {
		t.Error(diff)
	}
	grow(t, gpt, 200*mib)
	if got := read(t, gpt, 512); !got.Stale || got.LastUsable() != 200*mib/512-34 {
		t.Errorf("after flashing to a larger disk: %s last usable sector %d", text(got), got.LastUsable())
	}
}

// A table grown by us must satisfy the tools as one of their own.
func TestToolsAcceptWhatWeWrite(t *testing.T) {
	gpt, mbr := image(t, 40*mib), image(t, 40*mib)
	makeGPT(t, gpt)
	makeMBR(t, mbr)
	for _, name := range []string{gpt, mbr} {
		grow(t, name, 200*mib)
		table := read(t, name, 512)
		table.Entry(2).Sectors = 64 * mib / 512
		e := Entry{Number: 4, Type: contract.TypeNoFS, First: 120 * mib / 512, Sectors: 60 * mib / 512}
		if table.Scheme == contract.GPT {
			e.Type, e.ID, e.Name = contract.TypePending, "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee", "data"
		}
		table.Put(e)
		if err := table.Write(open(t, name)); err != nil {
			t.Fatal(err)
		}
		if out := run(t, "", "sfdisk", "-V", name); !strings.Contains(out, "No errors detected") {
			t.Errorf("sfdisk -V: %s", out)
		}
		want := strings.Replace(text(table), "stale=true", "stale=false", 1)
		if diff := cmp.Diff(want, text(read(t, name, 512))); diff != "" {
			t.Error(diff)
		}
	}
	if out := run(t, "", "sgdisk", "-v", gpt); !strings.Contains(out, "No problems found") {
		t.Errorf("sgdisk -v: %s", out)
	}
	dump := run(t, "", "sfdisk", "-d", gpt)
	for _, want := range []string{"label-id: 11111111-2222-3333-4444-555555555555", "start=      245760, size=      122880, type=7E2D1C6F-52A1-4B0E-9D3A-1F0C5A6B8E47, uuid=AAAAAAAA-BBBB-4CCC-8DDD-EEEEEEEEEEEE, name=\"data\""} {
		if !strings.Contains(dump, want) {
			t.Errorf("sfdisk -d lacks %q:\n%s", want, dump)
		}
	}
	dump = run(t, "", "sfdisk", "-d", mbr)
	for _, want := range []string{"label-id: 0xdeadbeef", "type=c, bootable", "start=      245760, size=      122880, type=da"} {
		if !strings.Contains(dump, want) {
			t.Errorf("sfdisk -d lacks %q:\n%s", want, dump)
		}
	}
}

// Disks with sectors of 4096 bytes exist on NVMe and behind USB bridges.
func TestLargeSectors(t *testing.T) {
	name := image(t, 256*mib)
	run(t, "g\nn\n1\n1024\n+16M\nn\n2\n8192\n+32M\nw\n", "fdisk", "-b", "4096", name)
	table := read(t, name, 4096)
	if table.Entry(2).First != 8192 {
		t.Fatal(text(table))
	}
	table.Put(Entry{Number: 3, Type: contract.TypeVar, ID: diskID, Name: "data", First: 32768, Sectors: 8192})
	if err := table.Write(open(t, name)); err != nil {
		t.Fatal(err)
	}
	out := run(t, "v\nq\n", "fdisk", "-b", "4096", name)
	if !strings.Contains(out, "No errors detected") {
		t.Errorf("fdisk: %s", out)
	}
	if got := read(t, name, 4096); got.Stale || got.Entry(3).Name != "data" {
		t.Error(text(got))
	}
}

func TestDamage(t *testing.T) {
	zero := func(off, n int64) func(*testing.T, *os.File) {
		return func(t *testing.T, f *os.File) {
			if _, err := f.WriteAt(make([]byte, n), off); err != nil {
				t.Fatal(err)
			}
		}
	}
	const size = 40 * mib
	tests := []struct {
		name   string
		damage func(*testing.T, *os.File)
		want   string // beginning of the table's text or of the error
	}{
		{"primary header", zero(512, 512), "gpt " + diskID + " stale=true"},
		{"primary entries", zero(1024, 512), "gpt " + diskID + " stale=true"},
		{"backup header", zero(size-512, 512), "gpt " + diskID + " stale=true"},
		{"both", func(t *testing.T, f *os.File) { zero(512, 512)(t, f); zero(size-512, 512)(t, f) }, "no partition table"},
		{"sector 0", zero(0, 512), "no partition table"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			name := image(t, size)
			makeGPT(t, name)
			f := open(t, name)
			test.damage(t, f)
			table, err := Read(f, size, 512)
			got := fmt.Sprint(err)
			if err == nil {
				got = text(table)
			}
			if !strings.HasPrefix(got, test.want) {
				t.Fatalf("got %q, want %q…", got, test.want)
			}
			if err != nil {
				return
			}
			if err := table.Write(f); err != nil {
				t.Fatal(err)
			}
			if out := run(t, "", "sgdisk", "-v", name); !strings.Contains(out, "No problems found") {
				t.Errorf("after Write: %s", out)
			}
		})
	}
}

func TestRefuses(t *testing.T) {
	name := image(t, 40*mib)
	makeGPT(t, name)
	before := read(t, name, 512)
	for what, e := range map[string]Entry{
		"overlap":    {Number: 3, Type: contract.TypeVar, ID: diskID, First: 50000, Sectors: 100},
		"off disk":   {Number: 3, Type: contract.TypeVar, ID: diskID, First: 60000, Sectors: 1 << 40},
		"wraps":      {Number: 3, Type: contract.TypeVar, ID: diskID, First: 1<<64 - 5, Sectors: 10},
		"empty":      {Number: 3, Type: contract.TypeVar, ID: diskID, First: 60000},
		"bad type":   {Number: 3, Type: "83", ID: diskID, First: 60000, Sectors: 10},
		"number 129": {Number: 129, Type: contract.TypeVar, ID: diskID, First: 60000, Sectors: 10},
	} {
		table := before.Clone()
		table.Put(e)
		if err := table.Write(open(t, name)); err == nil {
			t.Errorf("%s: written", what)
		}
	}
	if diff := cmp.Diff(gptText, text(read(t, name, 512))); diff != "" {
		t.Error(diff)
	}
}

// FuzzRead: whatever is on a disk, Read ends, and what it accepts survives
// being written.
func FuzzRead(f *testing.F) {
	dir := f.TempDir()
	for i, script := range []string{"label: gpt\nfirst-lba: 40\nstart=40,size=200\nstart=240,size=40\n", "label: dos\nstart=40,size=200,type=c\nstart=240,size=40\n"} {
		name := filepath.Join(dir, fmt.Sprint(i))
		if err := os.WriteFile(name, make([]byte, 256<<10), 0o600); err != nil {
			f.Fatal(err)
		}
		cmd := exec.Command("/usr/sbin/sfdisk", "-q", name)
		cmd.Stdin = strings.NewReader(script)
		if out, err := cmd.CombinedOutput(); err != nil {
			f.Fatalf("sfdisk: %v %s: run make deps", err, out)
		}
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b[:34*512], b[len(b)-33*512:])
	}
	f.Fuzz(func(t *testing.T, head, tail []byte) {
		disk := make(memory, 256<<10)
		copy(disk, head)
		if len(tail) < len(disk)/2 {
			copy(disk[len(disk)-len(tail):], tail)
		}
		table, err := Read(disk, int64(len(disk)), 512)
		if err != nil {
			return
		}
		if err := table.Write(disk); err != nil {
			t.Fatalf("accepted but not writable: %v", err)
		}
		again, err := Read(disk, int64(len(disk)), 512)
		if err != nil {
			t.Fatalf("not readable after Write: %v", err)
		}
		if again.Stale || !cmp.Equal(table.Entries, again.Entries) {
			t.Fatalf("changed by Write:\n%s%s", text(table), text(again))
		}
	})
}

// memory is a disk.
type memory []byte

func (m memory) ReadAt(p []byte, off int64) (int, error)  { return copy(p, m[off:]), nil }
func (m memory) WriteAt(p []byte, off int64) (int, error) { return copy(m[off:], p), nil }
func (m memory) Sync() error                              { return nil }
