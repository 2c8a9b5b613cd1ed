package label

import (
	"fmt"
	"unicode"

	"golang.org/x/image/font/gofont/goregular"
	"golang.org/x/image/font/sfnt"
)

// readable refuses characters that the font would print as empty boxes.
func readable(labels []Label) error {
	font, err := sfnt.Parse(goregular.TTF)
	if err != nil {
		return err
	}
	var buf sfnt.Buffer
	for _, l := range labels {
		for _, text := range l.texts() {
			for _, r := range text {
				glyph, err := font.GlyphIndex(&buf, r)
				if err == nil && glyph == 0 && !unicode.IsSpace(r) {
					return fmt.Errorf("%s: its label would lack %q of %q: the font has Latin, Greek and Cyrillic letters", l.Node, r, text)
				}
			}
		}
	}
	return nil
}

// texts are all texts on the label except this package's own.
func (l Label) texts() []string {
	out := []string{l.Node, l.Site, l.Board.Title, l.Contact}
	for _, text := range texts(&l.Board.Label) {
		out = append(out, *text)
	}
	return out
}
