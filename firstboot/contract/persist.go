package contract

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// PersistFile lists what in /etc is the node's own and outlives an image. At
// every boot the initramfs removes everything else from the writable layer.
const PersistFile = "usr/lib/imagebuilder/etc-persist"

// Persist is the content of PersistFile: one absolute path per line
// ("/etc/hostname"), with * as in path.Match. A line that ends in "/" keeps
// everything below. Blank lines and lines that begin with # are ignored.
type Persist []string

// NodeEtc lists the paths that are a node's own, besides those that overlays
// add: what is generated on the node or written by firstboot. Everything else
// in /etc belongs to the image; a changed /etc/passwd on the node would hide
// that of every later image.
var NodeEtc = Persist{
	"/etc/adjtime",
	"/etc/hostname",
	"/etc/iscsi/initiatorname.iscsi",
	"/etc/localtime",
	"/etc/machine-id",
	"/etc/nvme/hostid",
	"/etc/nvme/hostnqn",
	"/etc/rancher/",
	"/etc/ssh/ssh_host_*_key",
	"/etc/ssh/ssh_host_*_key.pub",
}

// Encode returns the list as text, sorted.
func (p Persist) Encode() string {
	sorted := slices.Sorted(slices.Values(p))
	return strings.Join(slices.Compact(sorted), "\n") + "\n"
}

// ParsePersist reads the text of such a list.
func ParsePersist(text string) (Persist, error) {
	var p Persist
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		if _, err := path.Match(line, ""); err != nil || !strings.HasPrefix(line, "/etc/") {
			return nil, fmt.Errorf("/%s: %q is not a path or pattern below /etc", PersistFile, line)
		}
		p = append(p, line)
	}
	return p, nil
}

// Keeps reports whether the list covers a path, given as "/etc/…".
func (p Persist) Keeps(name string) bool {
	for _, pattern := range p {
		if dir, ok := strings.CutSuffix(pattern, "/"); ok {
			if below(dir, name) {
				return true
			}
			continue
		}
		if ok, _ := path.Match(pattern, name); ok {
			return true
		}
	}
	return false
}

// below reports whether name or one of its parents matches the pattern dir.
func below(dir, name string) bool {
	for ; name != "/" && name != "."; name = path.Dir(name) {
		if ok, _ := path.Match(dir, name); ok {
			return true
		}
	}
	return false
}
