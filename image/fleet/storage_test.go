package fleet

import (
	"slices"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/firstboot/node"
)

func encrypted(t *testing.T, changes ...string) (*Fleet, error) {
	t.Helper()
	changes = append([]string{"sites:\n", "  storage: {encrypt: true}\nsites:\n"}, changes...)
	return Load("fleet.yaml", []byte(strings.NewReplacer(changes...).Replace(string(Example))), nil)
}

// TestWhoKeepsShares: no machine of the same site is a holder; the VPS, which is not
// encrypted, comes first.
func TestWhoKeepsShares(t *testing.T) {
	f, err := encrypted(t)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]string{
		"home-pi": {"vps", "cabin-pi"}, "home-box": {"vps", "cabin-pi"}, "cabin-pi": {"vps", "home-pi"}, "cabin-box": {"vps", "home-pi"},
	} {
		s := f.storageOf(name)
		if !s.Encrypt || !slices.Equal(s.Holders, want) || !slices.Contains(s.HolderTags, RoleTag(node.Control)) || slices.Contains(s.HolderTags, RoleTag(node.Agent)) {
			t.Errorf("%s: %+v, want %v", name, s, want)
		}
		if s.Hold != strings.HasSuffix(name, "-pi") {
			t.Errorf("%s: holds %v", name, s.Hold)
		}
	}
	if s := f.storageOf("vps"); s.Encrypt || !s.Hold || s.Holders != nil {
		t.Errorf("vps: %+v", s)
	}
	if c, err := f.answer("home-box", placeholder); err != nil || !c.Storage.Encrypt {
		t.Error(err)
	}
	policy, err := f.Policy()
	if err != nil || !strings.Contains(string(policy), "tag:k3s-witness:4163") {
		t.Errorf("the way to them is shut: %v", err)
	}
}

// TestNobodyHolds: without encryption no holders are configured and no ports are open for
// them.
func TestNobodyHolds(t *testing.T) {
	f, err := Load("fleet.yaml", Example, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range f.Nodes.Names {
		if s := f.storageOf(name); s.Encrypt || s.Hold || s.Holders != nil || s.HolderTags != nil {
			t.Errorf("%s: %+v", name, s)
		}
	}
	if policy, err := f.Policy(); err != nil || strings.Contains(string(policy), "4163") {
		t.Errorf("the port is open: %v", err)
	}
}

// TestNobodyCouldUnlock: an encrypted node without an unencrypted holder is refused, with
// the field and the remedy.
func TestNobodyCouldUnlock(t *testing.T) {
	withoutVPS := []string{"  vps: {", "  # {", "  cloud: {}", "", "    server: {", "    # {"}
	for what, c := range map[string]struct {
		changes []string
		want    []string
	}{
		"two that wait for each other": {withoutVPS, []string{"cluster.storage.encrypt", "nobody could unlock home-pi", "(cabin-pi) are encrypted themselves"}},
		"one site alone":               {append([]string{"site: cabin, role: server", "site: cabin, role: agent"}, withoutVPS...), []string{"nobody could unlock home-pi", "it has no server"}},
		"the VPS itself":               {[]string{"site: cloud, role", "site: cloud, storage: {encrypt: true}, role"}, []string{"nodes.vps.storage.encrypt", "nobody could unlock it"}},
	} {
		_, err := encrypted(t, c.changes...)
		for _, want := range c.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v lacks %q", what, err, want)
			}
		}
	}
	if _, err := encrypted(t, append([]string{"  cabin-pi: {", "  cabin-pi: {storage: {encrypt: false}, ", "  cabin-box: {", "  cabin-box: {storage: {encrypt: false}, "}, withoutVPS...)...); err != nil {
		t.Errorf("one that is open at another site: %v", err)
	}
}
