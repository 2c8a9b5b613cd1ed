package qemu

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// uefi lists where distributions install a UEFI build for QEMU: its code, and the template
// of its variable store.
type uefi struct {
	arch, debian string
	pairs        [][2]string
	// own are the names of the build that comes with QEMU itself.
	own [2]string
	// secure are the builds with Secure Boot enabled and Microsoft's keys, as in machines on
	// sale.
	secure [][2]string
	// setup are the builds that support Secure Boot and have no keys yet (setup mode).
	setup [][2]string
}

var (
	ovmf = uefi{arch: "amd64", debian: "ovmf", pairs: [][2]string{
		{"/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"},
		{"/usr/share/edk2/x64/OVMF_CODE.4m.fd", "/usr/share/edk2/x64/OVMF_VARS.4m.fd"},
		{"/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"},
		{"/opt/homebrew/share/qemu/edk2-x86_64-code.fd", "/opt/homebrew/share/qemu/edk2-i386-vars.fd"},
		{"/usr/local/share/qemu/edk2-x86_64-code.fd", "/usr/local/share/qemu/edk2-i386-vars.fd"},
	}, own: [2]string{"edk2-x86_64-code.fd", "edk2-i386-vars.fd"}, secure: [][2]string{
		{"/usr/share/OVMF/OVMF_CODE_4M.ms.fd", "/usr/share/OVMF/OVMF_VARS_4M.ms.fd"},
		{"/usr/share/edk2/ovmf/OVMF_CODE.secboot.fd", "/usr/share/edk2/ovmf/OVMF_VARS.secboot.fd"},
	}, setup: [][2]string{
		{"/usr/share/OVMF/OVMF_CODE_4M.secboot.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"},
		{"/usr/share/edk2/ovmf/OVMF_CODE.secboot.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"},
	}}
	aavmf = uefi{arch: "arm64", debian: "qemu-efi-aarch64", pairs: [][2]string{
		{"/usr/share/AAVMF/AAVMF_CODE.fd", "/usr/share/AAVMF/AAVMF_VARS.fd"},
		{"/usr/share/edk2/aarch64/QEMU_CODE.fd", "/usr/share/edk2/aarch64/QEMU_VARS.fd"},
		{"/opt/homebrew/share/qemu/edk2-aarch64-code.fd", "/opt/homebrew/share/qemu/edk2-arm-vars.fd"},
		{"/usr/local/share/qemu/edk2-aarch64-code.fd", "/usr/local/share/qemu/edk2-arm-vars.fd"},
	}, own: [2]string{"edk2-aarch64-code.fd", "edk2-arm-vars.fd"}, secure: [][2]string{
		{"/usr/share/AAVMF/AAVMF_CODE.ms.fd", "/usr/share/AAVMF/AAVMF_VARS.ms.fd"},
	}}
)

// firmware returns the code and the run's own copy of the variable store, which keeps boot
// entries over reboots. The store with keys has a name of its own: with a store without
// keys, everything would boot.
func (c *Config) firmware(u uefi, binary string) (code, vars string, err error) {
	pairs, name, kind := append(slices.Clip(u.pairs), u.beside(binary)...), "uefi-vars.fd", "UEFI firmware"
	switch {
	case c.SecureBoot && c.SetupMode:
		pairs, name, kind = u.setup, "uefi-own-vars.fd", "UEFI firmware that waits for keys"
	case c.SecureBoot:
		pairs, name, kind = u.secure, "uefi-secure-vars.fd", "UEFI firmware with Microsoft's keys"
	}
	for _, pair := range pairs {
		if _, err := os.Stat(pair[0]); err != nil {
			continue
		}
		vars = filepath.Join(c.Dir, name)
		if err := copyOnce(pair[1], vars); err != nil {
			return "", "", err
		}
		return pair[0], vars, nil
	}
	return "", "", fmt.Errorf("no %s for QEMU found; on Debian: apt install %s", kind, u.debian)
}

// beside is where QEMU's own build is, as seen from its program: in share on Windows, in
// ../share/qemu elsewhere.
func (u uefi) beside(binary string) (pairs [][2]string) {
	bin := filepath.Dir(binary)
	for _, dir := range []string{filepath.Join(bin, "share"), filepath.Join(bin, "..", "share", "qemu")} {
		pairs = append(pairs, [2]string{filepath.Join(dir, u.own[0]), filepath.Join(dir, u.own[1])})
	}
	return pairs
}

func copyOnce(from, to string) error {
	if _, err := os.Stat(to); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o600)
}

func pflash(code, vars string) []string {
	return []string{
		"-drive", drive(code, "if=pflash,unit=0,readonly=on"),
		"-drive", drive(vars, "if=pflash,unit=1"),
	}
}
