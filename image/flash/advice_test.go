package flash

import (
	"strings"
	"testing"
)

// TestSudoKeepsTheFleetsSecrets, which may be in the environment: sudo leaves that behind.
func TestSudoKeepsTheFleetsSecrets(t *testing.T) {
	for _, advice := range []string{asRoot, macAllowed} {
		if !strings.Contains(advice, "sudo --preserve-env=HEADSCALE_API_KEY,IMAGEBUILDER_AGE_IDENTITY") || !strings.Contains(advice, "{env: NAME}") {
			t.Error(advice)
		}
	}
}

// TestUnmount: the command can be pasted as it is.
func TestUnmount(t *testing.T) {
	for _, c := range []struct {
		system string
		d      Device
		want   string
	}{
		{"linux", Device{Path: "/dev/sdb", Mounts: []string{"/media/me/BOOT"}}, "umount /media/me/BOOT"},
		{"linux", Device{Path: "/dev/sdb", Mounts: []string{"/media/me/my card", "/media/me/my card/Zoë's"}}, `umount '/media/me/my card/Zoë'\''s' '/media/me/my card'`},
		{"darwin", Device{Path: "/dev/disk4", Mounts: []string{"/Volumes/BOOT", "/Volumes/DATA"}}, "diskutil unmountDisk /dev/disk4"},
		{"darwin", Device{Path: "/dev/disk4s1", Disk: "/dev/disk4", Mounts: []string{"/Volumes/BOOT"}}, "diskutil unmountDisk /dev/disk4"},
	} {
		if got := unmount(c.system, c.d); got != c.want {
			t.Errorf("%s, %s: %s, want %s", c.system, c.d.Path, got, c.want)
		}
	}
}
