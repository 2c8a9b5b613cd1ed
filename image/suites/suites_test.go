package suites_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/going-mobile/imagebuilder/image/suites"
)

func TestProblem(t *testing.T) {
	for want, list := range map[string][]suites.Suite{
		": ":                                {{Name: "trixie-backports", Packages: []string{"linux-image-arm64", "linux-base"}}, {Name: "forky", Packages: []string{"raspi-firmware"}}},
		`0.name: "" is no suite`:            {{Packages: []string{"x1"}}},
		`0.name: "../trixie" is no suite`:   {{Name: "../trixie", Packages: []string{"x1"}}},
		"1.name: forky is listed twice":     {{Name: "forky", Packages: []string{"x1"}}, {Name: "forky", Packages: []string{"x2"}}},
		"0.packages: is missing":            {{Name: "forky"}},
		`0.packages.1: "Bash" is not the`:   {{Name: "forky", Packages: []string{"bash", "Bash"}}},
		"0.packages.1: bash comes from for": {{Name: "forky", Packages: []string{"bash", "bash"}}},
		"1.packages.0: bash comes from for": {{Name: "forky", Packages: []string{"bash"}}, {Name: "sid", Packages: []string{"bash"}}},
	} {
		field, problem := suites.Problem(list)
		if got := field + ": " + problem; !strings.HasPrefix(got, want) {
			t.Errorf("%+v: %q, want %q", list, got, want)
		}
	}
}

func TestAdd(t *testing.T) {
	own := []string{"trixie", "trixie-updates", "trixie-security"}
	board, err := suites.Add(nil, "board pi5", []suites.Suite{{Name: "trixie-backports", Packages: []string{"linux-image-arm64"}}}, own)
	if err != nil {
		t.Fatal(err)
	}
	all, err := suites.Add(board, "overlay own", []suites.Suite{{Name: "forky", Packages: []string{"htop"}}, {Name: "trixie-backports", Packages: []string{"linux-base", "linux-image-arm64"}}}, own)
	if err != nil {
		t.Fatal(err)
	}
	want := []suites.Suite{{Name: "trixie-backports", Packages: []string{"linux-base", "linux-image-arm64"}}, {Name: "forky", Packages: []string{"htop"}}}
	if d := cmp.Diff(want, all); d != "" {
		t.Error(d)
	}
	if len(board[0].Packages) != 1 {
		t.Error("the board's own list has changed")
	}
	for want, more := range map[string]suites.Suite{
		"overlay own: suites: linux-base from forky, but it comes from trixie-backports already": {Name: "forky", Packages: []string{"linux-base"}},
		"overlay own: suites: packages come from trixie-security anyway":                         {Name: "trixie-security", Packages: []string{"bash"}},
	} {
		if _, err := suites.Add(all, "overlay own", []suites.Suite{more}, own); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
