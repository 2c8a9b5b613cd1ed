//go:build linux

package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
)

// TestABuilderIsUnderstood: what a builder says to a node is among the commands here, with the
// flags that their usage has.
func TestABuilderIsUnderstood(t *testing.T) {
	const id = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	for _, command := range []string{
		contract.AskStatus, contract.AskDoctor, contract.AskPreview, contract.TellOffer, contract.TellKey, contract.TellRollback,
		contract.AskUpdate(id), contract.TellUpdate(id, 7), contract.AskUnlock("cabin-pi"), contract.TellUnlock("cabin-pi", time.Unix(1e9, 0).UTC()),
		contract.TellRevoke("cabin-pi", nil, false), contract.TellRevoke("cabin-pi", []string{"7"}, true),
	} {
		words := strings.Fields(command)
		at := slices.IndexFunc(verbs, func(v verb) bool { return v.name == words[1] })
		if words[0] != "firstboot" || at < 0 {
			t.Errorf("%q is none of the commands", command)
			continue
		}
		known := strings.FieldsFunc(verbs[at].args, func(r rune) bool { return strings.ContainsRune(" []|", r) })
		for _, w := range words[2:] {
			if strings.HasPrefix(w, "--") && !slices.Contains(known, w) {
				t.Errorf("%q: %s is none of %q", command, w, known)
			}
		}
	}
}

// TestUpdatesInPieces: what a builder says of them is what was meant.
func TestUpdatesInPieces(t *testing.T) {
	for command, want := range map[string]updateFlags{
		contract.AskUpdate("abc"):     {id: "abc"},
		contract.TellUpdate("abc", 7): {id: "abc", from: 7, json: true, file: "-"},
		contract.TellRollback:         {json: true, back: true},
	} {
		if got, err := parseUpdate(strings.Fields(command)[2:]); err != nil || got != want {
			t.Errorf("%q: %+v, %v", command, got, err)
		}
	}
}
