// Package hardware compares what machines need with the drivers and firmware in an image.
// It reads and writes the lists of boards/hardware, and judges the report of a node.
//
// It reads no kernel and no network, and changes no board: it only reports findings.
package hardware

import (
	"bufio"
	"bytes"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
)

// List is the content of a list; boards/hardware/README.md describes the format.
type List struct {
	Modalias, Firmware []string
	// Without maps a module that an image lacks on purpose to the reason.
	Without map[string]string
}

// ParseList parses a list; name is for errors.
func ParseList(name string, text []byte) (*List, error) {
	l := &List{Without: map[string]string{}}
	lines := bufio.NewScanner(bytes.NewReader(text))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		kind, rest, _ := strings.Cut(line, ": ")
		switch module, reason, ok := strings.Cut(rest, " - "); {
		case line == "" || line[0] == '#':
		case kind == "firmware":
			l.Firmware = append(l.Firmware, rest)
		case kind == "without" && ok:
			l.Without[module] = reason
		case !isModalias(line):
			return nil, fmt.Errorf("%s:%d: %q is neither a modalias nor firmware: or without: with a reason", name, n, line)
		default:
			l.Modalias = append(l.Modalias, line)
		}
	}
	return l, lines.Err()
}

// isModalias tells a modalias from other lines: it has no blanks, except in the DMI names
// that manufacturers choose.
func isModalias(line string) bool {
	return !strings.ContainsRune(line, ' ') || strings.HasPrefix(line, "dmi:")
}

// Lists joins the lists of all machines of a board.
func Lists(from fs.FS, board string) (*List, error) {
	all := &List{Without: map[string]string{}}
	names, err := fs.Glob(from, "hardware/"+board+"/*.modalias")
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		text, err := fs.ReadFile(from, name)
		if err != nil {
			return nil, err
		}
		l, err := ParseList(name, text)
		if err != nil {
			return nil, err
		}
		all.Modalias, all.Firmware = append(all.Modalias, l.Modalias...), append(all.Firmware, l.Firmware...)
		maps.Copy(all.Without, l.Without)
	}
	return all, nil
}

// FromReport writes the list of the machine in a report: every modalias for which its
// kernel wanted a driver, and the firmware that it requested in vain, without what no package
// has: drivers ask for files of one board first, and no image can have those. A modalias with
// blanks ("platform:Fixed MDIO bus") is left out: such buses exist only in software. This
// also keeps a hostile report from adding a "without: " line.
func FromReport(r *contract.Report) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# %s, from its own report (image %s, kernel %s, %s).\n", contract.Find(r.Machine, contract.FactModel),
		contract.Find(r.Head, contract.FactImage), contract.Find(r.Head, contract.FactKernel), contract.Find(r.Head, contract.FactTime))
	var aliases []string
	for _, d := range r.Devices {
		if isModalias(d.Modalias) {
			aliases = append(aliases, d.Modalias)
		}
	}
	slices.Sort(aliases)
	for _, a := range slices.Compact(aliases) {
		fmt.Fprintln(&b, a)
	}
	for _, f := range r.Firmware {
		if firmwarePackage(f) != "" {
			fmt.Fprintf(&b, "firmware: %s\n", f)
		}
	}
	return b.Bytes()
}
