package plan

import (
	"bytes"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

var (
	drawnCards = regexp.MustCompile(`<text class="name" x="(\d+)" y="\d+" font-size="15" text-anchor="start">([^<]*)</text>\n(?:<text class="small".*\n)*<rect class="\w+" x="(\d+)"`)
	drawnHub   = regexp.MustCompile(`<rect class="hub" x="(-?\d+)" y="\d+" width="(\d+)"`)
	drawnWidth = regexp.MustCompile(`^<svg [^>]*width="(\d+)"`)
)

// TestSVGOfLongNames: a name does not run under the badge beside it, and a long address of
// Headscale stays in the picture of a single site.
func TestSVGOfLongNames(t *testing.T) {
	p := planned(t, "home-pi: {", "home-pi-upstairs-9: {", "cabin-box: {", "cabin-box-below-the-roof: {")
	p.Headscale = "https://headscale.of-the-whole-family." + strings.Repeat("long-", 8) + "example.net"
	for _, sites := range [][]Site{p.Sites, p.Sites[len(p.Sites)-1:]} {
		p.Sites = sites
		var b bytes.Buffer
		if err := p.SVG(&b); err != nil {
			t.Fatal(err)
		}
		cards := drawnCards.FindAllStringSubmatch(b.String(), -1)
		if len(cards) < 2 {
			t.Fatalf("%d cards in %s", len(cards), b.String())
		}
		for _, c := range cards {
			const letter = 8.3 // in pixels, of a bold font of 15
			if end, badge := float64(number(t, c[1]))+letter*float64(len([]rune(c[2]))), number(t, c[3]); end > float64(badge) {
				t.Errorf("%s ends at %.0f, its badge begins at %d", c[2], end, badge)
			}
		}
		hub, width := drawnHub.FindStringSubmatch(b.String()), drawnWidth.FindStringSubmatch(b.String())
		if left := number(t, hub[1]); left < 0 || left+number(t, hub[2]) > number(t, width[1]) {
			t.Errorf("the hub is at %s, %s wide, in a picture of %s", hub[1], hub[2], width[1])
		}
	}
}

func number(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
