package authenticode

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// files are a key and a certificate of it, as openssl makes them.
type files struct{ key, cert string }

func made(t *testing.T) (files, *Signer) {
	t.Helper()
	dir := t.TempDir()
	f := files{filepath.Join(dir, "key.pem"), filepath.Join(dir, "cert.pem")}
	run(t, "openssl", "req", "-new", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "3650", "-subj", "/CN=shed's own key/", "-keyout", f.key, "-out", f.cert)
	s, err := New(content(t, f.key), content(t, f.cert))
	if err != nil {
		t.Fatal(err)
	}
	return f, s
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v (is it installed? run make deps)\n%s", name, err, out)
	}
	return string(out)
}

func content(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func write(t *testing.T, name string, data []byte) string {
	t.Helper()
	name = filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// programs are unsigned ones of systemd.
func programs(t *testing.T) []string {
	t.Helper()
	all, err := filepath.Glob("/usr/lib/systemd/boot/efi/*.efi*")
	if err != nil || len(all) == 0 {
		t.Fatal("there are no EFI programs (systemd-boot-efi): run make deps")
	}
	return all
}

// TestSign lets sbverify judge.
func TestSign(t *testing.T) {
	f, s := made(t)
	other, _ := made(t)
	for _, name := range programs(t) {
		program := content(t, name)
		signed, err := s.Sign(program)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		again, err := s.Sign(program)
		if err != nil || !bytes.Equal(signed, again) {
			t.Errorf("%s: signed twice it differs, %v", name, err)
		}
		out := write(t, "signed.efi", signed)
		if said := run(t, "sbverify", "--cert", f.cert, out); !strings.Contains(said, "Signature verification OK") {
			t.Errorf("%s: %s", name, said)
		}
		if exec.Command("sbverify", "--cert", other.cert, out).Run() == nil {
			t.Errorf("%s: another's certificate is as good", name)
		}
		for _, at := range []int{0x200, len(program) / 2, len(program) - 1} {
			changed := bytes.Clone(signed)
			changed[at] ^= 1
			if exec.Command("sbverify", "--cert", f.cert, write(t, "changed.efi", changed)).Run() == nil {
				t.Errorf("%s: sbverify takes it with byte %d changed", name, at)
			}
		}
		if _, err := s.Sign(signed); err == nil || !strings.Contains(err.Error(), "signature already") {
			t.Errorf("%s: signed again: %v", name, err)
		}
	}
}

// TestVariable compares with what efitools makes of the same.
func TestVariable(t *testing.T) {
	f, s := made(t)
	at := time.Date(2026, 11, 22, 5, 11, 7, 0, time.UTC)
	list := filepath.Join(t.TempDir(), "list.esl")
	run(t, "cert-to-efi-sig-list", "-g", "00000000-0000-0000-0000-000000000000", f.cert, list)
	for _, name := range Variables {
		got, err := s.Variable(name, at)
		if err != nil {
			t.Fatal(err)
		}
		want := filepath.Join(t.TempDir(), name+".auth")
		cmd := exec.Command("sign-efi-sig-list", "-t", "2026-11-22 05:11:07", "-k", f.key, "-c", f.cert, name, list, want)
		cmd.Env = append(os.Environ(), "TZ=UTC")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if !bytes.Equal(got, content(t, want)) {
			t.Errorf("%s: %d bytes are others than efitools' %d", name, len(got), len(content(t, want)))
		}
	}
}

// TestKeysThatNoFirmwareReads are refused, with why.
func TestKeysThatNoFirmwareReads(t *testing.T) {
	f, _ := made(t)
	other, _ := made(t)
	cert := content(t, f.cert)
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	curve, err2 := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	eight := func(key any) []byte {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	}
	for name, c := range map[string]struct {
		key, cert []byte
		want      string
	}{
		"nothing":        {nil, cert, "the key: not in PEM form"},
		"small":          {eight(small), cert, "1024 bits"},
		"a curve":        {eight(curve), cert, "RSA alone"},
		"locked":         {pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte{1}}), cert, "locked by a password"},
		"another's":      {content(t, other.key), cert, "of another key"},
		"no certificate": {content(t, f.key), content(t, f.key), "the certificate: not in PEM form"},
		"half of one":    {content(t, f.key), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte{0x30, 0x80}}), "the certificate: "},
	} {
		if _, err := New(c.key, c.cert); err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "PRIVATE") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzSign: what is no program is an error.
func FuzzSign(f *testing.F) {
	key, err := rsa.GenerateKey(rand.Reader, leastBits)
	if err != nil {
		f.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "x"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		f.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		f.Fatal(err)
	}
	s := &Signer{key, cert}
	f.Add([]byte("MZ"))
	f.Fuzz(func(t *testing.T, data []byte) { _, _ = s.Sign(data) })
}
