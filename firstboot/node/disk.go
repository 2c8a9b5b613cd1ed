package node

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/going-mobile/imagebuilder/firstboot/strictyaml"
)

// Disk identifies one whole disk of the machine: by a name that udev gives it, written as a plain
// string, or by its properties. Exactly one disk must match.
type Disk struct {
	// Path is below /dev/disk/by-id.
	Path string `yaml:"path,omitempty"`
	// Model is a shell pattern that the disk's model name must match.
	Model string `yaml:"model,omitempty"`
	// Size is a number with its unit as on the label, "500GB", met within two
	// per cent, or a bound such as ">=400GB".
	Size string `yaml:"size,omitempty"`
}

const byID = "/dev/disk/by-id/"

// UnmarshalYAML reads either form.
func (d *Disk) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode {
		d.Path = n.Value
		return nil
	}
	type mapping Disk // without this method
	return strictyaml.DecodeNode(n, (*mapping)(d))
}

// MarshalYAML writes the form that a person would use.
func (d Disk) MarshalYAML() (any, error) {
	type mapping Disk
	if d.Path != "" {
		return d.Path, nil
	}
	return mapping(d), nil
}

// String is for messages and for comparing.
func (d Disk) String() string {
	var words []string
	for _, w := range []struct{ name, value string }{{"", d.Path}, {"model ", d.Model}, {"size ", d.Size}} {
		if w.value != "" {
			words = append(words, w.name+w.value)
		}
	}
	return strings.Join(words, ", ")
}

// Fits reports whether d matches a disk with the names ids in /dev/disk/by-id, with one of models
// as its model name, and with a size of bytes.
func (d Disk) Fits(ids, models []string, bytes int64) bool {
	if name, ok := strings.CutPrefix(d.Path, byID); ok {
		return slices.Contains(ids, name)
	}
	pattern := func(model string) bool { ok, _ := path.Match(d.Model, model); return ok }
	if d == (Disk{}) || d.Model != "" && !slices.ContainsFunc(models, pattern) {
		return false
	}
	s, err := parseSize(d.Size)
	return d.Size == "" || err == nil && s.holds(bytes)
}

// size is a nominal size or a bound.
type size struct {
	bound string // "", ">=" or "<="
	bytes float64
}

var sizeForm = regexp.MustCompile(`^(>=|<=)? ?([0-9]{1,6}(?:\.[0-9]{1,3})?) ?([MGT])(i?)B$`)

func parseSize(text string) (size, error) {
	m := sizeForm.FindStringSubmatch(text)
	if m == nil {
		return size{}, fmt.Errorf("want a size like 500GB, 0.5TiB or \">=400GB\"")
	}
	n, err := strconv.ParseFloat(m[2], 64)
	step := 1000.0
	if m[4] != "" {
		step = 1024
	}
	for range strings.Index("MGT", m[3]) + 2 {
		n *= step
	}
	return size{m[1], n}, err
}

func (s size) holds(bytes int64) bool {
	have := float64(bytes)
	switch s.bound {
	case ">=":
		return have >= s.bytes
	case "<=":
		return have <= s.bytes
	}
	return have > s.bytes*0.98 && have < s.bytes*1.02
}

var (
	idName   = regexp.MustCompile(`^[A-Za-z0-9#+.:=@_-]+$`)
	partName = regexp.MustCompile(`-part[0-9]+$`)
)

func (v *validator) disk(at string, d Disk) {
	name, ok := strings.CutPrefix(d.Path, byID)
	switch {
	case d == (Disk{}):
	case d.Path != "" && (d.Model != "" || d.Size != ""):
		v.refuse(at, "has a path and a pattern: keep one")
	case d.Path != "" && (!ok || !idName.MatchString(name)):
		v.refuse(at, "want %sNAME: other names of disks change from start to start", byID)
	case partName.MatchString(name):
		v.refuse(at, "names a partition: want the whole disk, without -partN")
	}
	if _, err := path.Match(d.Model, ""); err != nil {
		v.refuse(at+".model", "is no shell pattern like Samsung*")
	}
	if d.Size != "" {
		_, err := parseSize(d.Size)
		v.want(at+".size", err)
	}
}
