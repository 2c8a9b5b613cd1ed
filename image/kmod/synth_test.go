package kmod

import (
	"bytes"
	"encoding/binary"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/going-mobile/imagebuilder/image/tree"
)

const testVersion = "6.12.0-test"

// ko describes a module of a made-up kernel.
type ko struct {
	modinfo   []string // "key=value"
	exports   []string
	needs     []string
	versions  []string // names in __versions; nil for no such section
	noCRC     bool     // exports without __crc_ symbols
	class     byte     // 1 for 32-bit, else 64-bit
	bigEndian bool
}

// build returns the ELF file: just the sections that tools look at.
func (k ko) build() []byte {
	e := elfWriter{order: binary.LittleEndian, l: elf64, class: 2, strtab: []byte{0}}
	if k.bigEndian {
		e.order = binary.BigEndian
	}
	if k.class == 1 {
		e.l, e.class = elf32, 1
	}
	e.symtab = make([]byte, e.l.sym)
	for _, s := range k.exports {
		if !k.noCRC {
			e.symbol(crcPrefix+s, 0xfff1)
		}
		e.symbol(s, 1)
	}
	for _, s := range k.needs {
		e.symbol(s, 0)
	}
	sections := []elfSection{
		{".modinfo", 1, []byte("\x00" + strings.Join(k.modinfo, "\x00\x00") + "\x00")},
		{"__ksymtab_strings", 1, []byte(strings.Join(append(k.exports, ""), "\x00"))},
		{".symtab", 2, e.symtab},
		{".strtab", 3, e.strtab},
	}
	if k.versions != nil {
		var versions []byte
		for _, v := range k.versions {
			entry := make([]byte, versionEntry)
			copy(entry[e.l.version:], v)
			versions = append(versions, entry...)
		}
		sections = append(sections, elfSection{"__versions", 1, versions})
	}
	return e.file(sections)
}

type elfSection struct {
	name string
	kind uint32
	body []byte
}

type elfWriter struct {
	order interface {
		binary.ByteOrder
		binary.AppendByteOrder
	}
	l              elfLayout
	class          byte
	strtab, symtab []byte
}

func (e *elfWriter) symbol(name string, shndx uint16) {
	s := make([]byte, e.l.sym)
	e.order.PutUint32(s, uint32(len(e.strtab)))
	e.order.PutUint16(s[e.l.symShndx:], shndx)
	e.strtab = append(append(e.strtab, name...), 0)
	e.symtab = append(e.symtab, s...)
}

func (e *elfWriter) words(b []byte, values ...int) []byte {
	for _, v := range values {
		if e.class == 1 {
			b = e.order.AppendUint32(b, uint32(v))
		} else {
			b = e.order.AppendUint64(b, uint64(v))
		}
	}
	return b
}

// file lays out header, sections and section headers.
func (e *elfWriter) file(sections []elfSection) []byte {
	names := []byte{0}
	for _, s := range sections {
		names = append(append(names, s.name...), 0)
	}
	names = append(names, ".shstrtab\x00"...)
	sections = append(sections, elfSection{".shstrtab", 3, names})

	body, headers := make([]byte, e.l.header), make([]byte, e.l.shdr)
	for _, s := range sections {
		h := e.order.AppendUint32(nil, uint32(bytes.Index(names, []byte("\x00"+s.name+"\x00"))+1))
		h = e.words(e.order.AppendUint32(h, s.kind), 0, 0, len(body), len(s.body))
		headers = append(headers, append(h, make([]byte, e.l.shdr-len(h))...)...)
		body = append(body, s.body...)
	}
	h := append([]byte("\x7fELF"), e.class, 1, 1)
	if e.order.String() == binary.BigEndian.String() {
		h[5] = 2
	}
	h = append(h, make([]byte, 16-len(h))...)
	h = e.order.AppendUint16(e.order.AppendUint16(h, 1), 62) // relocatable, x86-64: nobody looks
	h = e.words(e.order.AppendUint32(h, 1), 0, 0, len(body))
	h = e.order.AppendUint32(h, 0)
	for _, v := range []int{e.l.header, 0, 0, e.l.shdr, len(sections) + 1, len(sections)} {
		h = e.order.AppendUint16(h, uint16(v))
	}
	copy(body, h)
	return append(body, headers...)
}

// testKernel is a small kernel with every trait that matters.
func testKernel() map[string]ko {
	return map[string]ko{
		"kernel/fs/ext4/ext4.ko.xz": {
			modinfo: []string{"license=GPL", "softdep=pre: crypto-crc32c", "alias=fs-ext4", "alias=ext3", "depends=jbd2,mbcache,crc16"},
			needs:   []string{"vmlinux_symbol", "crc16", "mb_cache_create", "jbd2_init", "crc16_table"},
		},
		"kernel/fs/jbd2/jbd2.ko.zst": {
			modinfo:  []string{"depends="},
			exports:  []string{"jbd2_init", "jbd2_exit"},
			needs:    []string{"printk"},
			versions: []string{"module_layout", "printk"},
		},
		"kernel/fs/mbcache.ko":   {exports: []string{"mb_cache_create"}, noCRC: true},
		"kernel/lib/crc16.ko.xz": {exports: []string{"crc16", "crc16_table"}, class: 1, bigEndian: true},
		"kernel/crypto/sha9.ko":  {modinfo: []string{"alias=sha9", "alias=crypto-sha9"}},
		"kernel/crypto/crc32c_generic.ko.xz": {
			modinfo: []string{"alias=crc32c", "alias=crypto-crc32c", "alias=crypto-crc32c-generic"},
		},
		"kernel/arch/x86/crypto/crc32c-intel.ko": {
			modinfo: []string{"alias=cpu:type:x86,ven*fam*mod*:feature:*0094*", "alias=crypto-crc32c"},
		},
		"kernel/drivers/net/genet.ko": {
			modinfo: []string{"alias=of:N*T*Cbrcm,genet-v5", "softdep=pre: mdio-bcm-unimac post: broadcom nowhere", "depends=libphy"},
			needs:   []string{"phy_connect"},
		},
		"kernel/drivers/net/mdio-bcm-unimac.ko": {modinfo: []string{"depends=of-mdio"}, needs: []string{"of_mdio_register"}},
		"kernel/drivers/net/of_mdio.ko":         {modinfo: []string{"depends=libphy"}, exports: []string{"of_mdio_register"}, needs: []string{"phy_connect"}},
		"kernel/drivers/net/libphy.ko.xz":       {exports: []string{"phy_connect"}},
		"kernel/drivers/net/broadcom.ko":        {modinfo: []string{"depends=libphy"}, needs: []string{"phy_connect"}, versions: []string{"phy_connect", "module_layout"}},
		"kernel/drivers/block/loop.ko": {
			modinfo: []string{"alias=devname:loop-control", "alias=char-major-10-237", "alias=block-major-7-*", "weakdep=sha9"},
		},
		"kernel/drivers/usb/odd.ko": {modinfo: []string{"alias=usb:v1-2[a-c]d*", "alias=usb:v[broken"}},
		"kernel/net/nf_tables.ko":   {modinfo: []string{"depends=nf_lib"}, needs: []string{"nf_f"}},
		"kernel/net/nf_lib.ko":      {exports: []string{"nf_f", "nf_g"}},
		"kernel/net/nf_nat.ko":      {modinfo: []string{"depends=nf_lib"}, needs: []string{"nf_g"}},
		"updates/dkms/extra.ko":     {modinfo: []string{"softdep=pre: platform:loop"}},
	}
}

const (
	testOrder   = "kernel/fs/ext4/ext4.ko\nkernel/fs/jbd2/jbd2.ko\nkernel/fs/mbcache.ko\nkernel/lib/crc16.ko\nkernel/crypto/sha9.ko\nkernel/crypto/crc32c_generic.ko\nkernel/arch/x86/crypto/crc32c-intel.ko\nkernel/drivers/net/genet.ko\nkernel/drivers/net/mdio-bcm-unimac.ko\nkernel/drivers/net/of_mdio.ko\nkernel/drivers/net/libphy.ko\nkernel/drivers/net/broadcom.ko\nkernel/drivers/block/loop.ko\nkernel/drivers/usb/odd.ko\nkernel/net/nf_tables.ko\nkernel/net/nf_lib.ko\nkernel/net/nf_nat.ko\nupdates/dkms/extra.ko\n"
	testBuiltin = "kernel/fs/fuse/fuse.ko\nkernel/security/keys/encrypted-keys.ko\nkernel/lib/zlib.ko\n"
	testModinfo = "fuse.license=GPL\x00fuse.alias=fs-fuse\x00fuse.alias=devname:fuse\x00zlib.alias=crypto-deflate\x00zlib.file=lib/zlib\x00encrypted_keys.alias=fs-fuse\x00"
)

var testTime = time.Unix(1700000000, 0).UTC()

// testTree holds testKernel below usr/lib, with /lib the usual link.
func testTree(t testing.TB) *tree.Tree {
	t.Helper()
	tr := tree.New()
	put := func(n *tree.Node) {
		t.Helper()
		n.ModTime, n.Source = testTime, "test"
		if err := tr.MkdirAll(filepath.ToSlash(filepath.Dir(n.Path)), testTime, "test"); err != nil {
			t.Fatal(err)
		}
		if err := tr.Add(n); err != nil {
			t.Fatal(err)
		}
	}
	base := "usr/lib/modules/" + testVersion + "/"
	for rel, k := range testKernel() {
		put(&tree.Node{Path: base + rel, Mode: 0o644, Content: tree.Bytes(compress(t, rel, k.build()))})
	}
	put(&tree.Node{Path: base + "modules.order", Mode: 0o644, Content: tree.String(testOrder)})
	put(&tree.Node{Path: base + "modules.builtin", Mode: 0o644, Content: tree.String(testBuiltin)})
	put(&tree.Node{Path: base + "modules.builtin.modinfo", Mode: 0o644, Content: tree.String(testModinfo)})
	put(&tree.Node{Path: base + "build", Mode: fs.ModeSymlink | 0o777, Link: "/usr/src/linux"})
	put(&tree.Node{Path: "lib", Mode: fs.ModeSymlink | 0o777, Link: "usr/lib"})
	return tr
}

func compress(t testing.TB, name string, data []byte) []byte {
	t.Helper()
	switch filepath.Ext(name) {
	case ".xz":
		return []byte(run(t, bytes.NewReader(data), "xz", "-c", "--check=crc32"))
	case ".zst":
		w, err := zstd.NewWriter(nil)
		if err != nil {
			t.Fatal(err)
		}
		return w.EncodeAll(data, nil)
	}
	return data
}

// run returns the output of a program that make deps installs.
func run(t testing.TB, stdin *bytes.Reader, name string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		if path, err = exec.LookPath("/usr/sbin/" + name); err != nil {
			t.Fatalf("%s is missing: run make deps", name)
		}
	}
	cmd := exec.Command(path, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	if stdin != nil {
		cmd.Stdin = stdin
	}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, stderr.String())
	}
	return string(out)
}

// unpackTree writes a tree's directories, files and links to a directory.
func unpackTree(t testing.TB, tr *tree.Tree) string {
	t.Helper()
	root := t.TempDir()
	for n := range tr.Walk() {
		p := filepath.Join(root, n.Path)
		var err error
		switch {
		case n.Mode.IsDir():
			err = os.MkdirAll(p, 0o755)
		case n.Mode&fs.ModeSymlink != 0:
			err = os.Symlink(n.Link, p)
		default:
			var b []byte
			if b, err = tr.ReadAll(n.Path); err == nil {
				err = os.WriteFile(p, b, 0o644)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}
