package initramfs

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
)

// mke2fs knows what readExt4 has to find.
func TestReadExt4(t *testing.T) {
	name := filepath.Join(t.TempDir(), "fs")
	for _, test := range []struct {
		args  []string
		patch map[int64]byte // of the superblock, for sizes that take mke2fs minutes
		want  ext4
	}{
		{[]string{"-b", "4096", "-O", "metadata_csum,64bit"}, nil, ext4{16384, 4096}},
		{[]string{"-b", "1024", "-O", "^64bit"}, nil, ext4{65536, 1024}},
		{[]string{"-b", "4096", "-O", "64bit"}, map[int64]byte{0x150: 1}, ext4{1<<32 + 16384, 4096}},
		{[]string{"-b", "4096", "-O", "^64bit"}, map[int64]byte{0x150: 1}, ext4{16384, 4096}},
	} {
		if err := errors.Join(os.WriteFile(name, nil, 0o600), os.Truncate(name, 64*mib)); err != nil {
			t.Fatal(err)
		}
		judge(t, "", "mke2fs", append(append([]string{"-q", "-F", "-t", "ext4"}, test.args...), name)...)
		for off, b := range test.patch {
			patch(t, name, 1024+off, []byte{b})
		}
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		got, err := readExt4(f)
		f.Close()
		if err != nil || got != test.want {
			t.Errorf("%v: %+v %v, want %+v", test.args, got, err, test.want)
		}
	}
}

func patch(t *testing.T, name string, off int64, b []byte) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteAt(b, off)
	if err = errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestNoExt4(t *testing.T) {
	for what, b := range map[string][]byte{
		"short": make([]byte, 1500), "zero": make([]byte, 4096), "ones": bytes.Repeat([]byte{0xff}, 4096),
	} {
		if got, err := readExt4(bytes.NewReader(b)); err == nil {
			t.Errorf("%s: %+v", what, got)
		}
	}
}

func FuzzReadExt4(f *testing.F) {
	b := make([]byte, 2048)
	b[1024+0x38], b[1024+0x39], b[1024+4] = 0x53, 0xef, 9
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		if fs, err := readExt4(bytes.NewReader(b)); err == nil && fs.bytes() <= 0 {
			t.Errorf("%+v has %d bytes", fs, fs.bytes())
		}
	})
}

func TestVerdict(t *testing.T) {
	for code, want := range map[int]verdict{0: fsClean, 1: fsFixed, 2: fsFixed, 3: fsFixed, 4: fsDamaged, 5: fsDamaged, 8: fsDamaged, 12: fsDamaged, 32: fsDamaged, 128: fsDamaged, -1: fsDamaged} {
		if got := verdictOf(code); got != want {
			t.Errorf("e2fsck %d: %v", code, got)
		}
	}
}

func TestPersist(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"machine-id", "passwd", "ssh/ssh_host_rsa_key", "ssh/sshd_config", "iscsi/initiatorname.iscsi",
		"systemd/network/10-wired.network", "systemd/network/deep/er", "systemd/system/x.service", "rancher/k3s/config.yaml", "empty/"} {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(name, "/") {
			continue
		}
		if err := os.WriteFile(p, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "empty"), 0o755), os.Symlink("/var", filepath.Join(dir, "link"))); err != nil && !errors.Is(err, fs.ErrExist) {
		t.Fatal(err)
	}
	list, err := contract.ParsePersist("# comment\n\n/etc/machine-id\r\n/etc/ssh/ssh_host_*\n /etc/iscsi/initiatorname.iscsi\n/etc/systemd/network/\n/etc/rancher/*/\n")
	if err != nil {
		t.Fatal(err)
	}
	gone, err := pruneLayer(list, dir)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"/etc/link", "/etc/passwd", "/etc/ssh/sshd_config", "/etc/systemd/system/x.service"}
	if diff := cmp.Diff(want, gone); diff != "" {
		t.Error(diff)
	}
	var left []string
	filepath.WalkDir(dir, func(p string, _ fs.DirEntry, _ error) error {
		rel, _ := filepath.Rel(dir, p)
		left = append(left, rel)
		return nil
	})
	wantLeft := []string{".", "iscsi", "iscsi/initiatorname.iscsi", "machine-id", "rancher", "rancher/k3s", "rancher/k3s/config.yaml",
		"ssh", "ssh/ssh_host_rsa_key", "systemd", "systemd/network", "systemd/network/10-wired.network", "systemd/network/deep", "systemd/network/deep/er"}
	if diff := cmp.Diff(wantLeft, left); diff != "" {
		t.Error(diff)
	}
	for _, bad := range []string{"/var/lib", "etc/passwd", "/etc/[", "machine-id"} {
		if _, err := contract.ParsePersist(bad); err == nil {
			t.Errorf("%q accepted", bad)
		}
	}
}

func TestPage(t *testing.T) {
	err := fmt.Errorf("wrapped: %w", damagedData("sda, 32.0 GB, on USB", errors.New("e2fsck -p ended with 4")))
	page := asTrouble(err).page("imagebuilder rpi4 1", "Nothing more happens by itself.")
	for line := range strings.Lines(page) {
		if len(line) > 80 {
			t.Errorf("longer than a screen: %q", line)
		}
	}
	if n := strings.Count(page, "\n"); n > 25 {
		t.Errorf("%d lines do not fit a screen of 25:\n%s", n, page)
	}
	for _, want := range []string{"NEEDS A PERSON", "NOT formatted", "sda, 32.0 GB, on USB", contract.RepairFile, "e2fsck -p ended with 4", "imagebuilder rpi4 1"} {
		if !strings.Contains(page, want) {
			t.Errorf("%q is missing:\n%s", want, page)
		}
	}
	if got := asTrouble(errors.New("x")).page("", ""); !strings.Contains(got, "could not start its system") {
		t.Error(got)
	}
}
