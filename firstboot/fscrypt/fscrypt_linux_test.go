package fscrypt

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func run(t *testing.T, argv ...string) {
	t.Helper()
	if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%q: %v\n%s", argv, err, out)
	}
}

// image is a file system of its own in a file, with or without encryption.
func image(t *testing.T, features string) (name string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("only root may mount: run the tests as root")
	}
	name = filepath.Join(t.TempDir(), "fs")
	if err := errors.Join(os.WriteFile(name, nil, 0o600), os.Truncate(name, 64<<20)); err != nil {
		t.Fatal(err)
	}
	run(t, "/usr/sbin/mke2fs", "-q", "-F", "-t", "ext4", "-O", features, name)
	return name
}

func mount(t *testing.T, name string) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "at")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mount", "-o", "loop", name, dir).CombinedOutput(); err != nil {
		t.Fatalf("mount (are there loop devices?): %v\n%s", err, out)
	}
	t.Cleanup(func() { _ = exec.Command("umount", dir).Run() })
	return dir
}

var key = bytes.Repeat([]byte("key."), 16)

// TestWhatIsWrittenIsEncrypted: names and contents are nowhere on the medium; they can be read with
// the key, and not without it.
func TestWhatIsWrittenIsEncrypted(t *testing.T) {
	const planted = "PLANTED-SECRET"
	name := image(t, "encrypt")
	dir := mount(t, name)
	tree := filepath.Join(dir, "lib", "tree")
	id, err := AddKey(dir, key)
	if err != nil {
		t.Fatal(err)
	}
	if err := Encrypt(tree, id, AES); err != nil {
		t.Fatal(err)
	}
	deep := filepath.Join(tree, "a", planted+"-name")
	if err := errors.Join(os.Mkdir(filepath.Dir(deep), 0o755), os.WriteFile(deep, []byte(strings.Repeat(planted, 1000)), 0o600), os.WriteFile(filepath.Join(dir, "clear"), []byte("IN-THE-CLEAR"), 0o600)); err != nil {
		t.Fatal(err)
	}
	if got, err := KeyOf(tree); got != id || err != nil {
		t.Errorf("%q, %v: want %q", got, err, id)
	}
	if has, err := HasKey(dir, id); !has || err != nil {
		t.Errorf("%v, %v", has, err)
	}
	run(t, "umount", dir)
	medium, err := os.ReadFile(name)
	if err != nil || !bytes.Contains(medium, []byte("IN-THE-CLEAR")) || bytes.Contains(medium, []byte(planted)) {
		t.Fatalf("the medium tells: %v", err)
	}

	dir = mount(t, name)
	deep, tree = filepath.Join(dir, "lib/tree/a", planted+"-name"), filepath.Join(dir, "lib/tree")
	if has, err := HasKey(dir, id); has || err != nil {
		t.Errorf("without the key: %v, %v", has, err)
	}
	if got, err := KeyOf(tree); got != id || err != nil {
		t.Errorf("without the key: %q, %v", got, err)
	}
	if _, err := os.Stat(deep); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without the key: %v", err)
	}
	if err := os.WriteFile(filepath.Join(tree, "new"), nil, 0o600); !errors.Is(err, unix.ENOKEY) {
		t.Errorf("written without the key: %v", err)
	}
	if other, err := AddKey(dir, key[:63]); other == id || err != nil {
		t.Errorf("another key is called %q, %v", other, err)
	}
	if again, err := AddKey(dir, key); again != id || err != nil {
		t.Fatalf("the same key is called %q, %v", again, err)
	}
	if got, err := os.ReadFile(deep); err != nil || len(got) != 1000*len(planted) {
		t.Errorf("with the key: %d bytes, %v", len(got), err)
	}
}

// TestRefusals: no existing content stays unencrypted in a directory that is called encrypted.
func TestRefusals(t *testing.T) {
	dir := mount(t, image(t, "encrypt"))
	id, err := AddKey(dir, key)
	if err != nil {
		t.Fatal(err)
	}
	full := filepath.Join(dir, "full")
	if err := errors.Join(os.Mkdir(full, 0o755), os.WriteFile(filepath.Join(full, "file"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if err := Encrypt(full, id, AES); !errors.Is(err, unix.ENOTEMPTY) {
		t.Errorf("a full directory: %v", err)
	}
	if got, err := KeyOf(full); got != "" || err != nil {
		t.Errorf("a plain directory: %q, %v", got, err)
	}
	if got, err := KeyOf(filepath.Join(dir, "absent")); got != "" || err != nil {
		t.Errorf("an absent one: %q, %v", got, err)
	}
	if err := Encrypt(filepath.Join(dir, "a"), strings.Repeat("0", 32), AES); err == nil {
		t.Errorf("a key that nobody gave: %v", err)
	}
	if err := Encrypt(filepath.Join(dir, "b"), "key", AES); err == nil {
		t.Error("no name of a key")
	}
	if _, err := AddKey(dir, nil); err == nil {
		t.Error("no key")
	}
}

// TestRenamesBetweenTrees of one key: what a trial's attic does.
func TestRenamesBetweenTrees(t *testing.T) {
	dir := mount(t, image(t, "encrypt"))
	id, err := AddKey(dir, key)
	if err != nil {
		t.Fatal(err)
	}
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	if err := errors.Join(Encrypt(a, id, AES), Encrypt(b, id, AES), os.Mkdir(filepath.Join(a, "store"), 0o755), os.WriteFile(filepath.Join(a, "store", "file"), []byte("x"), 0o600)); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(a, "store"), filepath.Join(b, "store")); err != nil {
		t.Error(err)
	}
	if text, err := os.ReadFile(filepath.Join(b, "store", "file")); string(text) != "x" || err != nil {
		t.Errorf("%q, %v", text, err)
	}
}

// TestWithoutTheFeature: an old file system says so.
func TestWithoutTheFeature(t *testing.T) {
	dir := mount(t, image(t, "^encrypt"))
	if _, err := AddKey(dir, key); !errors.Is(err, ErrUnsupported) {
		t.Error(err)
	}
	if id, err := KeyOf(dir); id != "" || err != nil {
		t.Errorf("%q, %v", id, err)
	}
}

// TestBest: whichever it is, it is one of the two.
func TestBest(t *testing.T) {
	if m := fmt.Sprint(Best()); m != fmt.Sprint(AES) && m != fmt.Sprint(Adiantum) {
		t.Error(m)
	}
}
