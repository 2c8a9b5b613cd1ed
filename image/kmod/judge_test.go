package kmod

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/going-mobile/imagebuilder/image/tree"
)

// TestJudge has the real depmod index the same modules, whole and pruned.
func TestJudge(t *testing.T) {
	tr := testTree(t)
	judge(t, tr, testVersion)
	removed, err := pruneTree(tr, testVersion, []string{"ext4", "genet", "nf_*"})
	if err != nil {
		t.Fatal(err)
	}
	if removed != 4 {
		t.Errorf("%d modules removed, want 4", removed)
	}
	judge(t, tr, testVersion)
	askModprobe(t, tr, testVersion, []string{"ext4", "genet", "fs-ext4", "nf-tables", "crypto-crc32c", "fuse", "fs-fuse", "of:NethernetT(null)Cbrcm,genet-v5"})
}

// judge compares the indexes that Depmod writes with those of depmod -b.
func judge(t *testing.T, tr *tree.Tree, version string) {
	t.Helper()
	depmod := os.Getenv("DEPMOD")
	if depmod == "" {
		depmod = "depmod"
	}
	root := unpackTree(t, tr)
	run(t, nil, depmod, "-b", root, version)
	if err := depmodTree(tr, version, testTime); err != nil {
		t.Fatal(err)
	}
	for _, name := range indexes {
		p := "usr/lib/modules/" + version + "/" + name
		want, err := os.ReadFile(filepath.Join(root, p))
		if os.IsNotExist(err) && name == "modules.weakdep" { // not before kmod 33
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		got, err := tr.ReadAll(p)
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case strings.HasSuffix(name, ".bin"):
			if d := cmp.Diff(mustIndex(t, name, want), mustIndex(t, name, got)); d != "" {
				t.Errorf("%s (-depmod +ours):\n%s", name, d)
			}
		case name == "modules.symbols":
			want = sortLines(want)
			fallthrough
		default:
			if d := cmp.Diff(string(want), string(got)); d != "" {
				t.Errorf("%s (-depmod +ours):\n%s", name, d)
			}
		}
		if n := tr.Get(p); n.Mode != 0o644 || !n.ModTime.Equal(testTime) {
			t.Errorf("%s: mode %v, time %v", name, n.Mode, n.ModTime)
		}
	}
}

// sortLines sorts all lines but the first.
func sortLines(b []byte) []byte {
	lines := strings.SplitAfter(string(b), "\n")
	slices.Sort(lines[1 : len(lines)-1])
	return []byte(strings.Join(lines, ""))
}

func mustIndex(t *testing.T, name string, b []byte) []Entry {
	t.Helper()
	entries, err := readIndex(b)
	if err != nil {
		t.Errorf("%s: %v", name, err)
	}
	if !slices.IsSortedFunc(entries, func(a, b Entry) int { return strings.Compare(a.Key, b.Key) }) {
		t.Errorf("%s: entries are not sorted", name)
	}
	return entries
}

// askModprobe has modprobe resolve names with the indexes of the tree. For
// modules it compares the list with Closure's: the same modules, and none
// before one that modules.dep says it needs. Those that do not need each
// other may come in another order.
func askModprobe(t *testing.T, tr *tree.Tree, version string, names []string) {
	t.Helper()
	root := unpackTree(t, tr)
	m, err := open(t.Context(), tr, version, Options{})
	if err != nil {
		t.Fatal(err)
	}
	needs := readDep(t, tr, version)
	for _, name := range names {
		out := run(t, nil, "modprobe", "-C", "/dev/null", "-d", root, "-S", version, "--show-depends", name)
		if m.files[normalise(name)] == nil { // an alias, or compiled in
			if !strings.Contains(out, "insmod ") && !strings.HasPrefix(out, "builtin ") {
				t.Errorf("modprobe %s: %q", name, out)
			}
			continue
		}
		want := map[string]bool{}
		for line := range strings.Lines(out) {
			if p, ok := strings.CutPrefix(strings.TrimSpace(line), "insmod "); ok {
				want[moduleName(p)] = true
			}
		}
		list, err := m.Closure([]string{name})
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		got := map[string]bool{}
		for _, x := range list {
			for _, dep := range needs[x.Name] {
				if !got[dep] {
					t.Errorf("%s: %s comes before %s, which it needs", name, x.Name, dep)
				}
			}
			got[x.Name] = true
			if x.Soft && !want[x.Name] { // libkmod heeds one softdep line of several
				want[x.Name] = true
			}
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: modules to load (-modprobe +ours):\n%s", name, d)
		}
	}
}

// readDep returns the lines of modules.dep by module.
func readDep(t *testing.T, tr *tree.Tree, version string) map[string][]string {
	t.Helper()
	text, err := tr.ReadAll("usr/lib/modules/" + version + "/modules.dep")
	if err != nil {
		t.Fatal(err)
	}
	needs := map[string][]string{}
	for line := range strings.Lines(string(text)) {
		p, deps, _ := strings.Cut(strings.TrimSpace(line), ":")
		needs[moduleName(p)] = []string{}
		for dep := range strings.FieldsSeq(deps) {
			needs[moduleName(p)] = append(needs[moduleName(p)], moduleName(dep))
		}
	}
	return needs
}

// nodeModules is about what a node with k3s and Longhorn keeps.
var nodeModules = []string{
	"ext4", "vfat", "nls_ascii", "nls_cp437", "squashfs", "overlay", "loop", "xfs", "btrfs", "cifs", "nfs", "nfsd", "nfsv4", "fuse",
	"iscsi_tcp", "dm_crypt", "dm-verity", "nvme-tcp", "virtio_blk", "virtio_net", "virtio-pci",
	"br_netfilter", "veth", "bridge", "vxlan", "wireguard", "tun", "ip_vs*", "nf_*", "nft_*", "xt_*", "iptable_*", "kernel/net/netfilter/",
	"usb-storage", "uas", "xhci-pci",
}

func hostTree(t *testing.T, root string) *tree.Tree {
	t.Helper()
	tr := tree.New()
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, p)
		fi, err := d.Info()
		if err != nil {
			return err
		}
		n := &tree.Node{Path: filepath.ToSlash(rel), Mode: fi.Mode(), ModTime: fi.ModTime(), Source: "host"}
		if fi.Mode()&fs.ModeSymlink != 0 {
			if n.Link, err = os.Readlink(p); err != nil {
				return err
			}
		}
		if fi.Mode().IsRegular() {
			b, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			n.Content = tree.Bytes(b)
		}
		return tr.Add(n)
	})
	if err != nil {
		t.Fatal(err)
	}
	return tr
}
