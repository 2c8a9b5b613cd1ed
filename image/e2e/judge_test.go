//go:build e2e

package e2e

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/wear"
	"github.com/going-mobile/imagebuilder/image/inspect"
	"github.com/going-mobile/imagebuilder/image/tree"
)

func TestPartitionTableIsClean(t *testing.T) {
	eachBoard(t, func(t *testing.T, board, img string) {
		out := run(t, "sfdisk", "-V", img)
		if !strings.Contains(out, "No errors detected") {
			t.Errorf("sfdisk -V: %s", out)
		}
		if openImage(t, img).Layout.Scheme == contract.GPT {
			if out := run(t, "sgdisk", "-v", img); !strings.Contains(out, "No problems found") {
				t.Errorf("sgdisk -v: %s", out)
			}
		}
	})
}

func TestBootPartitionIsClean(t *testing.T) {
	eachBoard(t, func(t *testing.T, board, img string) {
		part := extract(t, img, 0)
		out := run(t, "fsck.fat", "-n", "-v", part)
		for _, word := range []string{"differ", "bad", "Wrong", "Unused", "Reclaimed", "dirty", "Free cluster summary wrong"} {
			if strings.Contains(out, word) {
				t.Errorf("fsck.fat -n says %q:\n%s", word, out)
			}
		}
		if out := run(t, "mdir", "-i", part, "-b", "::"); !strings.Contains(out, "node.yaml") {
			t.Errorf("mtools sees no node.yaml:\n%s", out)
		}
	})
}

// TestRootIsWhatUnsquashfsSees compares every entry of the root, as squashfs'
// own tool extracts it, with the tree that our reader has.
func TestRootIsWhatUnsquashfsSees(t *testing.T) {
	if os.Getuid() != 0 {
		t.Fatal("owners and devices can only be extracted by root: run the tests as root")
	}
	eachBoard(t, func(t *testing.T, board, img string) {
		dir, part := filepath.Join(t.TempDir(), "root"), extract(t, img, 1)
		isWhole(t, part)
		run(t, "unsquashfs", "-no-progress", "-d", dir, part)
		root := rootOf(t, img)
		want := map[string]string{}
		for n := range root.Walk() {
			want[n.Path] = describe(t, root, n)
		}
		have := map[string]string{}
		err := filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			rel, _ := filepath.Rel(dir, p)
			have[rel] = describeHost(t, p)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		compare(t, want, have)
	})
}

// isWhole asks a slot what a node asks it once a month.
func isWhole(t *testing.T, part string) {
	t.Helper()
	f, err := os.Open(part)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := wear.Check(t.Context(), f); err != nil {
		t.Error(err)
	}
}

// describe is one line about a node: type, mode, owner, time, and content or
// target.
func describe(t *testing.T, tr *tree.Tree, n *tree.Node) string {
	head := fmt.Sprintf("%v %d:%d %d", n.Mode, n.UID, n.GID, n.ModTime.Unix())
	switch {
	case n.Mode&fs.ModeSymlink != 0:
		return head + " -> " + n.Link
	case n.Mode.IsRegular():
		c := n.Content
		if n.IsHardLink() {
			c = tr.Get(n.Link).Content
		}
		return fmt.Sprintf("%s %d %s", head, c.Size(), c.SHA256())
	}
	return head
}

func describeHost(t *testing.T, p string) string {
	info, err := os.Lstat(p)
	if err != nil {
		t.Fatal(err)
	}
	st := info.Sys().(*syscall.Stat_t)
	head := fmt.Sprintf("%v %d:%d %d", info.Mode(), st.Uid, st.Gid, info.ModTime().Unix())
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		target, err := os.Readlink(p)
		if err != nil {
			t.Fatal(err)
		}
		return head + " -> " + target
	case info.Mode().IsRegular():
		return fmt.Sprintf("%s %d %s", head, info.Size(), hashFile(t, p))
	}
	return head
}

func hashFile(t *testing.T, p string) string {
	f, err := os.Open(p)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(h.Sum(nil))
}

func compare(t *testing.T, want, have map[string]string) {
	t.Helper()
	if len(want) < 2000 {
		t.Errorf("the tree has only %d entries", len(want))
	}
	bad := 0
	for p, w := range want {
		if have[p] != w && bad < 20 {
			bad++
			t.Errorf("/%s:\n have %s\n want %s", p, have[p], w)
		}
	}
	for p := range have {
		if _, ok := want[p]; !ok {
			t.Errorf("/%s is in the squashfs, not in the tree", p)
		}
	}
}

// TestKernelMountsTheRoot has the kernel's own squashfs read every byte.
func TestKernelMountsTheRoot(t *testing.T) {
	img := image(t, "generic-amd64")
	part := extract(t, img, 1)
	dir := t.TempDir()
	run(t, "mount", "-o", "loop,ro", "-t", "squashfs", part, dir)
	defer run(t, "umount", dir)
	run(t, "tar", "-C", dir, "-cf", "/dev/null", ".")
}

// TestModuleIndexesAreDepmods runs the real depmod over the shipped modules.
func TestModuleIndexesAreDepmods(t *testing.T) {
	eachBoard(t, func(t *testing.T, board, img string) {
		root := rootOf(t, img)
		release, err := inspect.Kernel(root)
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		modules := "usr/lib/modules/" + release
		writeOut(t, root, modules, dir)
		if err := os.Symlink("usr/lib", filepath.Join(dir, "lib")); err != nil {
			t.Fatal(err)
		}
		ours := readIndexes(t, filepath.Join(dir, modules))
		run(t, "depmod", "-b", dir, release)
		theirs := readIndexes(t, filepath.Join(dir, modules))
		for _, name := range []string{"modules.dep", "modules.alias", "modules.softdep", "modules.symbols", "modules.devname"} {
			if ours[name] != theirs[name] {
				t.Errorf("%s differs from depmod's:\n%s", name, firstDifference(ours[name], theirs[name]))
			}
		}
		for _, alias := range []string{"iscsi_tcp", "dm_crypt", "nfsv4", "vxlan", "wireguard", "overlay", "br_netfilter"} {
			run(t, "modprobe", "-d", dir, "-S", release, "--show-depends", alias)
		}
	})
}

// readIndexes returns the text indexes with their lines sorted: kmod 30 and 34
// order some of them differently.
func readIndexes(t *testing.T, dir string) map[string]string {
	out := map[string]string{}
	files, _ := filepath.Glob(filepath.Join(dir, "modules.*"))
	for _, f := range files {
		if strings.HasSuffix(f, ".bin") {
			continue
		}
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSpace(string(data)), "\n")
		lines = slices.DeleteFunc(lines, func(l string) bool { return strings.HasPrefix(l, "#") })
		slices.Sort(lines)
		out[filepath.Base(f)] = strings.Join(slices.Compact(lines), "\n")
	}
	return out
}

func firstDifference(a, b string) string {
	la, lb := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range min(len(la), len(lb)) {
		if la[i] != lb[i] {
			return fmt.Sprintf("line %d\n ours   %s\n theirs %s", i+1, la[i], lb[i])
		}
	}
	return fmt.Sprintf("%d lines against %d", len(la), len(lb))
}

var initrdModule = regexp.MustCompile(`\.ko(\.xz)?\n`)

// TestInitramfsIsACpio unpacks what the kernel will.
func TestInitramfsIsACpio(t *testing.T) {
	eachBoard(t, func(t *testing.T, board, img string) {
		data, err := openImage(t, img).BootFile("a/initrd.img")
		if err != nil {
			t.Fatal(err)
		}
		judgeInitramfs(t, data)
	})
}

func judgeInitramfs(t *testing.T, data []byte) {
	t.Helper()
	for bytes.HasPrefix(data, []byte("070701")) { // microcode
		at := bytes.Index(data, []byte("\x28\xb5\x2f\xfd")) // of zstd
		if at < 0 {
			t.Fatal("there is no initramfs behind the microcode")
		}
		data = data[at:]
	}
	initrd := filepath.Join(t.TempDir(), "initrd")
	if err := os.WriteFile(initrd, data, 0o644); err != nil {
		t.Fatal(err)
	}
	out := run(t, "sh", "-c", "zstd -dc "+initrd+" | cpio -t --quiet")
	if !strings.Contains("\n"+out, "\ninit\n") || len(initrdModule.FindAllString(out, -1)) < 15 {
		t.Errorf("the initramfs holds:\n%s", out)
	}
	if out := run(t, "lsinitramfs", initrd); !strings.Contains(out, "init") {
		t.Errorf("lsinitramfs: %s", out)
	}
}

func TestDpkgReadsTheDatabase(t *testing.T) {
	eachBoard(t, func(t *testing.T, board, img string) {
		dir := t.TempDir()
		writeOut(t, rootOf(t, img), "usr/lib/imagebuilder/dpkg", dir)
		admin := "--admindir=" + filepath.Join(dir, "usr/lib/imagebuilder/dpkg")
		for _, pkg := range []string{"nfs-common", "open-iscsi", "cryptsetup", "dmsetup", "bash"} {
			out := run(t, "dpkg-query", admin, "-W", "-f", "${db:Status-Abbrev}", pkg)
			if !strings.HasPrefix(out, "ii") {
				t.Errorf("%s: %s", pkg, out)
			}
		}
		if out := run(t, "dpkg-query", admin, "-L", "bash"); !strings.Contains(out, "/bash") {
			t.Errorf("dpkg-query -L bash: %s", out)
		}
	})
}
