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

// ReportFile, in the root directory of the boot partition, is what a node tells about its
// hardware. A person may send it to whoever makes images.
const ReportFile = "REPORT.TXT"

// ReportSize is the fixed length of the file, in bytes. The image already has it at that
// length.
const ReportSize = 128 << 10

// Report is the content of ReportFile. It has no secret, no address and no serial number,
// as people send it to strangers.
type Report struct {
	// Head has the image's facts: board, image, kernel, time.
	Head []Fact `json:"head"`
	// Machine, Disks and Network have one fact per line.
	Machine []Fact `json:"machine"`
	Disks   []Fact `json:"disks"`
	Network []Fact `json:"network"`
	// Devices are those that the kernel found, each kind once.
	Devices []Device `json:"devices"`
	// Firmware are the files below /lib/firmware that drivers asked for but did not find.
	Firmware []string `json:"firmware"`
	// Waiting are devices whose driver waits for another device, Failed are systemd's
	// failed units.
	Waiting []string `json:"waiting"`
	Failed  []string `json:"failed"`
	// Kernel has the kernel's warnings, the oldest first.
	Kernel []string `json:"kernel"`
}

// Fact is a name and its value.
type Fact struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Device is a device as the kernel describes it when it looks for a driver.
type Device struct {
	Modalias string `json:"modalias"`
	// Driver is the one in use, "" for none.
	Driver string `json:"driver,omitempty"`
}

// The names of facts in Head.
const (
	FactBoard  = "board"
	FactImage  = "image"
	FactKernel = "kernel"
	FactTime   = "time"
	// These are in Machine: FactModel is the machine's name, FactUBoot the version of the
	// U-Boot that started its kernel.
	FactModel = "model"
	FactUBoot = "U-Boot"
)

// Find returns the value of a fact, "" if there is none.
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

// ErrNoReport is wrapped by the errors for a text that is no report at all.
var ErrNoReport = errors.New("is no report of a node")

// sections returns how each section is written and read, in the order of the file.
// Devices and whole lines come last, as a report that is too long loses its end.
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
			key, value, ok := strings.Cut(line+" ", ": ") // the blank before an empty value was trimmed
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

// Encode returns the report as text, with the line ends (CRLF) that Windows editors want.
// As long as it is longer than ReportSize, it drops the older half of the kernel's
// warnings. It refuses to write a secret.
func (r Report) Encode() ([]byte, error) {
	for {
		text := r.text()
		if err := checkNoSecret(text); err != nil {
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
			if l = PlainLine(l); strings.HasPrefix(l, "[") { // "[Firmware Bug]: …" is not a heading
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

// PlainLine makes a text from a machine that others may control fit for a report or a
// screen: one line, without leading, trailing or repeated blanks, and without anything
// that a terminal obeys.
func PlainLine(s string) string {
	return strings.Join(strings.Fields(strings.Map(func(c rune) rune {
		if !unicode.IsPrint(c) || c == unicode.ReplacementChar {
			return ' '
		}
		return c
	}, s)), " ")
}

// PadReport pads a text to ReportSize with blanks.
func PadReport(text []byte) []byte {
	padded := bytes.Repeat([]byte(" "), ReportSize)
	copy(padded, text[:min(len(text), ReportSize-2)])
	copy(padded[ReportSize-2:], "\r\n")
	return padded
}

// ParseReport reads the text of a report, padded or not. It refuses a text that is no
// report, that was cut short, or that has a secret in it.
func ParseReport(data []byte) (*Report, error) {
	text := strings.TrimRight(strings.ReplaceAll(string(data), "\r\n", "\n"), " \n\x00")
	lines := strings.Split(text, "\n")
	if lines[0] != reportFirst {
		return nil, fmt.Errorf("it %w: it does not begin with %q", ErrNoReport, reportFirst)
	}
	if err := checkNoSecret(text); err != nil {
		return nil, err
	}
	if last := len(lines) - 1; lines[last] != reportLast+strconv.Itoa(last-1) {
		return nil, fmt.Errorf("the report is cut short or its lines were broken: it has %d and no end that says so; send %s as it is, as an attachment", len(lines), ReportFile)
	}
	// Empty lists, not nil: they become [] in JSON, not null.
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
			continue // a section that a later version adds is skipped
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

// secrets matches what looks like a secret: keys of Headscale, tailscale and age, k3s'
// tokens, private keys, and passwords by their names.
var secrets = regexp.MustCompile(`hskey-[a-z]+-\w|tskey-[a-z]+-\w|\bK10[0-9a-f]{16,}|AGE-SECRET-KEY-|-----BEGIN [A-Z ]*PRIVATE KEY` +
	`|(?i)(?:\b|_)(?:psk|passphrase|password|passwd|auth_?key|api_?key|token|secret)["']?\s*[=:]\s*["']?[^\s=:"']`)

// LooksSecret reports whether a line has something that looks like a secret.
func LooksSecret(line string) bool { return secrets.MatchString(line) }

// checkNoSecret refuses a text with a secret. The error does not repeat the secret.
func checkNoSecret(text string) error {
	n := 0
	for line := range strings.Lines(text) {
		if n++; LooksSecret(line) || LooksSecret(PlainLine(line)) {
			return fmt.Errorf("line %d of the report looks like a password or key: it must not have one; change that key if it is real, and send the file to nobody", n)
		}
	}
	return nil
}
