package atomicfile

import (
	"io/fs"
	"testing"
)

// TestAccessLists: nothing is inherited, and only who is named gets anything.
func TestAccessLists(t *testing.T) {
	for _, c := range []struct {
		users []string
		dir   bool
		want  string
	}{
		{[]string{"S-1-5-21-1-2-3-1001"}, false, "D:P(A;;FA;;;SY)(A;;FA;;;S-1-5-21-1-2-3-1001)"},
		{[]string{"S-1-5-21-1-2-3-1001", "S-1-5-32-544"}, true, "D:P(A;OICI;FA;;;SY)(A;OICI;FA;;;S-1-5-21-1-2-3-1001)(A;OICI;FA;;;S-1-5-32-544)"},
	} {
		if got := accessList(c.users, c.dir); got != c.want {
			t.Errorf("%s, want %s", got, c.want)
		}
	}
	for perm, want := range map[fs.FileMode]bool{0o600: true, 0o700: true, 0o640: false, 0o604: false, 0o644: false} {
		if got := isPrivate(perm); got != want {
			t.Errorf("%o is private: %v", perm, got)
		}
	}
}
