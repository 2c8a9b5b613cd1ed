package gate_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/image/rootfs"
	"github.com/going-mobile/imagebuilder/image/rootfs/gate"
)

// TestEffectsExist ties models to the code that reproduces them: every effect
// named here is one of rootfs, made for that package, and every package that
// rootfs has an effect for, and that has scripts of its own, has a model.
func TestEffectsExist(t *testing.T) {
	effects := map[string][]string{}
	for _, e := range rootfs.Effects {
		effects[e.Name] = e.Packages
	}
	modelled := map[string]*gate.Model{}
	for _, m := range gate.Models() {
		modelled[m.Package] = m
		for _, name := range m.Effects {
			if strings.HasPrefix(name, "elsewhere: ") {
				continue
			}
			packages, ok := effects[name]
			if !ok {
				t.Errorf("%s: rootfs has no effect %q", m.Package, name)
			} else if !slices.Contains(packages, m.Package) {
				t.Errorf("%s: rootfs's effect %q is not for it", m.Package, name)
			}
		}
	}
	for _, e := range rootfs.Effects {
		for _, p := range e.Packages {
			if m := modelled[p]; m != nil && !slices.Contains(m.Effects, e.Name) {
				t.Errorf("models.yaml: %s lacks the effect %q", p, e.Name)
			}
		}
	}
}
