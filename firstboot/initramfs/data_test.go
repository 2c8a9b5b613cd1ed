package initramfs

import (
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
	err := fmt.Errorf("wrapped: %w", damagedData("sda, 32.0 GB, on USB", contract.MBR, errors.New("e2fsck -p ended with 4")))
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

// A disk that the BIOS hides is no cable to check, and the page that says so
// fits the screen.
func TestPageOfAHiddenDisk(t *testing.T) {
	page := noDisk(contract.Args{DiskID: guidA}, espA, 1).page("imagebuilder optiplex-7050 1", "This computer keeps looking and goes on by itself once the disk is there.")
	words := strings.Join(strings.Fields(page), " ")
	for _, want := range []string{"hides an NVMe disk behind its RAID setting", "press F2", "set SATA Operation to AHCI", guidA} {
		if !strings.Contains(words, want) {
			t.Errorf("%q is missing:\n%s", want, page)
		}
	}
	if n := strings.Count(page, "\n"); n > 25 {
		t.Errorf("%d lines do not fit a screen of 25:\n%s", n, page)
	}
	if page := noDisk(contract.Args{}, "", 0).page("", ""); strings.Contains(page, "RAID") {
		t.Error(page)
	}
}
