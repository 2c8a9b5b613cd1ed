package timezone

import (
	"slices"
	"strings"
	"testing"
)

// TestCheck: names in the image are accepted exactly; for others a similar one is suggested.
func TestCheck(t *testing.T) {
	for _, good := range []string{"", "Europe/Lisbon", "Etc/UTC", "UTC", "America/Argentina/Ushuaia", "America/New_York"} {
		if err := Check(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for bad, want := range map[string]string{
		"Europe/Lissabon":  `did you mean "Europe/Lisbon"?`,
		"europe/lisbon":    `did you mean "Europe/Lisbon"?`,
		"America/New_Yrok": `did you mean "America/New_York"?`,
		"US/Eastern":       "is no time zone",
		"Factory":          "is no time zone",
		"zone.tab":         "is no time zone",
		"Europe":           "is no time zone",
	} {
		if err := Check(bad); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", bad, err, want)
		}
	}
}

// TestNames: the binary search needs sorted names, and directories are not zones.
func TestNames(t *testing.T) {
	all := names
	if len(all) < 400 || !slices.IsSorted(all) {
		t.Fatalf("%d names, sorted %v", len(all), slices.IsSorted(all))
	}
	for i, name := range all[1:] {
		if strings.HasPrefix(name, all[i]+"/") {
			t.Errorf("%s is a directory", all[i])
		}
	}
}
