//go:build linux

package squashfs

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/going-mobile/imagebuilder/image/tree"
)

// hostTree reads a directory of the host, the way root or unsquashfs left it,
// including owners, devices, hard links and attributes.
func hostTree(tb testing.TB, dir string) *tree.Tree {
	tb.Helper()
	t := tree.New()
	first := map[uint64]string{}
	err := filepath.WalkDir(dir, func(name string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		n, ino, err := hostNode(dir, name)
		if err != nil {
			return err
		}
		if n.Mode.IsRegular() {
			if target, ok := first[ino]; ok {
				n.Link, n.Content = target, nil
			} else {
				first[ino] = n.Path
			}
		}
		return t.Put(n)
	})
	if err != nil {
		tb.Fatal(err)
	}
	return t
}

func hostNode(dir, name string) (*tree.Node, uint64, error) {
	info, err := os.Lstat(name)
	if err != nil {
		return nil, 0, err
	}
	rel, err := filepath.Rel(dir, name)
	if err != nil {
		return nil, 0, err
	}
	st := info.Sys().(*syscall.Stat_t)
	n := &tree.Node{Path: filepath.ToSlash(rel), Mode: info.Mode(), UID: st.Uid, GID: st.Gid, ModTime: info.ModTime(), Source: "host"}
	n.Xattrs, err = hostXattrs(name)
	if err != nil {
		return nil, 0, err
	}
	switch {
	case info.Mode().IsRegular():
		n.Content, err = hostContent(name, info.Size())
	case info.Mode()&fs.ModeSymlink != 0:
		n.Link, err = os.Readlink(name)
	case info.Mode()&fs.ModeDevice != 0:
		n.Dev = tree.Dev{Major: unix.Major(st.Rdev), Minor: unix.Minor(st.Rdev)}
	}
	return n, st.Ino, err
}

func hostContent(name string, size int64) (tree.Content, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return nil, err
	}
	return tree.File(name, size, hex.EncodeToString(h.Sum(nil))), nil
}

func hostXattrs(name string) (map[string][]byte, error) {
	buf := make([]byte, 64<<10)
	n, err := unix.Llistxattr(name, buf)
	if err == unix.EOPNOTSUPP || n == 0 { // what a squashfs without attributes says
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	m := map[string][]byte{}
	for _, attr := range splitNUL(buf[:n]) {
		value := make([]byte, 64<<10)
		n, err := unix.Lgetxattr(name, attr, value)
		if err != nil {
			return nil, err
		}
		m[attr] = value[:n]
	}
	return m, nil
}

func splitNUL(b []byte) (out []string) {
	for start, i := 0, 0; i < len(b); i++ {
		if b[i] == 0 {
			out, start = append(out, string(b[start:i])), i+1
		}
	}
	return out
}

// judgeExtraction extracts the image with unsquashfs and compares every entry.
// Only root may make devices and give files away.
func judgeExtraction(t *testing.T, name string, want *tree.Tree) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Log("NOT ROOT: no extraction, only the listing of unsquashfs was compared")
		return
	}
	dir := filepath.Join(t.TempDir(), "root")
	run(t, "unsquashfs", "-quiet", "-no-progress", "-d", dir, name)
	compare(t, "unsquashfs", want, hostTree(t, dir))
}

// judgeKernel mounts the image and compares every entry; reading it through the
// directories and by name uses listings and their indexes alike.
func judgeKernel(t *testing.T, name string, want *tree.Tree) {
	t.Helper()
	if dir, ok := mount(t, name); ok {
		compare(t, "kernel", want, hostTree(t, dir))
	}
}

func judgeHugeHole(t *testing.T, name string, size int64) {
	t.Helper()
	dir, ok := mount(t, name)
	if !ok {
		return
	}
	f, err := os.Open(filepath.Join(dir, "huge"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 10)
	if _, err := f.ReadAt(b, size-10); err != nil || string(b) != "\x00\x00\x00\x00\x00hello" {
		t.Errorf("end of the huge file: %q, %v", b, err)
	}
	var st syscall.Stat_t
	if err := syscall.Fstat(int(f.Fd()), &st); err != nil || st.Size != size || st.Blocks != 1 {
		t.Errorf("size %d, %d blocks, %v", st.Size, st.Blocks, err)
	}
}

// mount mounts an image until the test ends. Where the kernel cannot even mount
// what mksquashfs made, it says so and returns false.
func mount(t *testing.T, name string) (string, bool) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Log("NOT ROOT: the kernel has not judged this image, only unsquashfs")
		return "", false
	}
	dir := t.TempDir()
	out, err := exec.Command("mount", "-t", "squashfs", "-o", "loop,ro", name, dir).CombinedOutput()
	if err == nil {
		t.Cleanup(func() { run(t, "umount", dir) })
		return dir, true
	}
	reference := filepath.Join(t.TempDir(), "reference")
	run(t, "mksquashfs", t.TempDir(), reference, "-comp", "zstd", "-quiet", "-no-progress")
	if _, err := exec.Command("mount", "-t", "squashfs", "-o", "loop,ro", reference, dir).CombinedOutput(); err == nil {
		run(t, "umount", dir)
		t.Fatalf("the kernel mounts an image of mksquashfs, but not ours: %s", out)
	}
	t.Logf("THE KERNEL HERE CANNOT MOUNT SQUASHFS IMAGES: it has not judged this one, only unsquashfs has (%s)", out)
	return "", false
}
