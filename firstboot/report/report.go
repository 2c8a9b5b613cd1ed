// Package report describes the machine's hardware and how its kernel and its system cope with it,
// so that people who make images can mend what no emulator shows.
//
// It only reads: sysfs, procfs and the journal. It leaves out the owner's private data: addresses,
// serial numbers, names, and whatever looks like a secret. It judges nothing.
package report

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot"
	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/disks"
	"github.com/going-mobile/imagebuilder/firstboot/efiboot"
)

// witness reads the machine below the directory root, "/" on a node.
type witness struct{ root string }

// Collect makes the report of the machine whose /sys, /proc and so on are below root. What cannot
// be read is left out.
func Collect(ctx context.Context, root string, programs firstboot.Programs, now time.Time) *contract.Report {
	w := witness{root}
	r := &contract.Report{Head: w.head(now), Machine: w.machine(), Disks: w.disks(), Network: w.network(), Devices: w.devices()}
	for _, line := range w.lines("sys/kernel/debug/devices_deferred") {
		r.Waiting = append(r.Waiting, hide(line))
	}
	// Both commands fail where there is no systemd: then there is nothing to report about it.
	failed, _ := programs.Run(ctx, "systemctl", "list-units", "--failed", "--plain", "--no-legend", "--no-pager")
	for line := range strings.Lines(failed) {
		if unit, _, _ := strings.Cut(strings.TrimSpace(line), " "); unit != "" {
			r.Failed = append(r.Failed, hide(unit))
		}
	}
	log, _ := programs.Run(ctx, "journalctl", "--dmesg", "--boot", "--priority", "warning", "--output", "cat", "--no-pager", "--quiet")
	r.Kernel, r.Firmware = kernelLog(log)
	return r
}

var (
	missing = regexp.MustCompile(`(?:Direct firmware load for|firmware: failed to load) (\S+)`)
	// packet matches a packet that the firewall has logged.
	packet = regexp.MustCompile(`\bSRC=\S+ DST=`)
)

const (
	maxWarnings    = 400
	maxWarningSize = 400 // bytes
)

// kernelLog keeps each warning once, and the last ones if there are too many, with private data
// removed. It also returns the firmware files that drivers did not find.
func kernelLog(log string) (warnings, firmware []string) {
	seen := map[string]bool{}
	for line := range strings.Lines(log) {
		line = contract.PlainLine(line)
		if contract.LooksSecret(line) || packet.MatchString(line) {
			line = "(left out: it may be a secret or an address)"
		}
		line = hide(line)
		if m := missing.FindStringSubmatch(line); m != nil && !slices.Contains(firmware, m[1]) {
			firmware = append(firmware, m[1])
		}
		if line = line[:min(len(line), maxWarningSize)]; line != "" && !seen[line] {
			seen[line], warnings = true, append(warnings, line)
		}
	}
	return warnings[max(0, len(warnings)-maxWarnings):], firmware
}

// facts collects the facts that are known.
type facts []contract.Fact

func (f *facts) add(name, value string) {
	if value != "" {
		*f = append(*f, contract.Fact{Name: name, Value: value})
	}
}

func (w witness) head(now time.Time) []contract.Fact {
	var f facts
	label, err := contract.ParseLabel([]byte(w.text(contract.BootDir + "/" + contract.LabelFile)))
	if err != nil { // the card is gone, but the running system still has a name
		label = contract.Label{Board: "unknown"}
		for _, line := range w.lines("etc/os-release") {
			if board, ours := contract.ImageBoard(strings.TrimPrefix(line, "IMAGE_ID=")); ours {
				label.Board = board
			}
		}
	}
	f.add(contract.FactBoard, label.Board)
	f.add(contract.FactImage, label.ImageVersion)
	f.add(contract.FactKernel, w.text("proc/sys/kernel/osrelease"))
	f.add(contract.FactTime, now.UTC().Format(time.RFC3339))
	state, err := contract.ParseState([]byte(w.text(contract.StateFile)))
	if err != nil {
		return f
	}
	f.add("slot", state.Slot)
	f.add("trial", strconv.FormatBool(state.Trial))
	f.add("clock", map[bool]string{true: "was before the build and set to it", false: "was plausible"}[state.Clock])
	f.add("data file system repaired", strconv.FormatBool(state.Repaired))
	return f
}

func (w witness) machine() []contract.Fact {
	var f facts
	const tree, dmi = "proc/device-tree/", "sys/class/dmi/id/"
	f.add(contract.FactModel, w.text(tree+"model"))
	f.add(contract.FactModel, strings.TrimSpace(w.text(dmi+"sys_vendor")+" "+w.text(dmi+"product_name")))
	f.add("mainboard", w.text(dmi+"board_name"))
	f.add("BIOS", strings.TrimSpace(w.text(dmi+"bios_vendor")+" "+w.text(dmi+"bios_version")+" "+w.text(dmi+"bios_date")))
	f.add("revision", w.cell(tree+"system/linux,revision"))
	f.add(contract.FactUBoot, w.text(tree+"chosen/u-boot,version"))
	for _, name := range w.list(tree + "chosen/bootloader") {
		if name != "name" {
			f.add("EEPROM "+name, w.property(tree+"chosen/bootloader/"+name))
		}
	}
	for _, line := range w.lines("proc/cpuinfo") {
		if model, ok := strings.CutPrefix(strings.ReplaceAll(line, "\t", ""), "model name: "); ok {
			f.add("processor", model)
			break
		}
	}
	for _, line := range w.lines("proc/meminfo") {
		if total, ok := strings.CutPrefix(line, "MemTotal:"); ok {
			f.add("memory", strings.TrimSpace(total))
		}
	}
	f.add("Secure Boot", w.secureBoot())
	if n := disks.Hidden(os.DirFS(filepath.Join(w.root, "sys"))); n > 0 {
		f.add("NVMe disks behind the SATA controller", strconv.Itoa(n))
	}
	f.add("clock source", w.text("sys/devices/system/clocksource/clocksource0/current_clocksource"))
	f.add("frequency kHz", strings.Trim(w.text("sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq")+" of "+w.text("sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq"), " of"))
	for _, zone := range w.list("sys/class/thermal") {
		f.add("temperature "+w.text("sys/class/thermal/"+zone+"/type")+" m°C", w.text("sys/class/thermal/"+zone+"/temp"))
	}
	return append(f, w.peripherals()...)
}

// peripherals describes the watchdogs and the screens.
func (w witness) peripherals() (f facts) {
	for _, dog := range w.list("sys/class/watchdog") {
		at := "sys/class/watchdog/" + dog + "/"
		f.add(dog, fmt.Sprintf("%s, %s, %s s, bootstatus %s", w.text(at+"identity"), w.text(at+"state"), w.text(at+"timeout"), w.text(at+"bootstatus")))
	}
	for _, name := range w.list("sys/class/drm") {
		f.add("screen "+name, w.text("sys/class/drm/"+name+"/status"))
	}
	return f
}

// secureBoot returns "on" or "off", or "" if the firmware does not say.
func (w witness) secureBoot() string {
	b, err := os.ReadFile(filepath.Join(w.root, efiboot.Variable("SecureBoot")))
	if on, known := efiboot.Switch(string(b)); err == nil && known {
		return map[bool]string{true: "on", false: "off"}[on]
	}
	return ""
}

// cell reads a number of the device tree: four bytes, big-endian.
func (w witness) cell(name string) string {
	b, err := os.ReadFile(filepath.Join(w.root, name))
	if err != nil || len(b) != 4 {
		return ""
	}
	return fmt.Sprintf("%#x", binary.BigEndian.Uint32(b))
}

// property returns a property of the device tree: text, or one number.
func (w witness) property(name string) string {
	text := w.text(name)
	if strings.ContainsFunc(text, func(c rune) bool { return c < ' ' || c > '~' }) || len(text) < 4 {
		return w.cell(name)
	}
	return text
}

// text returns a file's content without surrounding blanks and NULs; "" if it cannot be read.
func (w witness) text(name string) string {
	b, err := os.ReadFile(filepath.Join(w.root, name))
	if err != nil {
		return ""
	}
	return strings.Trim(string(b), " \t\r\n\x00")
}

func (w witness) lines(name string) []string {
	text := w.text(name)
	if text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}

func (w witness) list(dir string) (names []string) {
	entries, _ := os.ReadDir(filepath.Join(w.root, dir))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}
