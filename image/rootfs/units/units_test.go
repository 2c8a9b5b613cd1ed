package units

import "testing"

func TestUnitNames(t *testing.T) {
	for name, want := range map[string]bool{"a.service": true, "a@.service": true, "a@b.mount": true, "dev-disk-by\\x2did.swap": true,
		".service": false, "@b.service": false, "a": false, "a.conf": false, "a/b.service": false, "": false} {
		if got := isUnitName(name); got != want {
			t.Errorf("isUnitName(%q) is %v", name, got)
		}
	}
}

func TestPresetsAreReadOrRefused(t *testing.T) {
	list, err := parsePresets("# comment\nenable a.service\nenable tmpl@.service one two\ndisable *\n", "x.preset")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"a.service": true, "tmpl@one.service": true, "tmpl@three.service": false, "b.socket": false} {
		if p, err := presetOf(list, name); err != nil || p.enable != want {
			t.Errorf("%s: %v, %v", name, p.enable, err)
		}
	}
	if _, err := parsePresets("ignore x.service", "1.preset"); err == nil {
		t.Error("a word that systemd reads otherwise is accepted")
	}
}
