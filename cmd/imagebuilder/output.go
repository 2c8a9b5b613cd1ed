package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/going-mobile/imagebuilder/image/atomicfile"
)

// printable replaces non-printable characters in a stranger's text, such as a card's, so
// that it cannot control the terminal. Line breaks stay.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r != '\n' && !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s)
}

// printJSON prints a --json result: one value, indented for people.
func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// newTable aligns columns that are separated by tabs. Its Flush prints them.
func newTable(w io.Writer) *tabwriter.Writer { return tabwriter.NewWriter(w, 0, 0, 2, ' ', 0) }

// nodeLines prints what becomes of nodes, a line for each change, with the time.
func nodeLines(w io.Writer) func(node, words string) {
	return func(node, words string) {
		fmt.Fprintf(w, "%s  %s: %s\n", time.Now().Format(time.TimeOnly), node, printable(words))
	}
}

// writeFile makes a file of what write writes, complete or not at all.
func writeFile(name string, write func(io.Writer) error) error {
	f, err := atomicfile.Create(name, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := write(f); err != nil {
		return err
	}
	return f.Commit()
}
