package main

import (
	"errors"
	"testing"
)

// TestCardsLeft: where the creator's card is good, the others' are made by "flash --node",
// and nobody makes the cluster anew for them.
func TestCardsLeft(t *testing.T) {
	fault := errors.New("no room")
	for want, c := range map[string]struct{ written, missing []string }{
		"the lost nodes are forgotten; do it again for home-pi, cabin-pi: no room": {nil, []string{"home-pi", "cabin-pi", "box"}},
		"the lost nodes are forgotten, and these cards are good: cabin-pi; do it again for home-pi: no room": {
			[]string{"cabin-pi"}, []string{"home-pi", "box"}},
		"the lost nodes are forgotten, and these cards are good: home-pi; still to be written: imagebuilder flash --node cabin-pi --node box: no room": {
			[]string{"home-pi"}, []string{"cabin-pi", "box"}},
		"the lost nodes are forgotten, and all cards are written, but: no room": {[]string{"home-pi", "cabin-pi", "box"}, nil},
	} {
		if err := cardsLeft("home-pi", []string{"home-pi", "cabin-pi"}, c.written, c.missing, fault); err.Error() != want || !errors.Is(err, fault) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
