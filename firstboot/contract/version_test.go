package contract

import "testing"

func TestSameSeries(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"v1.36.4+k3s1", "v1.36.10+k3s2", true},
		{"v1.36.4+k3s1", "v1.37.0+k3s1", false},
		{"v1.36.4+k3s1", "v2.36.4+k3s1", false},
		{"0.29.1", "v0.29.2", true},
		{"file-0123abcd", "file-0123abcd", true},
		{"file-0123abcd", "file-4567abcd", false},
		{"file-0123abcd", "v1.36.4+k3s1", false},
		{"", "v1.36.4+k3s1", false},
		{"", "", true},
	} {
		if got := SameSeries(c.a, c.b); got != c.want {
			t.Errorf("%q and %q: %v", c.a, c.b, got)
		}
	}
}
