//go:build e2e

package e2e

import (
	"bytes"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/image/hardware"
)

// What the kernel asks modprobe for when a node encrypts its data (fs/crypto/keysetup.c,
// crypto/adiantum.c of 6.12): package fscrypt chooses between the two by the processor.
var (
	forAES      = []string{"crypto-xts", "crypto-cts", "crypto-aes"}
	forAdiantum = []string{"crypto-adiantum", "crypto-xchacha12", "crypto-nhpoly1305", "crypto-aes"}
)

// withoutAES are boards whose processors have no instructions for AES, and withAES those
// whose all have; of the others nobody knows.
var (
	withoutAES = []string{"rpi3", "rpi4"}
	withAES    = []string{"rpi5", "optiplex-7050"}
)

// TestANodeHasTheCiphersThatItChooses: no emulated Pi is without AES, so none asks for what
// a real one does. The step that does is firstboot's, long after the root is there.
func TestANodeHasTheCiphersThatItChooses(t *testing.T) {
	eachBoard(t, func(t *testing.T, name, img string) {
		k, root := wholeKernel(t, img), rootOf(t, img)
		if _, err := root.Resolve("sbin/modprobe"); err != nil { // whom the kernel asks
			t.Error(err)
		}
		have := hardware.Modules(root)
		for _, alias := range ciphersOf(name) {
			modules := k.drivers(t, alias)
			for _, m := range modules { // without it a Pi's are three times as slow
				if strings.HasSuffix(m, "_neon") && !have[m] {
					t.Errorf("%s: the fast one, %s, is not in the image", alias, m)
				}
			}
			works := func(m string) bool { return have[m] && !instructions.MatchString(m) }
			if !k.compiledIn(t, alias) && !slices.ContainsFunc(modules, works) {
				t.Errorf("%s: none of %q is in the image, and none is compiled in", alias, modules)
			}
		}
	})
}

// instructions are in the names of modules that want a processor with AES.
var instructions = regexp.MustCompile(`aesni|_ce\b|_ce_`)

// compiledIn: modprobe tells of that only where no module has the name.
func (k kernel) compiledIn(t *testing.T, alias string) bool {
	t.Helper()
	return bytes.Contains(k.index(t, "modules.builtin.modinfo"), []byte(".alias="+alias+"\x00"))
}

func ciphersOf(board string) []string {
	switch {
	case slices.Contains(withoutAES, board):
		return forAdiantum
	case slices.Contains(withAES, board):
		return forAES
	}
	return slices.Concat(forAES, forAdiantum)
}
