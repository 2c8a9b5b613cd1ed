package node

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"path"
	"strings"
)

// ComponentsFile is where an image says which components it has and which it
// leaves to the first boot, as a slash-separated path from the root.
const ComponentsFile = "usr/lib/imagebuilder/components.json"

// ComponentsDir is where firstboot installs deferred components, each in a
// directory of its name, as a slash-separated path from the root.
const ComponentsDir = "var/lib/imagebuilder/components"

// Components is the content of ComponentsFile.
type Components struct {
	Version    int         `json:"version"`
	Components []Component `json:"components"`
}

// Component is a component of an image that is pinned and is not a Debian package.
type Component struct {
	Name    string   `json:"name"`
	Version string   `json:"version"`
	URLs    []string `json:"urls,omitempty"`
	// SHA256 is that of what the URLs serve.
	SHA256 string `json:"sha256,omitempty"`
	// Size is in bytes, 0 where unknown.
	Size int64 `json:"size,omitempty"`
	// Format is "binary", the download being the program, or "tgz".
	Format string `json:"format"`
	// Files are what to install below ComponentsDir/Name.
	Files []ComponentFile `json:"files,omitempty"`
	// Deferred says that the image does not contain the component.
	Deferred bool `json:"deferred"`
}

// ComponentFile is one file of a component.
type ComponentFile struct {
	// Member is the path inside the archive; empty for format "binary".
	Member string `json:"member,omitempty"`
	// Name is the file's name in the component's directory.
	Name string `json:"name"`
	// Mode is the permission bits, in decimal as JSON has no octal.
	Mode uint32 `json:"mode"`
}

// LoadComponents reads the content of a ComponentsFile.
func LoadComponents(data []byte) (*Components, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	var c Components
	if err := dec.Decode(&c); err != nil {
		return nil, fmt.Errorf("/%s: %w", ComponentsFile, err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, fmt.Errorf("/%s: something follows the JSON value", ComponentsFile)
	}
	if c.Version != Version {
		return nil, fmt.Errorf("/%s: version %d, this program knows %d", ComponentsFile, c.Version, Version)
	}
	for i := range c.Components {
		if err := c.Components[i].check(); err != nil {
			return nil, fmt.Errorf("/%s: component %q: %w", ComponentsFile, c.Components[i].Name, err)
		}
	}
	return &c, nil
}

// MarshalComponents returns the content of a ComponentsFile.
func MarshalComponents(list []Component) ([]byte, error) {
	b, err := json.MarshalIndent(Components{Version: Version, Components: list}, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write /%s: %w", ComponentsFile, err)
	}
	return append(b, '\n'), nil
}

// check refuses a component that would install something outside its directory, or unverified.
func (c *Component) check() error {
	if !plainName(c.Name) {
		return fmt.Errorf("want a plain name")
	}
	for _, f := range c.Files {
		if !plainName(f.Name) || f.Mode > 0o777 || (c.Format == "tgz") != (f.Member != "") || path.IsAbs(f.Member) {
			return fmt.Errorf("file %q cannot be installed", f.Name)
		}
	}
	if !c.Deferred {
		return nil
	}
	if sum, err := hex.DecodeString(c.SHA256); err != nil || len(sum) != 32 {
		return fmt.Errorf("deferred without a sha256")
	}
	if (c.Format != "binary" && c.Format != "tgz") || len(c.Files) == 0 || len(c.URLs) == 0 {
		return fmt.Errorf("deferred without format, files or URLs")
	}
	for _, s := range c.URLs {
		if u, err := url.Parse(s); err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") {
			return fmt.Errorf("%q is no web address", s)
		}
	}
	return nil
}

func plainName(s string) bool {
	return s != "" && s != "." && s != ".." && !strings.ContainsAny(s, "/\\\x00") && !strings.HasPrefix(s, ".")
}
