package node

import (
	"strings"
	"testing"
)

// TestStorage: a node that nobody could unlock, or whose share nobody would keep, is refused with
// the field.
func TestStorage(t *testing.T) {
	for text, want := range map[string]string{
		"role: server, storage: {encrypt: true, holders: [vps]}":                         "",
		"role: server, storage: {hold: true}":                                            "",
		"role: server, storage: {encrypt: true}":                                         `"storage.holders": is missing`,
		"role: server, storage: {holders: [vps]}":                                        `"storage.encrypt": is not true`,
		"role: server, storage: {encrypt: true, holders: [home-pi]}":                     `"storage.holders[0]": is this node itself`,
		"role: server, storage: {encrypt: true, holders: [vps, vps]}":                    `"storage.holders[1]": is listed twice`,
		"role: server, storage: {encrypt: true, holders: ['V P S']}":                     "storage.holders[0]",
		"role: server, storage: {encypt: true}":                                          "did you mean \"encrypt\"",
		"role: witness, control: {email: a@b.c}, storage: {encrypt: true, holders: [x]}": `"storage.encrypt": the node that runs Headscale`,
		"role: agent, storage: {encrypt: true, holders: [vps], hold: true}":              "",
	} {
		_, err := Load("node.yaml", []byte("{version: 1, node: home-pi, site: home, sealed: true, k3s: {servers: [other]}, headscale: {url: 'https://h.example.net'}, "+text+"}"))
		switch {
		case want == "" && err != nil:
			t.Errorf("%s: %v", text, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}
