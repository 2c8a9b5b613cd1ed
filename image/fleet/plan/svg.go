package plan

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"

	"github.com/going-mobile/imagebuilder/firstboot/node"
)

// Measures of the picture, in pixels.
const (
	margin    = 40
	siteWidth = 330
	siteGap   = 40
	cardWidth = siteWidth - 2*20
	cardStep  = 84
	cardHigh  = 72
	siteTop   = 190
	siteHead  = 62
)

// style follows the reader's light or dark theme. Roles differ not by colour alone: their
// names stand beside them.
const style = `
  svg { color-scheme: light dark; font-family: "Inter", "Segoe UI", "Helvetica Neue", Arial, sans-serif; }
  .paper { fill: #ffffff } .site { fill: #f5f6f8; stroke: #d9dde3 } .card { fill: #ffffff; stroke: #d9dde3 }
  .name { fill: #1c2430; font-weight: 600 } .small { fill: #5b6573 } .line { stroke: #9aa4b2; fill: none; stroke-dasharray: 2 6; stroke-linecap: round; stroke-width: 2.5 }
  .hub { fill: #1c2430 } .hubtext { fill: #ffffff } .icon { fill: none; stroke: #5b6573; stroke-width: 2; stroke-linejoin: round; stroke-linecap: round }
  .server { fill: #2f6fde } .agent { fill: #2a9d6e } .witness { fill: #b7791f } .badge { fill: #ffffff; font-weight: 600 }
  @media (prefers-color-scheme: dark) {
    .paper { fill: #12161d } .site { fill: #1a202a; stroke: #2c3543 } .card { fill: #222a36; stroke: #323c4c }
    .name { fill: #eef2f7 } .small { fill: #9aa6b6 } .line { stroke: #5b6777 } .hub { fill: #eef2f7 } .hubtext { fill: #12161d } .icon { stroke: #9aa6b6 }
    .server { fill: #3d7df0 } .agent { fill: #2f9f72 } .witness { fill: #bd8326 }
  }`

// SVG writes the plan as a picture (SVG 1.1, no script, nothing from elsewhere).
func (p *Plan) SVG(w io.Writer) error {
	d := &drawing{}
	width, height := d.plan(p)
	_, err := fmt.Fprintf(w, `<svg xmlns="http://www.w3.org/2000/svg" width="%[1]d" height="%[2]d" viewBox="0 0 %[1]d %[2]d" role="img" aria-label="%[3]s">
<style>%[4]s
</style>
<rect class="paper" width="%[1]d" height="%[2]d"/>
%[5]s</svg>
`, width, height, escape("The cluster "+p.Cluster+": its places and machines"), style, d.b.String())
	return err
}

// drawing collects elements.
type drawing struct{ b strings.Builder }

func (d *drawing) add(format string, args ...any) { fmt.Fprintf(&d.b, format+"\n", args...) }

func (d *drawing) text(x, y, size int, class, anchor, s string) {
	d.add(`<text class="%s" x="%d" y="%d" font-size="%d" text-anchor="%s">%s</text>`, class, x, y, size, anchor, escape(s))
}

func escape(s string) string {
	var b strings.Builder
	xml.EscapeText(&b, []byte(s)) // a strings.Builder takes everything
	return b.String()
}

func (d *drawing) plan(p *Plan) (width, height int) {
	most := 1
	for _, s := range p.Sites {
		most = max(most, len(s.Nodes))
	}
	columns := max(1, len(p.Sites))
	sites := columns*siteWidth + (columns-1)*siteGap
	width = 2*margin + max(sites, 2*hubHalf(p.Headscale))
	left := (width - sites) / 2
	siteHigh := siteHead + most*cardStep + 8
	for i := range p.Sites { // under the boxes
		x := left + i*(siteWidth+siteGap) + siteWidth/2
		d.add(`<path class="line" d="M%d 130 C%d 170 %d 140 %d %d"/>`, width/2, width/2, x, x, siteTop)
	}
	d.text(margin, 52, 26, "name", "start", p.Cluster)
	d.hub(width/2, p.Headscale)
	for i, s := range p.Sites {
		d.site(left+i*(siteWidth+siteGap), siteHigh, s)
	}
	return width, siteTop + siteHigh + margin
}

// hubHalf is half the width of the hub.
func hubHalf(address string) int { return max(110, len(bare(address))*4+36) }

// bare is an address without its scheme.
func bare(address string) string {
	return strings.TrimPrefix(strings.TrimPrefix(address, "https://"), "http://")
}

// hub draws Headscale, which every node joins first.
func (d *drawing) hub(x int, address string) {
	half, address := hubHalf(address), bare(address)
	d.add(`<rect class="hub" x="%d" y="82" width="%d" height="48" rx="24"/>`, x-half, 2*half)
	d.text(x, 102, 12, "hubtext", "middle", "Headscale")
	d.text(x, 119, 13, "hubtext", "middle", address)
}

func (d *drawing) site(x, height int, s Site) {
	d.add(`<rect class="site" x="%d" y="%d" width="%d" height="%d" rx="16"/>`, x, siteTop, siteWidth, height)
	d.text(x+20, siteTop+32, 18, "name", "start", s.Name)
	d.text(x+20, siteTop+50, 12, "small", "start", clip(strings.Join(s.about(), " · "), 46))
	for i, n := range s.Nodes {
		d.card(x+20, siteTop+siteHead+i*cardStep, n)
	}
}

func (d *drawing) card(x, y int, n Node) {
	d.add(`<rect class="card" x="%d" y="%d" width="%d" height="%d" rx="10"/>`, x, y, cardWidth, cardHigh)
	d.icon(x+14, y+18, n)
	d.text(x+64, y+27, 15, "name", "start", clip(n.Name, (cardWidth-12-badgeWidth(n)-64)/nameLetter))
	d.text(x+64, y+46, 11, "small", "start", clip(short(n.Title), 38))
	d.text(x+64, y+61, 11, "small", "start", clip(short(n.told()), 38))
	d.badge(x+cardWidth-12, y+12, n)
}

// nameLetter is the width of a letter of a node's name, rounded up.
const nameLetter = 9

// badgeWords are a node's role, and whether it is the first server.
func badgeWords(n Node) string {
	if n.Init {
		return "first " + string(n.Role)
	}
	return string(n.Role)
}

func badgeWidth(n Node) int { return len(badgeWords(n))*7 + 16 }

func (d *drawing) badge(right, y int, n Node) {
	words, wide := badgeWords(n), badgeWidth(n)
	d.add(`<rect class="%s" x="%d" y="%d" width="%d" height="20" rx="10"/>`, n.Role, right-wide, y, wide)
	d.text(right-wide/2, y+14, 11, "badge", "middle", words)
}

// icon draws a cloud for a witness or a node with Headscale, a small board for a node that
// runs from a card, and a box for the others.
func (d *drawing) icon(x, y int, n Node) {
	switch {
	case n.Role == node.Witness || n.Control:
		d.add(`<path class="icon" d="M%d %d a9 9 0 0 1 1 -18 a11 11 0 0 1 20 -2 a8 8 0 0 1 5 20 z"/>`, x+5, y+27)
	case n.Card:
		d.add(`<path class="icon" d="M%[1]d %[2]d h36 v24 h-36 z m5 -5 v5 m5 -5 v5 m5 -5 v5 m5 -5 v5 m5 -5 v5 m-14 10 h10 v8 h-10 z"/>`, x, y+8)
	default:
		d.add(`<path class="icon" d="M%[1]d %[2]d h22 v36 h-22 z m5 8 h12 m-12 5 h12 m-6 14 v0"/>`, x+7, y)
	}
}

// short is the first part of a sentence, which says the most.
func short(s string) string {
	if i := strings.IndexAny(s, ",("); i > 0 {
		s = s[:i]
	}
	return strings.TrimSpace(s)
}

// clip keeps a line inside its box.
func clip(s string, most int) string {
	r := []rune(s)
	if len(r) <= most {
		return s
	}
	return string(r[:most-1]) + "…"
}
