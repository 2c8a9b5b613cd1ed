package initramfs

import "testing"

func TestWhatFirmwareStarts(t *testing.T) {
	for arch, want := range map[string]string{"amd64": `\EFI\BOOT\BOOTX64.EFI`, "arm64": `\EFI\BOOT\BOOTAA64.EFI`} {
		if got := efiFile(arch); got != want {
			t.Errorf("%s: %s", arch, got)
		}
	}
}
