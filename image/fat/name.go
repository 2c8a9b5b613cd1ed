package fat

import (
	"fmt"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Lower-case flags of Windows NT in a directory entry's byte 12: the base or
// the extension of the short name is meant in lower case.
const (
	lowerBase = 0x08
	lowerExt  = 0x10
)

// maxNameUnits is the longest long name, in UTF-16 code units.
const maxNameUnits = 255

// short is an 8.3 name as it is stored: base and extension padded with spaces.
type short [11]byte

func (s short) String() string {
	base, ext := strings.TrimRight(string(s[:8]), " "), strings.TrimRight(string(s[8:]), " ")
	if ext == "" {
		return base
	}
	return base + "." + ext
}

// checksum ties long name entries to their short one (fatgen103, ChkSum).
func (s short) checksum() byte {
	var sum byte
	for _, c := range s {
		sum = sum<<7 | sum>>1
		sum += c
	}
	return sum
}

// checkName returns an error for a name that FAT cannot hold, or that Windows
// and Linux would not give back as it was.
func checkName(name string) error {
	switch {
	case !utf8.ValidString(name):
		return fmt.Errorf("the name is not valid UTF-8")
	case len(utf16.Encode([]rune(name))) > maxNameUnits:
		return fmt.Errorf("the name is longer than %d characters", maxNameUnits)
	case strings.HasSuffix(name, ".") || strings.HasSuffix(name, " "):
		return fmt.Errorf("FAT names cannot end in a dot or a space")
	}
	for _, r := range name {
		if r < 0x20 || r == 0x7f || strings.ContainsRune(`"*/:<>?\|`, r) {
			return fmt.Errorf("FAT names cannot contain %q", r)
		}
	}
	return nil
}

// shortChar reports whether an upper-cased byte may stand in an 8.3 name.
func shortChar(c byte) bool {
	return c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("!#$%&'()-@^_`{}~", c) >= 0
}

// exactShort returns the short entry that says name completely, without a
// long name, and its case flags.
func exactShort(name string) (s short, flags byte, ok bool) {
	base, ext, dot := strings.Cut(name, ".")
	if base == "" || len(base) > 8 || len(ext) > 3 || dot && ext == "" {
		return s, 0, false
	}
	if !allShort(base) || !allShort(ext) {
		return s, 0, false
	}
	baseFlag, baseOK := caseFlag(base, lowerBase)
	extFlag, extOK := caseFlag(ext, lowerExt)
	return padShort(base, ext), baseFlag | extFlag, baseOK && extOK
}

// allShort looks at bytes, not at strings.ToUpper(s): that turns a dotless i
// into an ASCII one.
func allShort(s string) bool {
	for _, c := range []byte(s) {
		if c >= 'a' && c <= 'z' {
			c -= 'a' - 'A'
		}
		if !shortChar(c) {
			return false
		}
	}
	return true
}

// caseFlag returns flag if s is all lower case, 0 if it is all upper case,
// and false where it is mixed.
func caseFlag(s string, flag byte) (byte, bool) {
	switch s {
	case strings.ToUpper(s):
		return 0, true
	case strings.ToLower(s):
		return flag, true
	}
	return 0, false
}

// padShort upper-cases and pads; base and ext fit and are ASCII.
func padShort(base, ext string) short {
	var s short
	copy(s[:], fmt.Sprintf("%-8s%-3s", strings.ToUpper(base), strings.ToUpper(ext)))
	return s
}

// basis is fatgen103's basis name of a long name and whether something of the
// name was lost in it, other than its case.
func basis(name string) (base, ext string, lossy bool) {
	stem, suffix := name, ""
	if i := strings.LastIndexByte(name, '.'); i > 0 {
		stem, suffix = name[:i], name[i+1:]
	}
	base, lossyBase := squeeze(stem, 8)
	ext, lossyExt := squeeze(suffix, 3)
	if base == "" {
		base, lossyBase = "_", true
	}
	return base, ext, lossyBase || lossyExt
}

// squeeze keeps at most n characters of s that a short name may have: spaces
// and dots go, others become underscores.
func squeeze(s string, n int) (string, bool) {
	var out []byte
	lossy := false
	for _, r := range s {
		if r >= 'a' && r <= 'z' {
			r -= 'a' - 'A'
		}
		switch {
		case r == ' ' || r == '.':
			lossy = true
		case r < 0x80 && shortChar(byte(r)):
			out = append(out, byte(r))
		default:
			out, lossy = append(out, '_'), true
		}
	}
	if len(out) > n {
		out, lossy = out[:n], true
	}
	return string(out), lossy
}

// aliases hands out the 8.3 names of one directory.
type aliases struct {
	taken map[short]bool
	next  map[string]int // where the search for a numeric tail goes on, by basis
}

func newAliases() *aliases {
	return &aliases{taken: map[short]bool{}, next: map[string]int{}}
}

// alias returns a free short name for a long one, with a numeric tail where
// the basis loses something or is taken (fatgen103, "numeric-tail generation").
func (a *aliases) alias(name string) (short, error) {
	base, ext, lossy := basis(name)
	if s := padShort(base, ext); !lossy && !a.taken[s] {
		a.taken[s] = true
		return s, nil
	}
	key := fmt.Sprintf("%.6s.%s", base, ext)
	for n := a.next[key] + 1; n <= 999999; n++ {
		tail := fmt.Sprintf("~%d", n)
		s := padShort(base[:min(len(base), 8-len(tail))]+tail, ext)
		if !a.taken[s] {
			a.taken[s] = true
			a.next[key] = n
			return s, nil
		}
	}
	return short{}, fmt.Errorf("no short name is left for it in its directory")
}

// fold is the key under which names that FAT cannot tell apart are equal.
func fold(name string) string { return strings.ToUpper(name) }
