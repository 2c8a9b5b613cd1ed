package boot

import (
	"bytes"
	_ "embed"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
)

// The script is a separate file so that people who know U-Boot can read and check it.
//
//go:embed boot.cmd
var bootCmd []byte

// uBootScript wraps the script in U-Boot's legacy image format (include/image.h, "Legacy
// format image header"): OS 5 is Linux, architecture 22 is arm64, type 6 is a script, whose
// payload is a zero-terminated list of sizes, then the text.
func uBootScript(epoch time.Time) []byte {
	be := binary.BigEndian
	var payload []byte
	payload = be.AppendUint32(payload, uint32(len(bootCmd)))
	payload = be.AppendUint32(payload, 0)
	payload = append(payload, bootCmd...)
	h := make([]byte, 64, 64+len(payload))
	be.PutUint32(h, 0x27051956)
	be.PutUint32(h[8:], uint32(epoch.Unix()))
	be.PutUint32(h[12:], uint32(len(payload)))
	be.PutUint32(h[24:], crc32.ChecksumIEEE(payload))
	copy(h[28:], []byte{5, 22, 6, 0})
	copy(h[32:], "imagebuilder slots")
	be.PutUint32(h[4:], crc32.ChecksumIEEE(h)) // over the header with this field zero
	return append(h, payload...)
}

// unattended are the variables of U-Boot's default environment that must be different on a
// node; empty ones are removed. Debian's U-Boot reads no environment from the card on a Pi
// 4 (ENV_FAT_DEVICE_AND_PART is 0:1, the card is mmc 1), so the compiled-in values are
// changed.
var unattended = map[string]string{
	// By default U-Boot waits two seconds for any byte on the serial line or a USB
	// keyboard, and then stays at its prompt: noise on an open pin is enough to keep a node
	// from ever booting. -2 means not to check for a key at all.
	"bootdelay": "-2",
	// By default U-Boot also scans for USB devices, in vain for a node that starts from its
	// card. That costs seconds on every boot and, on QEMU, leaves a controller that Linux
	// cannot use. "bootflow scan" starts USB by itself if nothing on the card boots; only
	// PCI, which has the Pi 4's USB controller, must be enumerated before.
	"preboot": "pci enum",
	// The default scans once and then stops at a prompt that nobody sees; a card that
	// answers late, or is inserted later, would not be found.
	"bootcmd": "bootflow scan; sleep 5; reset",
	// Nothing is booted from the network.
	"boot_targets": "mmc usb",
	"dhcpuboot":    "",
	"board_name":   "", // repeats board=; its bytes are needed for the other values
}

// versionVariable is set by U-Boot itself if it is built so; Debian's is not.
const versionVariable = "ver"

// ubootVersion matches the version in the first line that U-Boot prints.
var ubootVersion = regexp.MustCompile(`U-Boot ([0-9][0-9A-Za-z.+~-]*) \(`)

var envVariable = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.]*=[\x20-\x7e]*$`)

// unattendedUBoot rewrites the default environment inside a U-Boot binary. It also sets
// versionVariable, from which the boot script learns the version: this is the U-Boot that
// runs, whatever the card's other files are. It refuses a binary in which the environment
// is not found exactly once.
func unattendedUBoot(bin []byte) ([]byte, error) {
	begin, end, err := findEnv(bin)
	if err != nil {
		return nil, err
	}
	env, missing := unattendedEnv(bin[begin:end])
	if len(missing) > 0 {
		return nil, fmt.Errorf("u-boot.bin: its default environment lacks %s; this version is not known", slices.Sorted(maps.Keys(missing)))
	}
	if v := ubootVersion.FindSubmatch(bin); v != nil {
		env = fmt.Appendf(env, "%s=%s\x00", versionVariable, v[1])
	}
	if len(env) > end-begin {
		return nil, errors.New("u-boot.bin: its environment has no room for what an unattended node needs")
	}
	out := bytes.Clone(bin)
	clear(out[begin:end])
	copy(out[begin:], env)
	return out, nil
}

// unattendedEnv returns the changed environment, and those variables to be changed that it
// does not have.
func unattendedEnv(old []byte) (env []byte, missing map[string]string) {
	missing = maps.Clone(unattended)
	for v := range bytes.SplitSeq(old, []byte{0}) {
		name, _, _ := strings.Cut(string(v), "=")
		value, ours := unattended[name]
		delete(missing, name)
		switch {
		case !ours && len(v) > 0:
			env = append(append(env, v...), 0)
		case value != "":
			env = fmt.Appendf(env, "%s=%s\x00", name, value)
		}
	}
	return env, missing
}

// findEnv returns the bounds of the default environment: a run of zero-terminated strings
// that ends with an empty one.
func findEnv(bin []byte) (begin, end int, err error) {
	mark := []byte("\x00bootdelay=")
	if n := bytes.Count(bin, mark); n != 1 {
		return 0, 0, fmt.Errorf("u-boot.bin: %d places look like its default environment; this version is not known", n)
	}
	at := bytes.Index(bin, mark) + 1
	begin = at
	for begin > 1 {
		prev := bytes.LastIndexByte(bin[:begin-1], 0) + 1
		if !envVariable.Match(bin[prev : begin-1]) {
			break
		}
		begin = prev
	}
	stop := bytes.Index(bin[at:], []byte{0, 0})
	if stop < 0 {
		return 0, 0, errors.New("u-boot.bin: its default environment has no end")
	}
	return begin, at + stop + 1, nil
}
