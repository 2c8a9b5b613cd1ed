package label

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"codeberg.org/go-pdf/fpdf"
	"rsc.io/qr"

	"github.com/going-mobile/imagebuilder/image/board"
)

// epoch is the creation date of all labels, so that the same label gives the same bytes.
var epoch = time.Unix(0, 0).UTC()

// page is a label that is being set, from top to bottom.
type page struct {
	*fpdf.Fpdf
	size Size
	line float64 // mm, of text
	x, y float64 // where the next thing goes
	w    float64 // between the margins
}

func newPage(pdf *fpdf.Fpdf, size Size, scale float64) *page {
	return &page{Fpdf: pdf, size: size, line: size.text * scale, x: size.margin, y: size.margin, w: size.width - 2*size.margin}
}

func (p *page) label(l Label) {
	p.head(l)
	if len(l.Board.Label.Plug) > 0 {
		p.title(l.Language.say(plugIn))
		p.panel(l.Board.Label)
		p.steps(l.Board.Label.Plug)
	}
	if len(l.Board.Label.LEDs) > 0 {
		p.title(l.Language.say(lightsMean))
		p.lights(l.Board.Label.LEDs, l.Language)
	}
	p.foot(l)
}

// head prints the node's name in white on black, to be read from a distance.
func (p *page) head(l Label) {
	inner, name := p.w-2*p.line, 2.6*p.line
	p.style("B", name)
	if wide := p.GetStringWidth(l.Node); wide > inner {
		name *= inner / wide
	}
	title, _, _ := strings.Cut(l.Board.Title, " (") // the rest of the title is for builders
	below := p.wrapped("", p.line, l.Site+" — "+title, inner)
	high := name + 1.6*p.line + float64(len(below))*p.line*lead
	p.ink(black)
	p.RoundedRect(p.x, p.y, p.w, high, 0.6*p.line, "1234", "F")
	p.SetTextColor(255, 255, 255)
	p.style("B", name)
	p.Text(p.x+p.line, p.y+0.7*p.line+0.8*name, l.Node)
	p.style("", p.line)
	for i, text := range below {
		p.Text(p.x+p.line, p.y+0.7*p.line+name+(float64(i)*lead+1)*p.line, text)
	}
	p.SetTextColor(0, 0, 0)
	p.y += high
}

// lead is the distance between lines, as a multiple of the text's height.
const lead = 1.22

func (p *page) title(text string) {
	p.y += 0.75 * p.line
	p.style("B", 1.15*p.line)
	p.Text(p.x, p.y+p.line, text)
	p.y += 1.6 * p.line
}

func (p *page) steps(plugs []board.Plug) {
	for i, plug := range plugs {
		p.item(plug.What, func(x, y float64) { p.number(x, y, 0.62*p.line, i+1) })
	}
}

func (p *page) lights(leds []board.LED, in Language) {
	for _, d := range leds {
		text := capital(d.Name) + ", " + in.say(d.Color) + ". " + d.Means
		p.item(text, func(x, y float64) { p.light(x, y, 0.55*p.line, colors[d.Color]) })
	}
}

// capital makes the first letter upper case; in some languages that letter has more than one
// byte.
func capital(s string) string {
	first, size := utf8.DecodeRuneInString(s)
	return string(unicode.ToUpper(first)) + s[size:]
}

// item prints a paragraph with a mark before it.
func (p *page) item(text string, mark func(x, y float64)) {
	const indent = 2.1
	mark(p.x+0.8*p.line, p.y+0.45*p.line)
	p.paragraph(p.x+indent*p.line, text, p.w-indent*p.line)
	p.y += 0.25 * p.line
}

func (p *page) paragraph(x float64, text string, w float64) {
	for _, line := range p.wrapped("", p.line, text, w) {
		p.Text(x, p.y+0.8*p.line, line)
		p.y += lead * p.line
	}
}

// foot prints what is needed if something is wrong.
func (p *page) foot(l Label) {
	if !l.Page {
		p.contact(l, p.x, p.w)
		return
	}
	p.title(l.Language.say(howFar))
	code := 5.6 * p.line
	top, x, w := p.y, p.x+code+p.line, p.w-code-p.line
	p.code(p.x, top, code, l.URL())
	p.paragraph(x, fmt.Sprintf(l.Language.say(scanWith), l.URL()), w)
	p.contact(l, x, w)
	p.y = max(p.y, top+code)
}

func (p *page) contact(l Label, x, w float64) {
	if l.Contact == "" {
		return
	}
	p.y += 0.4 * p.line
	p.bold(x, l.Language.say(trouble))
	for line := range strings.Lines(l.Contact) {
		p.paragraph(x, strings.TrimSpace(line), w)
	}
}

func (p *page) bold(x float64, text string) {
	p.style("B", p.line)
	p.Text(x, p.y+0.8*p.line, text)
	p.y += lead * p.line
}

// code draws a QR code as squares, with the quiet zone that readers need.
func (p *page) code(x, y, side float64, text string) {
	c, err := qr.Encode(text, qr.M)
	if err != nil {
		p.SetError(err)
		return
	}
	unit := side / float64(c.Size)
	p.ink(black)
	for row := range c.Size {
		for col := 0; col < c.Size; {
			n := 0
			for c.Black(col+n, row) { // draw runs, as seams between squares would show in print
				n++
			}
			if n > 0 {
				p.Rect(x+float64(col)*unit, y+float64(row)*unit, float64(n)*unit, unit, "F")
			}
			col += n + 1
		}
	}
}

// style sets the font to a height in mm.
func (p *page) style(style string, mm float64) {
	p.SetFont("go", style, 0)
	p.SetFontUnitSize(mm)
}

// wrapped breaks text into lines no wider than w: at spaces, and within a word that is wider
// than a line.
func (p *page) wrapped(style string, mm float64, text string, w float64) []string {
	p.style(style, mm)
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		longer := strings.TrimSpace(line + " " + word)
		if line != "" && p.GetStringWidth(longer) > w {
			lines, longer = append(lines, line), word
		}
		for p.GetStringWidth(longer) > w {
			n := p.fitting(longer, w)
			lines, longer = append(lines, longer[:n]), longer[n:]
		}
		line = longer
	}
	return append(lines, line)
}

// fitting is how many bytes of a word fit into a line.
func (p *page) fitting(word string, w float64) int {
	last := 0
	for i := range word {
		if i > 0 && p.GetStringWidth(word[:i]) > w {
			break
		}
		last = i
	}
	return max(last, utf8.RuneLen([]rune(word)[0]))
}

func (p *page) number(x, y, r float64, n int) {
	p.ink(black)
	p.Circle(x, y, r, "F")
	p.SetTextColor(255, 255, 255)
	p.style("B", 1.35*r)
	text := strconv.Itoa(n)
	p.Text(x-p.GetStringWidth(text)/2, y+0.48*r, text)
	p.SetTextColor(0, 0, 0)
}

func (p *page) light(x, y, r float64, c color) {
	p.ink(c)
	p.SetDrawColor(60, 60, 60)
	p.SetLineWidth(0.2)
	p.Circle(x, y, r, "FD")
}
