package fleet

import (
	"crypto/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestSignerWithoutSecrets: a fleet.yaml that Git brought without secrets/ needs that
// directory. There need not be any age identity to look for.
func TestSignerWithoutSecrets(t *testing.T) {
	dir := t.TempDir()
	if err := Init(dir, InitOptions{Name: "shed", Headscale: "https://hs.example.org"}, time.Now(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	f, err := LoadFile(filepath.Join(dir, FileName), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Signer(); err != nil {
		t.Error(err)
	}
	key := filepath.Join(dir, SecretsDir, ownerKeyFile)
	if err := os.Remove(key); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Signer(); err == nil || !strings.Contains(err.Error(), "owner.key is missing") || strings.Contains(err.Error(), AgeIdentityEnv) {
		t.Errorf("neither file: %v", err)
	}
	if err := os.WriteFile(key+".age", []byte("age-encryption.org/v1"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Signer(); err == nil || !strings.Contains(err.Error(), AgeIdentityEnv) {
		t.Errorf("the encrypted one: %v", err)
	}
}
