package fat

import (
	"fmt"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Lower-case flags of Windows NT in byte 12 of a directory entry: the base or the extension
// of the short name is to be shown in lower case.
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

// checksum ties long name entries to their short entry (fatgen103, ChkSum).
func (s short) checksum() byte {
	var sum byte
	for _, c := range s {
		sum = sum<<7 | sum>>1
		sum += c
	}
	return sum
}

// checkName returns an error for a name that FAT cannot store, or that Windows or Linux
// would not return unchanged.
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

// shortChar reports whether an upper-cased byte is allowed in an 8.3 name.
func shortChar(c byte) bool {
	return c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("!#$%&'()-@^_`{}~", c) >= 0
}

// exactShort returns the short name and case flags that represent name completely. ok is
// false if name needs a long name.
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

// allShort compares bytes rather than strings.ToUpper(s), which turns a dotless i into an
// ASCII I.
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

// caseFlag returns flag if s is all lower case, 0 if it is all upper case, and false if it
// is mixed.
func caseFlag(s string, flag byte) (byte, bool) {
	switch s {
	case strings.ToUpper(s):
		return 0, true
	case strings.ToLower(s):
		return flag, true
	}
	return 0, false
}

// padShort upper-cases and pads a name. base and ext must be ASCII and short enough.
func padShort(base, ext string) short {
	var s short
	copy(s[:], fmt.Sprintf("%-8s%-3s", strings.ToUpper(base), strings.ToUpper(ext)))
	return s
}

// basis is fatgen103's basis name of a long name. lossy tells whether it lacks something of
// the name other than its case.
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

// squeeze returns at most n characters of s, as a short name may have them: spaces and dots
// are dropped, other characters that are not allowed become underscores.
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

// aliases assigns the 8.3 names of one directory.
type aliases struct {
	taken map[short]bool
	next  map[string]int // by basis, the last numeric tail that was tried
}

func newAliases() *aliases {
	return &aliases{taken: map[short]bool{}, next: map[string]int{}}
}

// alias returns a free short name for a long one. It has a numeric tail if the basis is
// lossy or taken (fatgen103, "numeric-tail generation").
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

// fold maps names that FAT cannot tell apart to the same key.
func fold(name string) string { return strings.ToUpper(name) }
