// Package label prints what goes into the box with a node: which node it is, what to plug in
// where on a drawing of its back, what its lights mean, whom to call, and a QR code that
// leads a phone to the node's own page, if it has one.
//
// It has texts in five languages; the texts of a board that is not imagebuilder's own stay
// as they are written. The same labels give the same bytes. It refuses a character that its
// font lacks, and more text than fits a page, rather than print a label that cannot be read.
package label

import (
	"fmt"
	"io"
	"math"

	"codeberg.org/go-pdf/fpdf"
	"golang.org/x/image/font/gofont/gobold"
	"golang.org/x/image/font/gofont/goregular"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/image/board"
)

// Label is the label for one box.
type Label struct {
	Node, Site string
	Board      *board.Board
	// Contact is the person to call; "" prints nothing.
	Contact string
	// Page says that the node shows a page on the LAN.
	Page bool
	// Language is that of the person who opens the box; nil is English.
	Language Language
}

// URL is the address of the node's page on the LAN that the node is plugged into.
func (l Label) URL() string { return contract.PageURL(l.Node) }

// Size is a paper format.
type Size struct {
	name          string
	width, height float64 // mm; height 0 means a roll, cut where the text ends
	margin        float64
	text          float64 // mm, height of a line
}

// The sizes.
var (
	A6   = Size{name: "a6", width: 105, height: 148, margin: 6, text: 3.4}
	Roll = Size{name: "62mm", width: 62, margin: 3, text: 3}
)

// ParseSize parses a size given by a user.
func ParseSize(s string) (Size, error) {
	for _, size := range []Size{A6, Roll} {
		if s == size.name {
			return size, nil
		}
	}
	return Size{}, fmt.Errorf("unknown size %q: use %s or %s", s, A6.name, Roll.name)
}

// smallest is how far text may shrink, in per cent, and still be readable for a person with
// the box in their hands.
const smallest = 75

// Write writes a PDF with a page for each label.
func Write(w io.Writer, size Size, english []Label) error {
	var labels []Label
	for _, l := range english {
		labels = append(labels, l.translated())
	}
	if err := readable(labels); err != nil {
		return err
	}
	pdf := newPDF(size)
	for _, l := range labels {
		scale, height, err := fit(size, l)
		if err != nil {
			return err
		}
		pdf.AddPageFormat("P", fpdf.SizeType{Wd: size.width, Ht: height})
		newPage(pdf, size, scale).label(l)
	}
	return pdf.Output(w)
}

func newPDF(size Size) *fpdf.Fpdf {
	pdf := fpdf.NewCustom(&fpdf.InitType{UnitStr: "mm", Size: fpdf.SizeType{Wd: size.width, Ht: math.Max(size.height, 1)}})
	pdf.SetAutoPageBreak(false, 0)
	pdf.SetMargins(0, 0, 0)
	pdf.SetCellMargin(0)
	pdf.AddUTF8FontFromBytes("go", "", goregular.TTF)
	pdf.AddUTF8FontFromBytes("go", "B", gobold.TTF)
	pdf.SetCatalogSort(true) // otherwise in the random order of a map
	pdf.SetCreationDate(epoch)
	pdf.SetModificationDate(epoch)
	pdf.SetTitle("imagebuilder label", true)
	return pdf
}

// fit finds the scale at which a label fits the height of the paper, by setting it on a page
// that is thrown away, and the height at which a roll is cut.
func fit(size Size, l Label) (scale, height float64, err error) {
	for percent := 100; percent >= smallest; percent -= 5 {
		scale = float64(percent) / 100
		pdf := newPDF(size)
		pdf.AddPageFormat("P", fpdf.SizeType{Wd: size.width, Ht: 1000})
		p := newPage(pdf, size, scale)
		p.label(l)
		if pdf.Err() {
			return 0, 0, pdf.Error()
		}
		switch end := math.Ceil(p.y + size.margin); {
		case size.height == 0:
			return scale, end, nil
		case end <= size.height:
			return scale, size.height, nil
		}
	}
	return 0, 0, fmt.Errorf("%s: its label does not fit on %s: shorten the board's texts or the contact, or use --size %s", l.Node, size.name, Roll.name)
}
