package label

import (
	"fmt"
	"slices"
	"strings"

	"github.com/going-mobile/imagebuilder/image/board"
)

// Language maps the English texts of a label to their translations. A text without a
// translation stays English, such as that of somebody's own board.
type Language map[string]string

// languages by BCP 47 tag.
var languages = map[string]Language{"en": nil, "de": german, "fr": french, "es": spanish, "pt": portuguese}

// Tags are the tags of all languages, English first.
var Tags = []string{"en", "de", "fr", "es", "pt"}

// ParseLanguage parses a tag given by a user.
func ParseLanguage(tag string) (Language, error) {
	l, ok := languages[tag]
	if !ok {
		return nil, fmt.Errorf("unknown language %q: use %s", tag, strings.Join(Tags, ", "))
	}
	return l, nil
}

// The texts on all labels.
const (
	plugIn     = "Plug in, in this order"
	lightsMean = "What the lights mean"
	howFar     = "How far is it? Scan this"
	scanWith   = "with a telephone in the same network, or open %s. The page ends when the node has joined."
	trouble    = "Trouble? Call"
)

func (l Language) say(english string) string {
	if words, ok := l[english]; ok {
		return words
	}
	return english
}

// translated is the label with the board's texts in its language. Colour names in the
// board's data stay, as the colours are painted, too.
func (l Label) translated() Label {
	b := *l.Board
	b.Label.Plug, b.Label.Sides, b.Label.LEDs = slices.Clone(b.Label.Plug), slices.Clone(b.Label.Sides), slices.Clone(b.Label.LEDs)
	for _, text := range texts(&b.Label) {
		*text = l.Language.say(*text)
	}
	l.Board = &b
	return l
}

// texts are all texts of a board's label.
func texts(l *board.Label) []*string {
	all := []*string{&l.Note}
	for i := range l.Plug {
		all = append(all, &l.Plug[i].What)
	}
	for i := range l.Sides {
		all = append(all, &l.Sides[i].Title)
	}
	for i := range l.LEDs {
		all = append(all, &l.LEDs[i].Name, &l.LEDs[i].Means)
	}
	return all
}
