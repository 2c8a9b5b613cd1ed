// Package confdir reads the KIND.d directories of a tree as systemd does, and splits their
// files into lines and fields. The meaning of the fields is left to the callers.
package confdir

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/going-mobile/imagebuilder/image/tree"
)

// File is one file of a configuration directory.
type File struct {
	Path string // in the tree
	Text string
}

// Read returns the files in /etc, /usr/local/lib and /usr/lib whose names have the given
// ending, sorted by name. Of files with the same name, the one in the first of these
// directories counts: if it is empty or a link to /dev/null, it hides the others. kind is a
// path such as "tmpfiles.d" or "systemd/system-preset".
func Read(t *tree.Tree, kind, ending string) ([]File, error) {
	found := map[string]*tree.Node{}
	for _, base := range []string{"etc", "usr/local/lib", "usr/lib"} {
		for _, n := range t.Children(path.Join(base, kind)) {
			name := path.Base(n.Path)
			if found[name] == nil && strings.HasSuffix(name, ending) {
				found[name] = n
			}
		}
	}
	var files []File
	for _, name := range slices.Sorted(maps.Keys(found)) {
		n, err := t.Resolve(found[name].Path)
		if err != nil { // a link to /dev/null
			continue
		}
		text, err := t.ReadAll(n.Path)
		if err != nil {
			return nil, err
		}
		files = append(files, File{found[name].Path, string(text)})
	}
	return files, nil
}

// Lines splits a text into lines, without blank lines and comments, which begin with # or
// ;.
func Lines(text string) []string {
	var out []string
	for line := range strings.SplitSeq(text, "\n") {
		line = strings.TrimSpace(line)
		if line != "" && line[0] != '#' && line[0] != ';' {
			out = append(out, line)
		}
	}
	return out
}

// Or returns s, or def if s is "-" or "", which both stand for an omitted field.
func Or(s, def string) string {
	if s == "-" || s == "" {
		return def
	}
	return s
}

// Fields splits off up to most fields of a line at blanks and returns the rest unchanged.
// Quotes keep blanks together, as in tmpfiles.d(5).
func Fields(line string, most int) (fields []string, rest string, err error) {
	for {
		line = strings.TrimLeft(line, " \t")
		if line == "" || len(fields) == most {
			return fields, line, nil
		}
		var field string
		if field, line, err = cutField(line); err != nil {
			return nil, "", err
		}
		fields = append(fields, field)
	}
}

// cutField splits off the first field of a line that does not begin with a blank.
func cutField(line string) (field, rest string, err error) {
	var b strings.Builder
	var quote byte
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case c == '\\' && i+1 < len(line):
			i++
			b.WriteByte(line[i])
		case quote != 0 && c == quote:
			quote = 0
		case quote == 0 && (c == '"' || c == '\''):
			quote = c
		case quote == 0 && (c == ' ' || c == '\t'):
			return b.String(), line[i:], nil
		default:
			b.WriteByte(c)
		}
	}
	if quote != 0 {
		return "", "", fmt.Errorf("a quote is not closed")
	}
	return b.String(), "", nil
}
