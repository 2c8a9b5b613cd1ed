package token_test

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/image/token"
)

const module = "/usr/lib/softhsm/libsofthsm2.so"

// newToken makes a SoftHSM token with a key, and returns that key.
func newToken(t *testing.T) *rsa.PrivateKey {
	t.Helper()
	dir := t.TempDir()
	write(t, dir+"/softhsm2.conf", "directories.tokendir = "+dir+"\nobjectstore.backend = file\n")
	write(t, dir+"/pin", "471147\n")
	t.Setenv("SOFTHSM2_CONF", dir+"/softhsm2.conf")
	t.Setenv("PIN_FILE", dir+"/pin")
	key := filepath.Join(dir, "key.pem")
	run(t, "openssl", "genpkey", "-quiet", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", key)
	run(t, "softhsm2-util", "--init-token", "--free", "--label", "drawer", "--pin", "471147", "--so-pin", "471147")
	run(t, "softhsm2-util", "--import", key, "--token", "drawer", "--label", "secure boot", "--id", "0a", "--pin", "471147")
	data, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(data)
	k, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return k.(*rsa.PrivateKey)
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %q: %v (is it installed? run `make deps`)\n%s", name, args, err, out)
	}
}

// TestSign: the token's signature equals the key's, whether the token is named or the only
// one.
func TestSign(t *testing.T) {
	key := newToken(t)
	sum := sha256.Sum256([]byte("a program"))
	want, err := key.Sign(nil, sum[:], crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	how := "?module-path=" + module + "&pin-source=file:" + os.Getenv("PIN_FILE")
	for _, uri := range []string{"pkcs11:token=drawer;id=%0a" + how, "pkcs11:id=%0A;type=private" + how} {
		k, err := token.Open(uri, &key.PublicKey)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := k.Sign(nil, sum[:], crypto.SHA256); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %x, %v", uri, got, err)
		}
	}
}

// TestSignRefuses: another key, a wrong PIN, a token that is not there; none of the
// errors has the PIN.
func TestSignRefuses(t *testing.T) {
	key := newToken(t)
	other := rsa.PublicKey{N: key.N, E: 3}
	how := "?module-path=" + module + "&pin-source="
	wrong := filepath.Join(t.TempDir(), "pin")
	write(t, wrong, "110811\n")
	sum := sha256.Sum256(nil)
	for name, c := range map[string]struct {
		uri    string
		public *rsa.PublicKey
		want   string
	}{
		"another's certificate": {"pkcs11:id=%0A" + how + os.Getenv("PIN_FILE"), &other, "another key than the certificate's"},
		"a wrong PIN":           {"pkcs11:id=%0A" + how + wrong, &key.PublicKey, "CKR_PIN_INCORRECT"},
		"no such token":         {"pkcs11:token=shelf;id=%0A" + how + os.Getenv("PIN_FILE"), &key.PublicKey, "pkcs11-tool: "},
		"no such key":           {"pkcs11:id=%0B" + how + os.Getenv("PIN_FILE"), &key.PublicKey, "pkcs11-tool: "},
		"no library":            {"pkcs11:id=%0A?module-path=/none.so&pin-source=" + os.Getenv("PIN_FILE"), &key.PublicKey, "pkcs11-tool: "},
		"no PIN there":          {"pkcs11:id=%0A" + how + "/none", &key.PublicKey, "the token's PIN: open /none"},
	} {
		k, err := token.Open(c.uri, c.public)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := k.Sign(nil, sum[:], crypto.SHA256); err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "110811") {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	k, err := token.Open("pkcs11:id=%0A"+how+os.Getenv("PIN_FILE"), &key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.Sign(nil, sum[:], crypto.SHA512); err == nil {
		t.Error("a SHA-512 was signed")
	}
}

func TestURIs(t *testing.T) {
	for uri, want := range map[string]string{
		"pkcs12:id=%0A?module-path=/m":          "has pkcs11: in front",
		"pkcs11:id=%0A":                         "needs ?module-path=",
		"pkcs11:token=k?module-path=/m":         "needs id=",
		"pkcs11:object=k?module-path=/m":        "object= is not known here",
		"pkcs11:id=%0A?module-path=/m&pin=1":    "pin= is not known here",
		"pkcs11:id=%0A;type=cert?module-path=m": "a private key signs",
		"pkcs11:id=%zz?module-path=/m":          "id: ",
		"pkcs11:id=%0A?pin-value=4711":          "puts the PIN where others can read it",
	} {
		if _, err := token.Open(uri, nil); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "4711") {
			t.Errorf("%s: %v, want %q", uri, err, want)
		}
	}
}
