package boot

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/going-mobile/imagebuilder/image/tree"
)

// configKind is the kind of value that a key of config.txt takes.
type configKind int

const (
	configFlag   configKind = iota // 0 or 1
	configNumber                   // decimal, or 0x and hexadecimal
	configText
	configFile   // the name of a file on the boot partition
	configRepeat // may come more than once
)

// configKeys are the keys that boards may use, from
// https://www.raspberrypi.com/documentation/computers/config_txt.html. The firmware ignores
// unknown keys, so a typing error would go unnoticed.
var configKeys = map[string]configKind{
	"arm_64bit": configFlag, "enable_uart": configFlag, "upstream_kernel": configFlag, "disable_splash": configFlag,
	"uart_2ndstage": configFlag, "disable_overscan": configFlag, "hdmi_force_hotplug": configFlag, "camera_auto_detect": configFlag,
	"display_auto_detect": configFlag, "arm_boost": configFlag, "auto_initramfs": configFlag, "disable_fw_kms_setup": configFlag,
	"avoid_warnings": configNumber, "gpu_mem": configNumber, "boot_delay": configNumber, "total_mem": configNumber,
	"arm_freq": configNumber, "over_voltage": configNumber, "temp_limit": configNumber, "device_tree_address": configNumber,
	"kernel_address": configNumber, "max_framebuffers": configNumber, "usb_max_current_enable": configNumber,
	"os_prefix": configText, "overlay_prefix": configText, "uart_2ndstage_baud": configNumber, "init_uart_baud": configNumber,
	"start_file": configFile, "fixup_file": configFile, "kernel": configFile, "device_tree": configFile, "cmdline": configFile,
	"dtoverlay": configRepeat, "dtparam": configRepeat, "initramfs": configRepeat, "gpio": configRepeat,
}

var configSections = []string{"all", "none", "pi3", "pi4", "pi400", "cm4", "cm4s", "pi5", "tryboot"}

const (
	configMaxLine = 98    // until 2020 the firmware truncated longer lines
	configMaxSize = 16384 // nobody has seen larger ones work
)

// configLine is one setting.
type configLine struct {
	number          int
	key, value      string
	section, prefix string // in force at that line
}

// lintConfig checks what the firmware will find on a boot partition: the keys and values of
// config.txt, the files that it names, the starter files, and the rules of os_prefix. It
// returns all problems, joined.
func lintConfig(t *tree.Tree, starters []string) error {
	text, err := t.ReadAll("config.txt")
	if err != nil {
		return err
	}
	l := &linter{t: t, starters: starters, seen: map[string]int{}}
	if len(text) > configMaxSize {
		l.problem(0, "it is longer than %d bytes", configMaxSize)
	}
	l.parse(string(text))
	for _, line := range l.lines {
		l.check(line)
	}
	l.checkWhole()
	return errors.Join(l.problems...)
}

type linter struct {
	t        *tree.Tree
	starters []string
	lines    []configLine
	seen     map[string]int // "section key" → line
	problems []error
}

func (l *linter) problem(line int, format string, args ...any) {
	where := "config.txt"
	if line > 0 {
		where += ":" + strconv.Itoa(line)
	}
	l.problems = append(l.problems, fmt.Errorf("%s: %s", where, fmt.Sprintf(format, args...)))
}

func (l *linter) parse(text string) {
	section, prefix := "all", ""
	for i, line := range strings.Split(text, "\n") {
		number := i + 1
		if len(line) > configMaxLine {
			l.problem(number, "the line is longer than %d characters", configMaxLine)
		}
		line = strings.TrimRight(line, "\r")
		switch {
		case line == "" || line[0] == '#':
			continue
		case strings.TrimSpace(line) != line:
			l.problem(number, "blanks before or after a setting become part of it")
		case line[0] == '[':
			section = strings.Trim(line, "[]")
			if !slices.Contains(configSections, section) || line != "["+section+"]" {
				l.problem(number, "section %s is not known", line)
			}
			continue
		}
		key, value, _ := strings.Cut(line, "=")
		if name, rest, ok := strings.Cut(line, " "); ok && name == "initramfs" {
			key, value = name, rest
		}
		if key == "os_prefix" {
			prefix = value
		}
		l.lines = append(l.lines, configLine{number, key, value, section, prefix})
	}
}

func (l *linter) check(line configLine) {
	kind, known := configKeys[line.key]
	if !known {
		l.problem(line.number, "%q is not a setting that imagebuilder knows", line.key)
		return
	}
	if first := l.seen[line.section+" "+line.key]; first > 0 && kind != configRepeat {
		l.problem(line.number, "%s was set in line %d already", line.key, first)
	}
	l.seen[line.section+" "+line.key] = line.number
	switch kind {
	case configFlag:
		if line.value != "0" && line.value != "1" {
			l.problem(line.number, "%s must be 0 or 1, not %q", line.key, line.value)
		}
	case configNumber:
		if _, err := strconv.ParseInt(line.value, 0, 64); err != nil {
			l.problem(line.number, "%s must be a number, not %q", line.key, line.value)
		}
	case configFile:
		l.needFile(line, line.value)
	case configRepeat:
		l.checkRepeat(line)
	}
}

func (l *linter) checkRepeat(line configLine) {
	switch line.key {
	case "dtoverlay":
		if name := overlayName(line.value); name != "" {
			l.needFile(line, "overlays/"+name+".dtbo")
		}
	case "initramfs":
		words := strings.Fields(line.value)
		if len(words) != 2 || words[1] != "followkernel" {
			l.problem(line.number, "write it as: initramfs FILE followkernel (without =)")
			return
		}
		l.needFile(line, words[0])
	}
}

// needFile requires the named file to be on the boot partition and not to be empty.
// start_file and fixup_file are never below os_prefix.
func (l *linter) needFile(line configLine, name string) {
	full := path.Join(line.prefix, name)
	if line.key == "start_file" || line.key == "fixup_file" {
		full = name
	}
	if n := l.t.Get(full); name == "" || n == nil || !n.Mode.IsRegular() || n.Size() == 0 {
		l.problem(line.number, "%s names %q, which is not on the boot partition", line.key, full)
	}
}

// value returns the last setting of a key that applies to every machine, or "".
func (l *linter) value(key string) string {
	value := ""
	for _, line := range l.lines {
		if line.key == key && line.section == "all" {
			value = line.value
		}
	}
	return value
}

// inSection completes the error about a missing key: it says if a section sets the key for
// some machines only.
func (l *linter) inSection(key string) string {
	for _, line := range l.lines {
		if line.key == key && line.section != "all" {
			return fmt.Sprintf("; line %d sets it for [%s] alone: put it before the first section, or behind [all]", line.number, line.section)
		}
	}
	return ""
}

// checkWhole checks what cannot be seen in a single line.
func (l *linter) checkWhole() {
	if l.value("kernel") == "" {
		l.problem(0, "kernel= is missing: the firmware would look for kernel8.img")
	}
	if l.value("arm_64bit") != "1" {
		l.problem(0, "arm_64bit=1 is missing: the kernel is a 64-bit one%s", l.inSection("arm_64bit"))
	}
	for _, name := range l.starters {
		if n := l.t.Get(name); n == nil || n.Size() == 0 {
			l.problem(0, "%s is not on the boot partition: this Pi needs it beside config.txt to start (raspberrypi: firmware:)", name)
		}
	}
	l.checkDeviceTrees()
	if l.value("enable_uart") != "1" && l.consoleOnUART() {
		l.problem(0, "enable_uart=1 is missing: the mini-UART, console=ttyS1, has no stable clock without it%s", l.inSection("enable_uart"))
	}
}

// checkDeviceTrees checks a rule that is easily missed: os_prefix is ignored altogether
// unless both kernel and device tree are below it.
func (l *linter) checkDeviceTrees() {
	prefix := l.value("os_prefix")
	var found int
	for n := range l.t.Walk() {
		if strings.HasPrefix(n.Path, prefix) && strings.HasSuffix(n.Path, ".dtb") && path.Dir(n.Path) == path.Clean("./"+path.Dir(prefix+"x")) {
			found++
		}
	}
	if found == 0 && l.value("device_tree") == "" {
		l.problem(0, "no device tree (.dtb) lies in %q, where the firmware looks", "/"+prefix)
	}
	if found > 0 && l.value("upstream_kernel") != "1" && l.value("device_tree") == "" {
		l.problem(0, "upstream_kernel=1 is missing: the firmware may look for the vendor's device tree names%s", l.inSection("upstream_kernel"))
	}
}

// consoleOnUART reports whether any slot's kernel writes to the mini-UART.
func (l *linter) consoleOnUART() bool {
	for n := range l.t.Walk() {
		if path.Base(n.Path) != "cmdline.txt" {
			continue
		}
		if text, err := l.t.ReadAll(n.Path); err == nil && strings.Contains(string(text), "console=ttyS1") {
			return true
		}
	}
	return false
}

// configOverlays returns the overlays that a config.txt names, sorted.
func configOverlays(config string) []string {
	var names []string
	for line := range strings.Lines(config) {
		value, ok := strings.CutPrefix(strings.TrimSpace(line), "dtoverlay=")
		if name := overlayName(value); ok && name != "" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// overlayName cuts off the parameters, as in "disable-wifi,x=1".
func overlayName(value string) string {
	name, _, _ := strings.Cut(value, ",")
	name, _, _ = strings.Cut(name, ":")
	return strings.TrimSpace(name)
}
