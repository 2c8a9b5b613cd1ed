// Package lock is the record of every input of one image, exact enough to
// build the same bytes again: a strict, versioned, sorted JSON file.
//
// It refuses unknown and repeated fields, and values that cannot be meant. It
// does not fetch or resolve: it neither knows where mirrors are nor what a
// board is.
package lock

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/going-mobile/imagebuilder/image/atomicfile"
)

// Version of the format that this package reads and writes.
const Version = 1

// Lock is the inputs of one image.
type Lock struct {
	Version int    `json:"version"`
	Board   string `json:"board"`
	Arch    string `json:"arch"` // Debian's name
	// Timestamp is the newest date of the suites, the image's
	// SOURCE_DATE_EPOCH, and where to look in the snapshot archive.
	Timestamp time.Time `json:"timestamp"`
	// Inputs is the sha256 of what is not listed here but decides the image:
	// board file, overlays, the builder's own version.
	Inputs     string      `json:"inputs,omitempty"`
	Suites     []Suite     `json:"suites"`
	Packages   []Package   `json:"packages"`
	Components []Component `json:"components"`
}

// Suite is one verified index.
type Suite struct {
	Name            string    `json:"name"`
	Date            time.Time `json:"date"`
	InReleaseSHA256 string    `json:"inReleaseSHA256"`
	Components      []string  `json:"components"`
}

// Package is one .deb.
type Package struct {
	Name     string `json:"name"`
	Version  string `json:"version"`
	Arch     string `json:"arch"`
	Suite    string `json:"suite"`
	Filename string `json:"filename"` // below the base URL of a mirror
	Size     int64  `json:"size"`
	SHA256   string `json:"sha256"`
}

// Component is one file that is not a Debian package.
type Component struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Arch    string `json:"arch"`
	File    string `json:"file,omitempty"` // path on the builder, where the user gave a file
	URL     string `json:"url,omitempty"`
	SHA256  string `json:"sha256"`
	Size    int64  `json:"size,omitempty"`
	// Deferred components are not in the image: the node fetches them.
	Deferred bool `json:"deferred,omitempty"`
	// BuiltFrom names the source of a component that was built here, such as
	// a Go module with version and checksum; Toolchain what built it.
	BuiltFrom string `json:"builtFrom,omitempty"`
	Toolchain string `json:"toolchain,omitempty"`
}

// Load reads and validates a lock file. Errors name the file, the line and
// the field.
func Load(name string) (*Lock, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	return Parse(name, b)
}

// Parse is Load for data that was read; name is for errors.
func Parse(name string, data []byte) (*Lock, error) {
	l := new(Lock)
	lines, err := decode(name, data, l)
	if err != nil {
		return nil, err
	}
	if errs := l.problems(); len(errs) > 0 {
		p := errs[0]
		return nil, &Error{File: name, Line: lines.of(p.field), Field: p.field, Err: p.err}
	}
	return l, nil
}

// Save validates l and replaces the file name with it.
func (l *Lock) Save(name string) error {
	b, err := l.Marshal()
	if err != nil {
		return err
	}
	return atomicfile.WriteFile(name, b, 0o644)
}

// Write validates l and writes it to w.
func (l *Lock) Write(w io.Writer) error {
	b, err := l.Marshal()
	if err != nil {
		return err
	}
	_, err = w.Write(b)
	return err
}

// Marshal returns the one text that l has: sorted, indented, with a newline
// at the end.
func (l *Lock) Marshal() ([]byte, error) {
	c := l.canonical()
	if err := c.Validate(); err != nil {
		return nil, err
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(c); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// Digest is the sha256 of the text of l.
func (l *Lock) Digest() (string, error) {
	b, err := l.Marshal()
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:]), nil
}

// canonical returns a sorted copy. Suites keep their order, which decides
// where equal versions come from.
func (l *Lock) canonical() *Lock {
	c := *l
	c.Timestamp = c.Timestamp.UTC()
	c.Suites = slices.Clone(l.Suites)
	for i := range c.Suites {
		c.Suites[i].Date = c.Suites[i].Date.UTC()
	}
	c.Packages = slices.Clone(l.Packages)
	slices.SortFunc(c.Packages, func(a, b Package) int { return cmp.Compare(a.Name, b.Name) })
	c.Components = append([]Component{}, l.Components...) // never null
	slices.SortFunc(c.Components, func(a, b Component) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.File, b.File))
	})
	return &c
}

// Error is a fault at one place of a lock file.
type Error struct {
	File  string
	Line  int
	Field string // such as packages[3].sha256; empty where there is none
	Err   error
}

func (e *Error) Error() string {
	s := fmt.Sprintf("%s:%d: ", e.File, e.Line)
	if e.Field != "" {
		s += e.Field + ": "
	}
	return s + e.Err.Error()
}

func (e *Error) Unwrap() error { return e.Err }
