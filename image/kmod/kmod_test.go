package kmod

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/going-mobile/imagebuilder/image/fetch"
	"github.com/going-mobile/imagebuilder/image/tree"
)

// modulesOf lists what is below the kernel's directory.
func modulesOf(tr *tree.Tree) string {
	var b strings.Builder
	for n := range tr.Walk() {
		if rel, ok := strings.CutPrefix(n.Path, "usr/lib/modules/"+testVersion+"/"); ok && !strings.HasPrefix(rel, "modules.") {
			fmt.Fprintln(&b, rel)
		}
	}
	return b.String()
}

func TestPrune(t *testing.T) {
	tr := testTree(t)
	if err := depmodTree(tr, testVersion, testTime); err != nil {
		t.Fatal(err)
	}
	removed, err := pruneTree(tr, testVersion, []string{"mdio_bcm-unimac", "encrypted_keys", "kernel/drivers/block/", "extra", "ext*"})
	if err != nil {
		t.Fatal(err)
	}
	want := `build
kernel
kernel/arch
kernel/arch/x86
kernel/arch/x86/crypto
kernel/arch/x86/crypto/crc32c-intel.ko
kernel/crypto
kernel/crypto/crc32c_generic.ko.xz
kernel/crypto/sha9.ko
kernel/drivers
kernel/drivers/block
kernel/drivers/block/loop.ko
kernel/drivers/net
kernel/drivers/net/libphy.ko.xz
kernel/drivers/net/mdio-bcm-unimac.ko
kernel/drivers/net/of_mdio.ko
kernel/fs
kernel/fs/ext4
kernel/fs/ext4/ext4.ko.xz
kernel/fs/jbd2
kernel/fs/jbd2/jbd2.ko.zst
kernel/fs/mbcache.ko
kernel/lib
kernel/lib/crc16.ko.xz
updates
updates/dkms
updates/dkms/extra.ko
`
	if d := cmp.Diff(want, modulesOf(tr)); d != "" || removed != 6 {
		t.Errorf("%d removed (-want +got):\n%s", removed, d)
	}
	if tr.Get("usr/lib/modules/"+testVersion+"/modules.dep") != nil {
		t.Error("a stale index stays")
	}
	order, err := tr.ReadAll("usr/lib/modules/" + testVersion + "/modules.order")
	if err != nil || strings.Count(string(order), "\n") != 12 {
		t.Errorf("modules.order is %q, %v", order, err)
	}
}

// TestLost: an uncompressed module is there, and what is not says why.
func TestLost(t *testing.T) {
	tr := testTree(t)
	m, err := Select(t.Context(), tr, testVersion, []string{"ext4", "extra"}, testTime, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for n := range tr.Walk() {
		if n.Mode.IsRegular() && m.files[moduleName(n.Path)] != nil && m.Lost(n) != "" {
			t.Errorf("/%s: %s", n.Path, m.Lost(n))
		}
	}
	for rel, want := range map[string]string{
		"kernel/fs/fuse.ko":     "name fuse under modules:",
		"kernel/misc/ext4.ko":   "/kernel/fs/ext4/ext4.ko, by test, is taken for the kernel module ext4",
		"modules.dep":           "is written by the build itself",
		"kernel/fs/fuse/README": "the build removes it",
	} {
		got := strings.ReplaceAll(m.Lost(&tree.Node{Path: m.dir + "/" + rel, Source: "overlay own"}), m.dir+"/", "")
		if !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", rel, got, want)
		}
	}
}

func TestClosure(t *testing.T) {
	for _, c := range []struct{ names, want string }{
		{"", ""},
		{"fuse encrypted-keys", ""},
		{"libphy", "libphy"},
		{"genet", "libphy ~of_mdio ~mdio_bcm_unimac genet ~broadcom"},
		{"genet mdio-bcm-unimac", "libphy of_mdio mdio_bcm_unimac genet ~broadcom"},
		{"ext4", "jbd2 mbcache crc16 ~crc32c_intel ~crc32c_generic ext4"},
		{"extra", "~loop extra"},
		{"nf_nat nf_tables", "nf_lib nf_nat nf_tables"},
	} {
		list, err := closureTree(testTree(t), testVersion, strings.Fields(c.names))
		if err != nil {
			t.Errorf("%s: %v", c.names, err)
		}
		var got []string
		for _, m := range list {
			if m.Soft {
				m.Name = "~" + m.Name
			}
			got = append(got, m.Name)
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%s: %s, want %s", c.names, s, c.want)
		}
	}
}

// TestOldNamesMeanWhatNewerKernelsHave: aes_generic of 6.12 is compiled into 7.3
// as aes, and where it is neither it stays unknown.
func TestOldNamesMeanWhatNewerKernelsHave(t *testing.T) {
	tr := testTree(t)
	if _, err := pruneTree(tr, testVersion, []string{"ext4", "aes_generic"}); err == nil || !strings.Contains(err.Error(), `no module "aes_generic"`) {
		t.Errorf("without either: %v", err)
	}
	n := tr.Get("usr/lib/modules/" + testVersion + "/modules.builtin").Clone()
	n.Content = tree.String(testBuiltin + "kernel/crypto/aes.ko\n")
	if err := tr.Put(n); err != nil {
		t.Fatal(err)
	}
	if _, err := pruneTree(tr, testVersion, []string{"ext4", "aes_generic"}); err != nil {
		t.Error(err)
	}
}

func TestUnknownNames(t *testing.T) {
	for name, want := range map[string]string{
		"ext5":             "did you mean ext4",
		"encrypted_kees":   "did you mean encrypted_keys",
		"nft":              `no module "nft"`,
		"libph":            "did you mean libphy",
		"zz_*":             `"zz_*" matches no module`,
		"kernel/sound/":    `"kernel/sound/" matches no module`,
		"kernel/fs/ext4":   `no module "kernel/fs/ext4"`,
		"[":                `no module "["`,
		"quite-other-name": `no module "quite-other-name" in /usr/lib/modules/` + testVersion,
	} {
		_, err := pruneTree(testTree(t), testVersion, []string{"ext4", name})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", name, err, want)
		}
	}
	if _, err := closureTree(testTree(t), testVersion, []string{"ext5"}); err == nil {
		t.Error("Closure knows ext5")
	}
	for _, version := range []string{"", "6.11", "..", "a/b"} {
		if err := depmodTree(testTree(t), version, testTime); err == nil {
			t.Errorf("kernel %q found", version)
		}
	}
}

// TestBadModules holds trees that must be refused.
func TestBadModules(t *testing.T) {
	for name, c := range map[string]struct {
		file string
		data []byte
		want string
	}{
		"not ELF":     {"kernel/bad.ko", []byte("#!/bin/sh"), "bad.ko: not a kernel module: no ELF file"},
		"not xz":      {"kernel/bad.ko.xz", []byte("#!/bin/sh"), "bad.ko.xz: xz: "},
		"truncated":   {"kernel/bad.ko", ko{}.build()[:200], "bad.ko: not a kernel module"},
		"cycle":       {"kernel/bad.ko", ko{exports: []string{"b"}, needs: []string{"b"}}.build(), "dependency cycle among the modules bad"},
		"high alias":  {"kernel/bad.ko", ko{modinfo: []string{"alias=\xc3\xa4"}}.build(), "7-bit ASCII"},
		"missing dep": {"kernel/bad.ko", ko{modinfo: []string{"depends=nothing"}}.build(), "bad.ko needs the module nothing"},
		"dep cycle":   {"kernel/bad.ko", ko{modinfo: []string{"depends=bad"}}.build(), "bad.ko: dependency cycle"},
	} {
		tr := testTree(t)
		err := tr.Add(&tree.Node{Path: path.Join("usr/lib/modules", testVersion, c.file), Mode: 0o644, Content: tree.Bytes(c.data)})
		if err != nil {
			t.Fatal(err)
		}
		err = depmodTree(tr, testVersion, testTime)
		if strings.Contains(name, "dep") {
			_, err = closureTree(tr, testVersion, []string{"bad"})
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", name, err, c.want)
		}
	}
}

// TestCache builds twice: the second time no module may be opened.
func TestCache(t *testing.T) {
	cache, err := fetch.OpenCache(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	build := func(tr *tree.Tree) string {
		t.Helper()
		m, err := open(t.Context(), tr, testVersion, Options{Remember: cache.Remember})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := m.prune([]string{"ext4", "genet"}); err != nil {
			t.Fatal(err)
		}
		if err := m.depmod(testTime); err != nil {
			t.Fatal(err)
		}
		list, err := m.Closure([]string{"genet"})
		if err != nil {
			t.Fatal(err)
		}
		return modulesOf(tr) + fmt.Sprint(list) + sums(tr)
	}
	first := build(testTree(t))
	closed := testTree(t)
	for n := range closed.Walk() {
		if moduleName(n.Path) != "" {
			n = n.Clone()
			n.Content = unopenable{n.Content}
			if err := closed.Put(n); err != nil {
				t.Fatal(err)
			}
		}
	}
	if d := cmp.Diff(first, build(closed)); d != "" {
		t.Errorf("the second build differs:\n%s", d)
	}
	damaged := damage(t, cache)
	m, err := open(t.Context(), testTree(t), testVersion, Options{Remember: cache.Remember})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.prune([]string{"ext4", "genet"}); !errors.As(err, new(*fetch.DamagedError)) {
		t.Errorf("a damaged result: %v", err)
	}
	if err := cache.Drop(cacheKind, damaged); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(first, build(testTree(t))); d != "" {
		t.Errorf("a damaged cache shows:\n%s", d)
	}
}

// TestUnpacked: an image's modules are not compressed, whatever Debian's are, and the
// indexes name what is there; the second time none is opened for that.
func TestUnpacked(t *testing.T) {
	cache, err := fetch.OpenCache(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	from := testTree(t)
	m, err := Select(t.Context(), from, testVersion, []string{"ext4", "genet"}, testTime, Options{Remember: cache.Remember})
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(modulesOf(m.Tree()), ".ko.") || !strings.Contains(modulesOf(m.Tree()), "kernel/fs/ext4/ext4.ko\n") {
		t.Errorf("modules:\n%s", modulesOf(m.Tree()))
	}
	dep, err := m.Tree().ReadAll(m.dir + "/modules.dep")
	if err != nil || strings.Contains(string(dep), ".ko.") || !strings.Contains(string(dep), "kernel/fs/ext4/ext4.ko: ") {
		t.Errorf("modules.dep: %s, %v", dep, err)
	}
	for name, ending := range map[string]string{"kernel/fs/ext4/ext4.ko": ".xz", "kernel/fs/jbd2/jbd2.ko": ".zst", "kernel/fs/mbcache.ko": ""} {
		was := from.Get(m.dir + "/" + name + ending)
		f, err := was.Content.Open()
		if err != nil {
			t.Fatal(err)
		}
		want, err := decompress(was.Path, f)
		if err != nil {
			t.Fatal(err)
		}
		got, err := m.Tree().ReadAll(m.dir + "/" + name)
		now := m.Tree().Get(m.dir + "/" + name)
		if err != nil || string(got) != string(want) || now.Content.Size() != int64(len(want)) || now.Content.SHA256() != tree.Bytes(want).SHA256() || now.Mode != was.Mode || !now.ModTime.Equal(was.ModTime) {
			t.Errorf("%s: %d bytes, want %d, %v", name, len(got), len(want), err)
		}
	}
	closed := from.Clone()
	for n := range from.Walk() {
		if moduleName(n.Path) != "" {
			n = n.Clone()
			n.Content = unopenable{n.Content}
			if err := closed.Put(n); err != nil {
				t.Fatal(err)
			}
		}
	}
	again, err := Select(t.Context(), closed, testVersion, []string{"ext4", "genet"}, testTime, Options{Remember: cache.Remember})
	if err != nil || modulesOf(again.Tree()) != modulesOf(m.Tree()) || sums(again.Tree()) != sums(m.Tree()) {
		t.Errorf("again: %v", err)
	}
}

// sums lists the digests of the indexes.
func sums(tr *tree.Tree) string {
	var b strings.Builder
	for _, name := range indexes {
		fmt.Fprintln(&b, name, tr.Get("usr/lib/modules/"+testVersion+"/"+name).Content.SHA256())
	}
	return b.String()
}

type unopenable struct{ tree.Content }

func (unopenable) Open() (io.ReadCloser, error) { return nil, fmt.Errorf("opened") }

// damage flips a bit of what was pruned, and returns its key.
func damage(t *testing.T, c *fetch.Cache) string {
	t.Helper()
	tr := testTree(t)
	m, err := open(t.Context(), tr, testVersion, Options{})
	if err != nil {
		t.Fatal(err)
	}
	key := m.fingerprint("prune", "ext4", "genet")
	f, err := c.Derive(t.Context(), cacheKind, key, nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(f.Path())
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)-1] ^= 1
	if err := os.WriteFile(f.Path(), b, 0o644); err != nil {
		t.Fatal(err)
	}
	return key
}

// TestTheTablesAreRemembered: a list that was made with another table is another list.
func TestTheTablesAreRemembered(t *testing.T) {
	m, err := open(t.Context(), testTree(t), testVersion, Options{})
	if err != nil {
		t.Fatal(err)
	}
	before := m.fingerprint("prune", "ext4")
	requests["test"] = []string{"ext4"}
	asked := m.fingerprint("prune", "ext4")
	delete(requests, "test")
	renamed["test"] = "ext4"
	called := m.fingerprint("prune", "ext4")
	delete(renamed, "test")
	if before == asked || before == called || before != m.fingerprint("prune", "ext4") {
		t.Errorf("%s, %s, %s", before, asked, called)
	}
}
