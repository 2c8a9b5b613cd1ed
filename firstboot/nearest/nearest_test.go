package nearest_test

import (
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/firstboot/nearest"
)

func TestName(t *testing.T) {
	boards := []string{"generic-amd64", "generic-arm64", "optiplex-7050", "rpi4"}
	for word, want := range map[string]string{
		"rpi": "rpi4", "rpi5": "rpi4", "RPI4": "rpi4", "optiplex7050": "optiplex-7050", "generic-adm64": "generic-amd64",
		"opti": "optiplex-7050", "": "", "o": "", "toaster": "", strings.Repeat("a", 100): "",
	} {
		if got := nearest.Name(word, boards); got != want {
			t.Errorf("%q: %q, want %q", word, got, want)
		}
	}
}

func TestNames(t *testing.T) {
	known := []string{"ext2", "ext4", "ext4", "ext3", "extcon", "f2fs", "vfat"}
	for word, want := range map[string]string{"ext5": "ext2 ext3 ext4", "ext": "ext2 ext3 ext4", "extc": "ext2 ext3 ext4", "vafT": "vfat", "fsck": ""} {
		if got := strings.Join(nearest.Names(word, known, 3), " "); got != want {
			t.Errorf("%q: %q, want %q", word, got, want)
		}
	}
}

func TestSlip(t *testing.T) {
	known := []string{"ssh.service", "apt-daily.timer", "systemd-update-done.service", "ssh", "k3s"}
	for word, want := range map[string]string{"sshd.service": "ssh.service", "atp-dialy.timer": "apt-daily.timer", "ssh.socket": "", "sssd": "", "nfs": "", "sshd": "ssh",
		"systemd-boot-update.service": "", "": "", "x": ""} {
		if got := nearest.Slip(word, known); got != want {
			t.Errorf("%q: %q, want %q", word, got, want)
		}
	}
}
