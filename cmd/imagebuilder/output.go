package main

import (
	"encoding/json"
	"io"
	"strings"
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
