// Package lock reads and writes the record of all inputs of one image, which is exact
// enough to build the same bytes again: a strict, versioned, sorted JSON file.
//
// It refuses unknown and repeated fields, and values that cannot be right. It does not
// fetch or resolve anything, and knows neither mirrors nor boards.
package lock

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"os"
	"slices"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/strictyaml"
)

// Version of the format that this package reads and writes.
const Version = 1

// Lock is the inputs of one image.
type Lock struct {
	Version int    `json:"version" yaml:"version"`
	Board   string `json:"board" yaml:"board"`
	Arch    string `json:"arch" yaml:"arch"` // Debian's name
	// Timestamp is the newest date of the suites. It is the image's SOURCE_DATE_EPOCH, and
	// the time to look up in the snapshot archive.
	Timestamp time.Time `json:"timestamp" yaml:"timestamp"`
	// Inputs is the sha256 of what is not listed here but determines the image: the board
	// file, the overlays, the embedded programs, and options such as the signer.
	Inputs string `json:"inputs,omitempty" yaml:"inputs"`
	// Overlays are the names of those that were asked for beside the board's, sorted. Locks
	// of earlier versions have no such list, which is nil then, and not empty.
	Overlays   []string    `json:"overlays,omitzero" yaml:"overlays"`
	Suites     []Suite     `json:"suites" yaml:"suites"`
	Packages   []Package   `json:"packages" yaml:"packages"`
	Components []Component `json:"components" yaml:"components"`
	Images     []Image     `json:"images,omitempty" yaml:"images"`
}

// Suite is one verified index.
type Suite struct {
	Name            string    `json:"name" yaml:"name"`
	Date            time.Time `json:"date" yaml:"date"`
	InReleaseSHA256 string    `json:"inReleaseSHA256" yaml:"inReleaseSHA256"`
	Components      []string  `json:"components" yaml:"components"`
}

// Package is one .deb.
type Package struct {
	Name     string `json:"name" yaml:"name"`
	Version  string `json:"version" yaml:"version"`
	Arch     string `json:"arch" yaml:"arch"`
	Suite    string `json:"suite" yaml:"suite"`
	Filename string `json:"filename" yaml:"filename"` // relative to a mirror's base URL
	Size     int64  `json:"size" yaml:"size"`
	SHA256   string `json:"sha256" yaml:"sha256"`
}

// Component is one file that is not a Debian package.
type Component struct {
	Name    string `json:"name" yaml:"name"`
	Version string `json:"version" yaml:"version"`
	Arch    string `json:"arch" yaml:"arch"`
	File    string `json:"file,omitempty" yaml:"file"` // the file's name if the user gave a file
	URL     string `json:"url,omitempty" yaml:"url"`
	SHA256  string `json:"sha256" yaml:"sha256"`
	Size    int64  `json:"size,omitempty" yaml:"size"`
	// Deferred components are not in the image: the node fetches them.
	Deferred bool `json:"deferred,omitempty" yaml:"deferred"`
	// BuiltFrom names the source of a component that was built here, such as a Go module
	// with its version; Toolchain is what built it.
	BuiltFrom string `json:"builtFrom,omitempty" yaml:"builtFrom"`
	Toolchain string `json:"toolchain,omitempty" yaml:"toolchain"`
}

// Image is one container image. The digest also determines the manifest and layers for the
// architecture.
type Image struct {
	Name   string `json:"name" yaml:"name"`     // in full, with a tag
	Digest string `json:"digest" yaml:"digest"` // "sha256:" and hex, of the image's index if it has one
}

// Load reads and validates a lock file. Errors name the file, the line and the field.
func Load(name string) (*Lock, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	return Parse(name, b)
}

// Parse is Load for data in memory; name is for errors. It parses JSON as YAML, so that
// unknown and repeated fields are reported as in all other files.
func Parse(name string, data []byte) (*Lock, error) {
	if err := json.Unmarshal(data, new(any)); err != nil {
		return nil, &strictyaml.Problem{Name: name, Line: line(data, err), Msg: err.Error()}
	}
	doc, err := strictyaml.Parse(name, data)
	if err != nil {
		return nil, err
	}
	l := new(Lock)
	if err := doc.Decode(l); err != nil {
		return nil, err
	}
	return l, l.validate(doc)
}

// line returns the line at which the JSON parser stopped.
func line(data []byte, err error) int {
	at := len(data)
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		at = min(max(0, int(syntax.Offset)-1), at) // Offset includes the byte at which it stopped
	}
	return 1 + bytes.Count(data[:at], []byte("\n"))
}

// Marshal returns the canonical text of l: sorted, indented, with a newline at the end. It
// returns an error if Parse would refuse that text.
func (l *Lock) Marshal() ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(l.canonical()); err != nil {
		return nil, err
	}
	if _, err := Parse("lock", b.Bytes()); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// canonical returns a sorted copy. Suites keep their order, which determines the suite that
// equal versions come from.
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
	c.Images = slices.Clone(l.Images)
	slices.SortFunc(c.Images, func(a, b Image) int { return cmp.Compare(a.Name, b.Name) })
	return &c
}
