package label

// shape is how a socket looks, and its natural size in mm.
type shape struct {
	wide, high float64
	draw       func(p *page, x, y, w, h float64)
}

// shapes of the sockets that a person may have to find. They show outlines and contacts, by
// which a socket is recognised; the rest is left out.
var shapes = map[string]shape{
	"audio":       {6, 6, round},
	"barrel":      {9, 9, round},
	"displayport": {16, 6.5, displayPort},
	"ethernet":    {16, 14, ethernet},
	"hdmi":        {15, 6, hdmi},
	"mains":       {27, 20, mains},
	"micro-hdmi":  {7, 3.4, hdmi},
	"micro-usb":   {8, 3, usbC},
	"sd":          {14, 3, slot},
	"usb-a":       {14, 6, usbA},
	"usb-c":       {9.5, 4, usbC},
}

// socket draws a socket around its centre.
func (p *page) socket(x, y, scale float64, kind string) {
	s := shapes[kind]
	w, h := s.wide*scale, s.high*scale
	p.SetDrawColor(40, 40, 40)
	p.SetLineWidth(0.25)
	p.ink(metal)
	s.draw(p, x-w/2, y-h/2, w, h)
}

// dark sets the colour of holes and contacts.
func (p *page) dark() { p.SetFillColor(40, 44, 50) }

func round(p *page, x, y, w, h float64) {
	p.Circle(x+w/2, y+h/2, w/2, "FD")
	p.dark()
	p.Circle(x+w/2, y+h/2, w/4, "F")
}

func usbA(p *page, x, y, w, h float64) {
	p.Rect(x, y, w, h, "FD")
	p.dark()
	p.Rect(x+0.1*w, y+0.22*h, 0.8*w, 0.3*h, "F")
}

func usbC(p *page, x, y, w, h float64) {
	p.RoundedRect(x, y, w, h, h/2, "1234", "FD")
	p.dark()
	p.RoundedRect(x+0.2*w, y+0.36*h, 0.6*w, 0.28*h, 0.14*h, "1234", "F")
}

func slot(p *page, x, y, w, h float64) {
	p.RoundedRect(x, y, w, h, 0.3*h, "1234", "FD")
	p.dark()
	p.Rect(x+0.08*w, y+0.3*h, 0.84*w, 0.4*h, "F")
}

// ethernet has eight contacts above and the notch for the latch below.
func ethernet(p *page, x, y, w, h float64) {
	p.Rect(x, y, w, h, "FD")
	p.dark()
	p.Rect(x+0.12*w, y+0.14*h, 0.76*w, 0.52*h, "F")
	p.Rect(x+0.26*w, y+0.6*h, 0.48*w, 0.16*h, "F")
	p.Rect(x+0.38*w, y+0.7*h, 0.24*w, 0.17*h, "F")
	p.SetFillColor(250, 204, 21)
	for i := range 8 {
		p.Rect(x+(0.2+0.08*float64(i))*w, y+0.14*h, 0.035*w, 0.2*h, "F")
	}
}

// hdmi is narrower below, at both corners.
func hdmi(p *page, x, y, w, h float64) {
	p.outline(x, y, w, h, [][2]float64{{0, 0}, {1, 0}, {1, 0.6}, {0.86, 1}, {0.14, 1}, {0, 0.6}})
	p.dark()
	p.Rect(x+0.18*w, y+0.3*h, 0.64*w, 0.26*h, "F")
}

// displayPort has one corner cut off.
func displayPort(p *page, x, y, w, h float64) {
	p.outline(x, y, w, h, [][2]float64{{0, 0}, {1, 0}, {1, 1}, {0.2, 1}, {0, 0.62}})
	p.dark()
	p.Rect(x+0.18*w, y+0.34*h, 0.64*w, 0.28*h, "F")
}

// mains is a C14 inlet: three blades, two corners cut off.
func mains(p *page, x, y, w, h float64) {
	p.outline(x, y, w, h, [][2]float64{{0.16, 0}, {0.84, 0}, {1, 0.3}, {1, 1}, {0, 1}, {0, 0.3}})
	p.dark()
	for _, at := range [][2]float64{{0.24, 0.52}, {0.47, 0.28}, {0.7, 0.52}} {
		p.Rect(x+at[0]*w, y+at[1]*h, 0.06*w, 0.26*h, "F")
	}
}

// outline draws a polygon with corners given as fractions of width and height.
func (p *page) outline(x, y, w, h float64, corners [][2]float64) {
	p.MoveTo(x+corners[0][0]*w, y+corners[0][1]*h)
	for _, c := range corners[1:] {
		p.LineTo(x+c[0]*w, y+c[1]*h)
	}
	p.ClosePath()
	p.DrawPath("FD")
}
