package boot

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// objdump and objcopy judge the file: names, flags, contents.
func TestUKI(t *testing.T) {
	in := input(t)
	in.Microcode = []string{"06-*"}
	uki, err := slotUKI(in, "b")
	if err != nil {
		t.Fatal(err)
	}
	name := tempFile(t, uki)
	out := string(run(t, nil, "objdump", "-h", "-p", name))
	var sections []string
	for _, m := range regexp.MustCompile(`(?m)^ +\d+ (\.\S+) `).FindAllStringSubmatch(out, -1) {
		sections = append(sections, m[1])
	}
	if got := strings.Join(sections, " "); got != ".text .osrel .cmdline .uname .ucode .initrd .linux" {
		t.Errorf("sections %s", got)
	}
	initrd, err := Initramfs(in)
	if err != nil {
		t.Fatal(err)
	}
	for section, want := range map[string]string{
		".osrel": "ID=debian\nIMAGE_ID=imagebuilder-test-board\nPRETTY_NAME=\"Test machine 2026.1 (slot b)\"\nIMAGEBUILDER_IMAGE_VERSION=2026.1\n",
		".uname": kernelVersion, ".cmdline": in.cmdline("b"), ".initrd": string(initrd),
	} {
		dump := filepath.Join(t.TempDir(), "section")
		run(t, nil, "objcopy", "--dump-section", section+"="+dump, name, dump+".out")
		got, err := os.ReadFile(dump)
		if err != nil || !bytes.HasPrefix(got, []byte(want)) || len(bytes.Trim(got[len(want):], "\x00")) > 0 {
			t.Errorf("%s: %d bytes (%v), want %d", section, len(got), err, len(want))
		}
	}
	p, err := parsePE(uki)
	if err != nil {
		t.Fatal(err)
	}
	if got := leUint32(uki[p.opt+optImageSize:]); uint64(got) != p.nextVMA {
		t.Errorf("SizeOfImage is %#x, the sections end at %#x", got, p.nextVMA)
	}
	// .linux begins at 0x7000, and the kernel's own header asks for 0x9000
	// bytes: more than its file has.
	if !regexp.MustCompile(`(?m)^SizeOfImage\s+0*10000$`).MatchString(out) {
		t.Errorf("objdump -p shows another SizeOfImage:\n%s", out)
	}
}

func leUint32(b []byte) uint32 {
	return uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24
}

func TestUKIRefuses(t *testing.T) {
	data := []byte("x")
	many := make([]Section, 40)
	for i := range many {
		many[i] = Section{".a", data}
	}
	for what, test := range map[string]struct {
		stub     []byte
		sections []Section
		want     string
	}{
		"text":       {[]byte("not a program"), nil, "not a PE32+ file"},
		"empty stub": {nil, nil, "not a PE32+ file"},
		"cut stub":   {makePE(9, 0)[:200], nil, "not a PE32+ file"},
		"long name":  {makePE(9, 0), []Section{{".toolongname", data}}, "longer than eight"},
		"no data":    {makePE(9, 0), []Section{{".osrel", nil}}, "empty"},
		"no room":    {makePE(9, 0), many, "no room"},
	} {
		if _, err := UKI(test.stub, test.sections); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func FuzzUKI(f *testing.F) {
	f.Add(makePE(9, 0x2000), []byte("kernel"))
	f.Add(makePE(9, 0x2000), makePE(0, 0x9000))
	f.Fuzz(func(t *testing.T, stub, kernel []byte) {
		out, err := UKI(stub, []Section{{".cmdline", []byte("quiet")}, {".linux", kernel}})
		if err != nil {
			return
		}
		if _, err := parsePE(out); err != nil {
			t.Fatalf("accepted a stub and made no PE file: %v", err)
		}
	})
}
