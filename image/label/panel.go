package label

import (
	"slices"

	"github.com/going-mobile/imagebuilder/image/board"
)

// color is red, green, blue.
type color [3]int

var (
	black = color{0, 0, 0}
	grey  = color{236, 238, 240}
	metal = color{205, 209, 214}
	white = color{255, 255, 255}

	colors = map[string]color{
		"amber": {245, 158, 11}, "blue": {37, 99, 235}, "green": {34, 170, 80},
		"red": {220, 38, 38}, "white": white, "yellow": {250, 204, 21},
	}
)

func (p *page) ink(c color) { p.SetFillColor(c[0], c[1], c[2]) }

// panel draws the sides, as many next to each other as fit.
func (p *page) panel(l board.Label) {
	if len(l.Sides) == 0 {
		return
	}
	scale := p.drawingScale(l.Sides)
	x, high := p.x, 0.0
	for _, s := range l.Sides {
		w, h := s.Size[0]*scale, s.Size[1]*scale
		if x > p.x && x+w > p.x+p.w+0.01 {
			p.y += high
			x, high = p.x, 0
		}
		p.side(x, p.y, scale, s, l.Plug)
		x, high = x+w+gap, max(high, h+2.2*p.line)
	}
	p.y += high
	if l.Note != "" {
		p.paragraph(p.x, l.Note, p.w)
		p.y += 0.3 * p.line
	}
}

// gap is between drawings, in mm.
const gap = 3

// drawingScale is the scale at which the widest side fills the label's width, at most 0.58
// of its natural size.
func (p *page) drawingScale(sides []board.Side) float64 {
	widest := 0.0
	for _, s := range sides {
		widest = max(widest, s.Size[0])
	}
	return min(p.w/widest, 0.58)
}

// side draws one side of the housing with its sockets, and the number of the step above each
// socket that gets a plug.
func (p *page) side(x, y, scale float64, s board.Side, plugs []board.Plug) {
	p.ink(grey)
	p.SetDrawColor(90, 90, 90)
	p.SetLineWidth(0.3)
	p.RoundedRect(x, y, s.Size[0]*scale, s.Size[1]*scale, 1.2, "1234", "FD")
	for _, k := range s.Sockets {
		p.socket(x+k.At[0]*scale, y+k.At[1]*scale, scale, k.Kind)
	}
	p.numbers(x, y, scale, s.Sockets, plugs)
	p.style("", 0.85*p.line)
	p.SetTextColor(90, 90, 90)
	p.Text(x, y+s.Size[1]*scale+1.05*p.line, s.Title)
	p.SetTextColor(0, 0, 0)
}

// numbers marks the first socket of each kind.
func (p *page) numbers(x, y, scale float64, sockets []board.Socket, plugs []board.Plug) {
	for i, plug := range plugs {
		at := slices.IndexFunc(sockets, func(k board.Socket) bool { return k.Kind == plug.Into })
		if at < 0 {
			continue
		}
		k, half := sockets[at], shapes[plug.Into].high/2
		p.number(x+k.At[0]*scale, y+(k.At[1]-half)*scale-0.75*p.line, 0.6*p.line, i+1)
	}
}
