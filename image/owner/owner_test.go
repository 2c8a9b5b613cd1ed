package owner_test

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/firstboot/secret"
	"github.com/going-mobile/imagebuilder/image/owner"
)

func word() (secret.String, error) { return "hunter2", nil }

// TestAKeySigns: the secret half is encrypted, its owner's alone, and signs a
// node.yaml whose ownerKey is the public half.
func TestAKeySigns(t *testing.T) {
	key := filepath.Join(t.TempDir(), "owner.key")
	public, err := owner.Generate(key, word)
	if err != nil {
		t.Fatal(err)
	}
	if fi, err := os.Stat(key); err != nil || runtime.GOOS != "windows" && fi.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", fi.Mode(), err)
	}
	asked := false
	private, err := owner.Open(key, func() (secret.String, error) {
		asked = true
		return word()
	})
	if !asked {
		t.Error("the key is not encrypted")
	}
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(filepath.Dir(key), "node.yaml")
	yaml := "version: 1\nnode: home-pi\nsite: home\nrole: server\nheadscale: {url: https://hs.example.net}\nk3s: {init: true, token: t}\nownerKey: " + public + "\n"
	if err := os.WriteFile(file, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := owner.SignNode(file, private); err != nil {
		t.Fatal(err)
	}
	signed, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if sig, err := node.ReadSignature(signed); err != nil || sig == nil || sig.By(public) != nil {
		t.Errorf("%v, %v:\n%s", sig, err, signed)
	}
}

// TestAKeyIsNeverWrittenOver: neither half is overwritten, and no password is asked for in
// that case.
func TestAKeyIsNeverWrittenOver(t *testing.T) {
	for _, there := range []string{"owner.key", "owner.key.pub"} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, there), []byte("mine"), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := owner.Generate(filepath.Join(dir, "owner.key"), func() (secret.String, error) {
			return "", errors.New("asked")
		})
		if err == nil || !strings.Contains(err.Error(), there+" exists") {
			t.Errorf("%s: %v", there, err)
		}
		if left, _ := os.ReadDir(dir); len(left) != 1 {
			t.Errorf("%s: %v", there, left)
		}
	}
}
