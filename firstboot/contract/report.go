package contract

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode"
)

// ReportFile on the boot partition, in its root directory, is what a node tells
// of its hardware: a person may send it to whoever makes images.
const ReportFile = "REPORT.TXT"

// ReportSize is the length of the file, in bytes, from the image on.
const ReportSize = 128 << 10

// Report is the content of ReportFile. It holds no secret, no address and no
// serial number: strangers send it.
type Report struct {
	// Head has the image's facts: board, image, kernel, time.
	Head []Fact `json:"head"`
	// Machine, Disks and Network have a fact a line.
	Machine []Fact `json:"machine"`
	Disks   []Fact `json:"disks"`
	Network []Fact `json:"network"`
	// Devices are those that the kernel found, each kind once.
	Devices []Device `json:"devices"`
	// Firmware are the files that drivers asked for in vain, below /lib/firmware.
	Firmware []string `json:"firmware"`
	// Waiting are devices whose driver waits for another, Failed systemd's units.
	Waiting []string `json:"waiting"`
	Failed  []string `json:"failed"`
	// Kernel has its warnings, the oldest first.
	Kernel []string `json:"kernel"`
}

// Fact is a name and what is true of it.
type Fact struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Device is what the kernel asked for a driver with.
type Device struct {
	Modalias string `json:"modalias"`
	// Driver is the one that it has, "" for none.
	Driver string `json:"driver,omitempty"`
}

// The names of facts in Head.
const (
	FactBoard  = "board"
	FactImage  = "image"
	FactKernel = "kernel"
	FactTime   = "time"
	// FactModel of Machine is the machine's name, FactUBoot the version of the U-Boot that
	// started its kernel.
	FactModel = "model"
	FactUBoot = "U-Boot"
)

// Find returns the value of a fact, "" where there is none.
func Find(facts []Fact, name string) string {
	for _, f := range facts {
		if f.Name == name {
			return f.Value
		}
	}
	return ""
}

const (
	reportFirst = "imagebuilder report 1"
	reportLast  = "end of report, lines: "
	noDriver    = "-"
)

// ErrNoReport is returned, wrapped, for what is no report at all.
var ErrNoReport = errors.New("is no report of a node")

// sections in their order: how each is written and read. Devices and what a
// line says in full come last, since a report that is too long loses there.
func (r *Report) sections() []section {
	return []section{
		factSection("image", &r.Head), factSection("machine", &r.Machine), factSection("disks", &r.Disks), factSection("network", &r.Network),
		lineSection("firmware missing", &r.Firmware), lineSection("waiting", &r.Waiting), lineSection("failed units", &r.Failed),
		{"devices", r.deviceLines, r.addDevice}, lineSection("kernel warnings", &r.Kernel),
	}
}

type section struct {
	name  string
	lines func() []string
	add   func(line string) error
}

func factSection(name string, to *[]Fact) section {
	return section{name,
		func() (lines []string) {
			for _, f := range *to {
				lines = append(lines, f.Name+": "+f.Value)
			}
			return lines
		},
		func(line string) error {
			key, value, ok := strings.Cut(line+" ", ": ") // the blank of an empty value was cut
			if !ok {
				return errors.New("want NAME: VALUE")
			}
			*to = append(*to, Fact{key, strings.TrimSuffix(value, " ")})
			return nil
		}}
}

func lineSection(name string, to *[]string) section {
	return section{name, func() []string { return *to }, func(line string) error {
		*to = append(*to, line)
		return nil
	}}
}

func (r *Report) deviceLines() (lines []string) {
	for _, d := range r.Devices {
		driver := d.Driver
		if driver == "" {
			driver = noDriver
		}
		lines = append(lines, driver+" "+d.Modalias)
	}
	return lines
}

func (r *Report) addDevice(line string) error {
	driver, modalias, ok := strings.Cut(line, " ")
	if !ok || !strings.Contains(modalias, ":") {
		return errors.New("want DRIVER MODALIAS")
	}
	if driver == noDriver {
		driver = ""
	}
	r.Devices = append(r.Devices, Device{modalias, driver})
	return nil
}

// Encode returns the report as text, with lines as Windows' editors want them.
// Where it would be longer than ReportSize, the oldest of the kernel's warnings
// go. It refuses to write a secret.
func (r Report) Encode() ([]byte, error) {
	for {
		text := r.text()
		if err := CheckNoSecret(text); err != nil {
			return nil, err
		}
		if len(text) <= ReportSize-2 {
			return []byte(text), nil
		}
		if len(r.Kernel) == 0 {
			return nil, fmt.Errorf("a report of %d bytes does not fit the %d of %s", len(text), ReportSize, ReportFile)
		}
		r.Kernel = r.Kernel[(len(r.Kernel)+1)/2:]
	}
}

func (r Report) text() string {
	lines := []string{reportFirst}
	for _, s := range r.sections() {
		lines = append(lines, "", "["+s.name+"]")
		for _, l := range s.lines() {
			if l = PlainLine(l); strings.HasPrefix(l, "[") { // "[Firmware Bug]: …" is no heading
				l = " " + l
			}
			if l != "" {
				lines = append(lines, l)
			}
		}
	}
	lines = append(lines, "", reportLast+strconv.Itoa(len(lines)))
	return strings.Join(lines, "\r\n") + "\r\n"
}

// PlainLine is a text of a machine that may be in other hands, as a report and a
// screen have it: in one line, without blanks around it or in a row, and with
// nothing that a terminal obeys.
func PlainLine(s string) string {
	return strings.Join(strings.Fields(strings.Map(func(c rune) rune {
		if !unicode.IsPrint(c) || c == unicode.ReplacementChar {
			return ' '
		}
		return c
	}, s)), " ")
}

// PadReport fills a text up to ReportSize with blanks.
func PadReport(text []byte) []byte {
	padded := bytes.Repeat([]byte(" "), ReportSize)
	copy(padded, text[:min(len(text), ReportSize-2)])
	copy(padded[ReportSize-2:], "\r\n")
	return padded
}

// ParseReport reads such a text, padded or not. What is no report, was cut short
// or has something in it that opens a door is refused.
func ParseReport(data []byte) (*Report, error) {
	text := strings.TrimRight(strings.ReplaceAll(string(data), "\r\n", "\n"), " \n\x00")
	lines := strings.Split(text, "\n")
	if lines[0] != reportFirst {
		return nil, fmt.Errorf("it %w: it does not begin with %q", ErrNoReport, reportFirst)
	}
	if err := CheckNoSecret(text); err != nil {
		return nil, err
	}
	if last := len(lines) - 1; lines[last] != reportLast+strconv.Itoa(last-1) {
		return nil, fmt.Errorf("the report is cut short or its lines were broken: it has %d and no end that says so; send %s as it is, as an attachment", len(lines), ReportFile)
	}
	// Lists of nothing, so that a program that reads them as JSON has no null among them.
	r := &Report{Head: []Fact{}, Machine: []Fact{}, Disks: []Fact{}, Network: []Fact{}, Devices: []Device{},
		Firmware: []string{}, Waiting: []string{}, Failed: []string{}, Kernel: []string{}}
	return r, r.parse(lines[:len(lines)-1])
}

func (r *Report) parse(lines []string) error {
	var at *section
	all := r.sections()
	for i, line := range lines[1:] {
		if name, ok := strings.CutPrefix(line, "["); ok {
			at = nil
			for n := range all {
				if all[n].name+"]" == name {
					at = &all[n]
				}
			}
			continue // with one that a later version adds, which is passed over
		}
		if line = PlainLine(line); line == "" || at == nil {
			continue
		}
		if err := at.add(line); err != nil {
			return fmt.Errorf("line %d of the report: %w", i+2, err)
		}
	}
	if Find(r.Head, FactBoard) == "" {
		return fmt.Errorf("it %w: it names no board", ErrNoReport)
	}
	return nil
}

// secrets are what opens something, by its looks: keys of Headscale, tailscale
// and age, k3s' tokens, private keys, passwords by their names.
var secrets = regexp.MustCompile(`hskey-[a-z]+-\w|tskey-[a-z]+-\w|\bK10[0-9a-f]{16,}|AGE-SECRET-KEY-|-----BEGIN [A-Z ]*PRIVATE KEY` +
	`|(?i)(?:\b|_)(?:psk|passphrase|password|passwd|auth_?key|api_?key|token|secret)["']?\s*[=:]\s*["']?[^\s=:"']`)

// LooksSecret reports whether a line has what opens something.
func LooksSecret(line string) bool { return secrets.MatchString(line) }

// CheckNoSecret refuses a text with a secret. The error does not tell it.
func CheckNoSecret(text string) error {
	n := 0
	for line := range strings.Lines(text) {
		if n++; LooksSecret(line) || LooksSecret(PlainLine(line)) {
			return fmt.Errorf("line %d of the report looks like a password or key: it must not have one; change that key if it is real, and send the file to nobody", n)
		}
	}
	return nil
}
