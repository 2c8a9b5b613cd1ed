package vps

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/image/fleet"
)

// TestFind: an address may have a port, and IPv6 its brackets. Without one, fleet.yaml tells.
func TestFind(t *testing.T) {
	f, err := fleet.Load(filepath.Join(t.TempDir(), fleet.FileName), fleet.Example, nil)
	if err != nil {
		t.Fatal(err)
	}
	for address, want := range map[string]Place{
		"":                     {strings.TrimPrefix(f.Cluster.Headscale.URL, "https://"), "22", "--address"},
		"vps.example.net":      {"vps.example.net", "22", "--address"},
		"vps.example.net:2222": {"vps.example.net", "2222", "--address"},
		"192.0.2.7:2222":       {"192.0.2.7", "2222", "--address"},
		"2001:db8::7":          {"2001:db8::7", "22", "--address"},
		"[2001:db8::7]":        {"2001:db8::7", "22", "--address"},
		"[2001:db8::7]:2222":   {"2001:db8::7", "2222", "--address"},
	} {
		if got, err := Find(f, address, "--address"); err != nil || got != want {
			t.Errorf("%q: %v, %v; want %v", address, got, err, want)
		}
	}
}
