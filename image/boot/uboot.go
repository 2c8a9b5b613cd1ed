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

// The script is a file of its own so that it can be read, and checked by
// people who know U-Boot.
//
//go:embed boot.cmd
var bootCmd []byte

// uBootScript wraps the script as U-Boot's legacy image (include/image.h,
// "Legacy format image header"): OS 5 is Linux, architecture 22 is arm64, type
// 6 a script, whose payload is a list of sizes that a zero ends, and the text.
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

// unattended are the variables of U-Boot's default environment that a node
// needs otherwise, or, where they are empty, not at all. Its build reads no
// environment from the card on a Pi 4 (ENV_FAT_DEVICE_AND_PART is 0:1, the card
// is mmc 1), so they are changed where they are compiled in.
var unattended = map[string]string{
	// It waits two seconds for any byte on the serial line or a USB keyboard and
	// then stays at its prompt: noise on an open pin is enough to keep a node off
	// the air for good. -2 means "do not even look".
	"bootdelay": "-2",
	// It also looks for USB devices, in vain for a node that starts from its
	// card: seconds of every boot, and on QEMU a controller that Linux cannot use
	// any more. "bootflow scan" starts USB by itself where the card has nothing;
	// only PCI, on which the Pi 4's controller is, must be known before.
	"preboot": "pci enum",
	// A card that answers late, or comes later, would find a prompt where nobody
	// is: the scan happens once.
	"bootcmd": "bootflow scan; sleep 5; reset",
	// Nothing is started that comes from the site's network.
	"boot_targets": "mmc usb",
	"dhcpuboot":    "",
	"board_name":   "", // says what board= says; its bytes are needed
}

// versionVariable is set by U-Boot itself where it is built so, which Debian's is not.
const versionVariable = "ver"

// ubootVersion is what a binary calls itself, on its first line on a screen.
var ubootVersion = regexp.MustCompile(`U-Boot ([0-9][0-9A-Za-z.+~-]*) \(`)

var envVariable = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.]*=[\x20-\x7e]*$`)

// unattendedUBoot rewrites the default environment inside of a U-Boot binary, and tells
// its script there which version it is: whatever becomes of the card's other files, that
// is the one that runs. It refuses a binary whose environment is not found exactly once.
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

// unattendedEnv changes an environment, and tells what was to be changed and is
// not there.
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

// findEnv returns the bounds of the default environment: strings that end
// with a zero byte, from bootcmd= or another variable to an empty string.
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
