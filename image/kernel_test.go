package image_test

import (
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/image"
	"github.com/going-mobile/imagebuilder/image/board"
	"github.com/going-mobile/imagebuilder/image/fetch"
	"github.com/going-mobile/imagebuilder/image/lock"
	"github.com/going-mobile/imagebuilder/image/progress"
)

const ofKernel = "usr/lib/modules/7.3.4-test/"

// TestTheWholeKernelIsAllItsPackages: Debian splits kernels since 6.19, and an
// image must not be told that it lacks nothing because nobody looked.
func TestTheWholeKernelIsAllItsPackages(t *testing.T) {
	wifi := string(kernelModule(t, "usb:v0CF3p9271d*"))
	for name, c := range map[string]struct {
		debs map[string]map[string]string
		pkg  string // "" is an error
	}{
		"one":   {map[string]map[string]string{"linux-image-7.3.4-test": {"boot/vmlinuz-7.3.4-test": "kernel", ofKernel + "kernel/ath9k_htc.ko": wifi}}, "linux-image-7.3.4-test"},
		"split": {map[string]map[string]string{"linux-image-7.3.4-test": {"usr/share/doc/x": ""}, "linux-modules-7.3.4-test": {ofKernel + "kernel/ath9k_htc.ko": wifi}}, "linux-modules-7.3.4-test"},
		"lost":  {map[string]map[string]string{"linux-image-7.3.4-test": {ofKernel + "vmlinuz": "kernel"}, "linux-image-amd64": {ofKernel + "kernel/ath9k_htc.ko": wifi}}, ""},
	} {
		k, err := image.WholeKernel(t.Context(), lockOf(t, c.debs))
		if c.pkg == "" {
			if err == nil || !strings.Contains(err.Error(), "the kernel that the image was made from: kernel 7.3.4-test has no modules") {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := k.Drivers.For("usb:v0CF3p9271d0108"); k.Package != c.pkg || k.Release != "7.3.4-test" || !reflect.DeepEqual(got, []string{"ath9k_htc"}) {
			t.Errorf("%s: %s of %s, drivers %v", name, k.Release, k.Package, got)
		}
	}
}

// lockOf builds the packages, of file names and contents, and names them in a
// lock and as their only mirror.
func lockOf(t *testing.T, debs map[string]map[string]string) image.Options {
	t.Helper()
	mirror := t.TempDir()
	l := &lock.Lock{Version: lock.Version, Board: "test", Arch: "amd64"}
	for name, files := range debs {
		root := filepath.Join(t.TempDir(), name)
		files["DEBIAN/control"] = "Package: " + name + "\nVersion: 1\nArchitecture: amd64\nMaintainer: test <test@example.net>\nDescription: test\n"
		for file, content := range files {
			file = filepath.Join(root, file)
			must(t, os.MkdirAll(filepath.Dir(file), 0o755))
			must(t, os.WriteFile(file, []byte(content), 0o644))
		}
		deb := filepath.Join(mirror, name+".deb")
		if out, err := exec.Command("dpkg-deb", "--root-owner-group", "-b", root, deb).CombinedOutput(); err != nil {
			t.Fatalf("dpkg-deb: %v\n%s", err, out)
		}
		data, err := os.ReadFile(deb)
		must(t, err)
		l.Packages = append(l.Packages, lock.Package{Name: name, Version: "1", Arch: "amd64", Suite: "trixie",
			Filename: name + ".deb", Size: int64(len(data)), SHA256: fmt.Sprintf("%x", sha256.Sum256(data))})
	}
	cache, err := fetch.OpenCache(t.TempDir())
	must(t, err)
	t.Cleanup(func() { cache.Close() })
	mirrors := []string{"file://" + mirror}
	return image.Options{Board: &board.Board{Arch: "amd64", Suite: "trixie"}, Lock: l, Mirrors: mirrors, SecurityMirrors: mirrors,
		Cache: cache, Progress: progress.Discard}
}

// kernelModule is as much of an ELF file as tells what it drives.
func kernelModule(t *testing.T, alias string) []byte {
	t.Helper()
	sections := []struct{ name, body string }{{"", ""}, {".modinfo", "alias=" + alias + "\x00"}, {".symtab", strings.Repeat("\x00", 24)}, {".strtab", "\x00"}}
	var names, body string
	headers := make([]elf.Section64, len(sections)+1)
	at := binary.Size(elf.Header64{})
	for i, s := range append(sections, struct{ name, body string }{".shstrtab", "\x00.modinfo\x00.symtab\x00.strtab\x00.shstrtab\x00"}) {
		headers[i] = elf.Section64{Name: uint32(len(names)), Type: uint32(elf.SHT_PROGBITS), Off: uint64(at + len(body)), Size: uint64(len(s.body))}
		names += s.name + "\x00"
		body += s.body
	}
	headers[0] = elf.Section64{}
	h := elf.Header64{Type: uint16(elf.ET_REL), Machine: uint16(elf.EM_X86_64), Version: 1, Shoff: uint64(at + len(body)),
		Ehsize: uint16(at), Shentsize: uint16(binary.Size(headers[0])), Shnum: uint16(len(headers)), Shstrndx: uint16(len(headers) - 1)}
	copy(h.Ident[:], elf.ELFMAG+"\x02\x01\x01")
	var b bytes.Buffer
	must(t, binary.Write(&b, binary.LittleEndian, h))
	b.WriteString(body)
	must(t, binary.Write(&b, binary.LittleEndian, headers))
	return b.Bytes()
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
