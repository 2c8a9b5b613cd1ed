package control

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/image/fleet"
)

const withoutMachine = `version: 1
cluster:
  name: shed
  headscale:
    url: https://hs.invalid:PORT
    apiKey: {file: api.key}
    server: {hostKey: {file: host.key}, loginKey: {file: login.key}}
  k3s: {token: {file: server.token}}
sites: {cloud: {}, home: {}}
nodes:
  vps: {board: generic-amd64, site: cloud, role: control}
  home-pi: {board: rpi4, site: home, role: server}
`

// TestNobodyAnswers: nothing is claimed about a machine that could not be asked.
func TestNobodyAnswers(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(closed.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	dir := t.TempDir()
	for name, text := range map[string]string{"fleet.yaml": strings.Replace(withoutMachine, "PORT", port, 1), "api.key": "hskey-api-abc-def"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f, err := fleet.LoadFile(filepath.Join(dir, "fleet.yaml"), nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Init(t.Context(), f, Address{}, time.Now)
	if err == nil || !strings.Contains(err.Error(), "no Headscale answers at https://hs.invalid:"+port+": is vps on") || strings.Contains(err.Error(), "has Headscale") {
		t.Error(err)
	}
}
