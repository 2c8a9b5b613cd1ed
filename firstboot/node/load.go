package node

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/going-mobile/imagebuilder/firstboot/strictyaml"
)

// Kind tells apart what can be wrong with the file as a whole, since each case needs another
// message to a person.
type Kind int

// The kinds of Error.
const (
	Invalid  Kind = iota // a field or the YAML is wrong
	Empty                // nothing in it: the card was never personalised
	Binary               // not text
	TooLarge             // longer than ReservedSize
	Foreign              // a version this program does not know
)

// Error says what is wrong with a node.yaml. It never contains values of the file.
type Error struct {
	Kind Kind
	Err  error
}

func (e *Error) Error() string { return e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// Load parses the content of a node.yaml, checks it and fills in defaults. Errors call the file
// name, and are of type *Error.
func Load(name string, data []byte) (*Config, error) {
	if err := checkText(name, data); err != nil {
		return nil, err
	}
	text, _ := cutSignature(data) // the lines below the text are not covered by the signature
	doc, err := strictyaml.Parse(name, text)
	if err != nil {
		return nil, &Error{Invalid, err}
	}
	if err := checkVersion(doc); err != nil {
		return nil, err
	}
	var c Config
	if err := doc.Decode(&c); err != nil {
		return nil, &Error{Invalid, err}
	}
	if err := validate(doc, &c); err != nil {
		return nil, &Error{Invalid, err}
	}
	c.setDefaults()
	return &c, nil
}

func checkText(name string, data []byte) error {
	switch trimmed := bytes.TrimSpace(bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))); {
	case len(data) > ReservedSize:
		return &Error{TooLarge, fmt.Errorf("%s: is %d bytes long, the limit is %d", name, len(data), ReservedSize)}
	case len(trimmed) == 0:
		return &Error{Empty, fmt.Errorf("%s: is empty", name)}
	case !utf8.Valid(data) || bytes.IndexByte(data, 0) >= 0:
		return &Error{Binary, fmt.Errorf("%s: is not UTF-8 text", name)}
	case onlyComments(trimmed):
		return &Error{Empty, fmt.Errorf("%s: has comments only", name)}
	}
	return nil
}

func onlyComments(data []byte) bool {
	for line := range bytes.Lines(data) {
		if line = bytes.TrimSpace(line); len(line) > 0 && line[0] != '#' {
			return false
		}
	}
	return true
}

// checkVersion looks at the version before anything else: for a file of another version, every
// other complaint is pointless.
func checkVersion(doc *strictyaml.Document) error {
	var v struct {
		Version any            `yaml:"version"`
		Rest    map[string]any `yaml:",inline"`
	}
	if err := doc.Decode(&v); err != nil {
		return &Error{Invalid, err}
	}
	switch n, ok := v.Version.(int); {
	case v.Version == nil:
		return &Error{Foreign, doc.Errorf([]string{"version"}, "is missing; write \"version: %d\"", Version)}
	case !ok:
		return &Error{Foreign, doc.Errorf([]string{"version"}, "want the number %d", Version)}
	case n != Version:
		return &Error{Foreign, doc.Errorf([]string{"version"}, "is %d, this program knows %d", n, Version)}
	}
	return nil
}

func (c *Config) setDefaults() {
	if c.Timezone == "" {
		c.Timezone = "Etc/UTC"
	}
	for i := range c.Files {
		if c.Files[i].Mode == 0 {
			c.Files[i].Mode = defaultMode(c.Files[i].Path)
		}
	}
}

// defaultMode lets only root read a file, since it may hold a password. Files of systemd are an
// exception: systemd shows their content to everybody anyway, and systemd-networkd is not root.
func defaultMode(path string) Mode {
	if strings.HasPrefix(path, "/etc/systemd/") {
		return 0o644
	}
	return 0o600
}

// Seal returns a copy without secrets, marked so that their absence is no fault. Any of k3s'
// settings may hold a secret, so all of them are removed.
func (c *Config) Seal() *Config {
	s := *c
	s.Sealed, s.Install = true, nil // an installation is done where a node lives
	s.Headscale.AuthKey, s.SSH.HostKey = "", ""
	if c.Control != nil {
		s.Control = c.Control.seal()
	}
	s.K3s.Token, s.K3s.AgentToken, s.K3s.BootstrapToken = "", "", ""
	s.K3s.Config, s.K3s.CA, s.K3s.Seed.Secrets = nil, nil, nil
	s.Network.Proxy = ""
	if c.Network.WiFi != nil {
		w := *c.Network.WiFi
		w.PSK = ""
		s.Network.WiFi = &w
	}
	s.Files = append([]File(nil), c.Files...)
	for i := range s.Files {
		s.Files[i].Content = ""
	}
	return &s
}

// Keep returns what a node remembers of its configuration, readable by root only: the sealed copy
// with k3s' settings, which are written again when an address changes.
func (c *Config) Keep() *Config {
	s := c.Seal()
	s.K3s.Config = c.K3s.Config
	return s
}

// ErrTooLong is returned where a configuration does not fit its place on the
// boot partition.
var ErrTooLong = errors.New("node.yaml does not fit the 32 KiB reserved for it: let files and secrets come by another way")

// PadTo pads the file with newlines up to size bytes, its length on the boot partition:
// ReservedSize, unless somebody gave the file another length.
func PadTo(data []byte, size int) ([]byte, error) {
	if len(data) > size {
		return nil, ErrTooLong
	}
	return append(bytes.Clone(data), bytes.Repeat([]byte("\n"), size-len(data))...), nil
}
