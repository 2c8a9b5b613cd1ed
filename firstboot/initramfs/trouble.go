package initramfs

import (
	"errors"
	"fmt"
	"strings"
)

// Trouble is a fault that only a person can mend. What and Do are read over the phone by somebody
// who is not an engineer: they contain no jargon.
type Trouble struct {
	// What says what happened, in one or two sentences.
	What string
	// Disk names the disk, as a person would recognise it.
	Disk string
	// Do says what the person in front of the machine does now.
	Do string
	// Err is the technical reason, for whoever is called.
	Err error
}

func (t *Trouble) Error() string {
	if t.Err == nil {
		return t.What
	}
	return t.What + ": " + t.Err.Error()
}

// Unwrap returns the technical reason.
func (t *Trouble) Unwrap() error { return t.Err }

// asTrouble wraps an error that nobody foresaw in plain words.
func asTrouble(err error) *Trouble {
	var t *Trouble
	if errors.As(err, &t) {
		return t
	}
	return &Trouble{
		What: "This computer could not start its system.",
		Do:   "Switch it off and on again once. If this page comes back, take a photograph of it and send it to whoever looks after this computer.",
		Err:  err,
	}
}

const pageWidth = 72

// page renders t for a screen of 80 columns. then says what happens next.
func (t *Trouble) page(build, then string) string {
	var b strings.Builder
	rule := strings.Repeat("=", pageWidth)
	fmt.Fprintf(&b, "%s\n  THIS COMPUTER HAS STOPPED AND NEEDS A PERSON\n%s\n", rule, rule)
	section(&b, "WHAT HAPPENED", t.What)
	section(&b, "WHICH DISK", t.Disk)
	section(&b, "WHAT TO DO", t.Do)
	if t.Err != nil {
		section(&b, "FOR THE ENGINEER", t.Err.Error())
	}
	section(&b, "", then)
	fmt.Fprintf(&b, "%s\n  %s\n", rule, build)
	return b.String()
}

func section(b *strings.Builder, title, text string) {
	if text == "" {
		return
	}
	b.WriteByte('\n')
	if title != "" {
		fmt.Fprintf(b, "  %s\n", title)
	}
	for _, line := range wrap(text, pageWidth-4) {
		fmt.Fprintf(b, "    %s\n", line)
	}
}

// wrap breaks text at blanks into lines of at most width bytes. A longer word gets its own line.
func wrap(text string, width int) []string {
	var lines []string
	var line string
	for _, word := range strings.Fields(text) {
		switch {
		case line == "":
			line = word
		case len(line)+1+len(word) > width:
			lines = append(lines, line)
			line = word
		default:
			line += " " + word
		}
	}
	if line != "" {
		lines = append(lines, line)
	}
	return lines
}
