package squashfs

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// xattrTable collects sets of extended attributes; inodes with equal sets share one.
type xattrTable struct {
	sets  []xattrSet
	index map[string]uint32 // by encoded set
}

type xattrSet struct {
	data  string
	count uint32
}

// add returns the number of the set m, or noXattrs if m is empty.
func (t *xattrTable) add(m map[string][]byte) (uint32, error) {
	if len(m) == 0 {
		return noXattrs, nil
	}
	data, err := encodeXattrs(m)
	if err != nil {
		return 0, err
	}
	if i, ok := t.index[data]; ok {
		return i, nil
	}
	i := uint32(len(t.sets))
	t.sets = append(t.sets, xattrSet{data, uint32(len(m))})
	t.index[data] = i
	return i, nil
}

// encodeXattrs encodes m for squashfs, sorted by name.
func encodeXattrs(m map[string][]byte) (string, error) {
	var b []byte
	for _, name := range slices.Sorted(maps.Keys(m)) {
		prefix := slices.IndexFunc(xattrPrefixes[:], func(p string) bool { return strings.HasPrefix(name, p) })
		if prefix < 0 {
			return "", fmt.Errorf("squashfs stores extended attributes of user.*, trusted.* and security.*, not %q", name)
		}
		short, value := name[len(xattrPrefixes[prefix]):], m[name]
		if short == "" || len(name) > maxName || len(value) > maxXattrValue {
			return "", fmt.Errorf("extended attribute %q with a value of %d bytes is out of range (xattr(7))", name, len(value))
		}
		b = le.AppendUint16(b, uint16(prefix))
		b = le.AppendUint16(b, uint16(len(short)))
		b = append(b, short...)
		b = le.AppendUint32(b, uint32(len(value)))
		b = append(b, value...)
	}
	return string(b), nil
}
