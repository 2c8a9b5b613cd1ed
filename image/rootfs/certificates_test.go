package rootfs

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// certificateOf makes a self-signed certificate with the given subject, in
// DER.
func certificateOf(t testing.TB, subject []byte, serial int64) []byte {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	noErr(t, err)
	c := &x509.Certificate{SerialNumber: big.NewInt(serial), RawSubject: subject,
		NotBefore: testEpoch, NotAfter: testEpoch.Add(24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, public, private)
	noErr(t, err)
	return der
}

func pemOf(der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// rdn encodes one set of commonName attributes with values of a given tag.
func rdn(tag byte, values ...string) []byte {
	oid, _ := asn1.Marshal(asn1.ObjectIdentifier{2, 5, 4, 3})
	var set []byte
	for _, v := range values {
		set = append(set, wrap(0x30, append(bytes.Clone(oid), wrap(tag, []byte(v))...))...)
	}
	return wrap(0x31, set)
}

// subjects are names that OpenSSL's canonical form treats in different ways.
func subjects() map[string][]byte {
	long := strings.Repeat("Long ", 60)
	name := func(sets ...[]byte) []byte { return wrap(0x30, bytes.Join(sets, nil)) }
	return map[string][]byte{
		"plain":     name(rdn(0x13, "Example Root")),
		"blanks":    name(rdn(0x0c, "  Example \t\n  ROOT  ")),
		"umlaut":    name(rdn(0x0c, "ÄRGER Root")),
		"latin1":    name(rdn(0x14, "\xc4RGER Root")),
		"bmp":       name(rdn(0x1e, "\x00E\x00x\x20\xac\x00 \x00R")),
		"universal": name(rdn(0x1c, "\x00\x00\x00E\x00\x01\xf6\x00")),
		"ia5":       name(rdn(0x16, "ia5@Example.ORG")),
		"numeric":   name(rdn(0x12, "12 34")),
		"several":   name(rdn(0x13, "Zulu", "alpha", "Bravo"), rdn(0x0c, "Second")),
		"long":      name(rdn(0x0c, long), rdn(0x0c, long+long)),
		"empty":     name(),
		"blank":     name(rdn(0x0c, "   ")),
	}
}

func openssl(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Fatal("openssl is missing: run make deps")
	}
	cmd := exec.Command("openssl", args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("openssl %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func TestSubjectHashEqualsOpenSSL(t *testing.T) {
	for name, subject := range subjects() {
		t.Run(name, func(t *testing.T) {
			der := certificateOf(t, subject, 7)
			got, err := subjectHash(der)
			noErr(t, err)
			if want := openssl(t, pemOf(der), "x509", "-noout", "-subject_hash"); got != want {
				t.Errorf("hash %s, openssl says %s", got, want)
			}
		})
	}
}

// TestNegativeSerial: crypto/x509 would refuse such a certificate.
func TestNegativeSerial(t *testing.T) {
	subject := wrap(0x30, rdn(0x13, "Old CA"))
	der := certificateOf(t, subject, 0x7f)
	der = bytes.Replace(der, []byte{2, 1, 0x7f}, []byte{2, 1, 0x81}, 1)
	got, err := subjectHash(der)
	noErr(t, err)
	if want := openssl(t, pemOf(der), "x509", "-noout", "-subject_hash"); got != want {
		t.Errorf("hash %s, openssl says %s", got, want)
	}
}

// TestCertificatesEqualRehash compares links with those of openssl-rehash(1).
func TestCertificatesEqualRehash(t *testing.T) {
	same := wrap(0x30, rdn(0x13, "Same Name"))
	twice := pemOf(certificateOf(t, same, 3))
	s := stateOf(t, "", "ca-certificates")
	for name, text := range map[string]string{
		certsFrom + "/mozilla/Zebra CA (old),1.crt": pemOf(certificateOf(t, same, 1)),
		certsFrom + "/mozilla/Alpha.crt":            strings.TrimSuffix(pemOf(certificateOf(t, same, 2)), "\n"),
		certsFrom + "/mozilla.crt":                  pemOf(certificateOf(t, subjects()["umlaut"], 4)),
		certsFrom + "/other/Copy.crt":               twice,
		certsLocal + "/Local.crt":                   twice,
	} {
		noErr(t, s.file(name, 0o644, text))
	}
	noErr(t, certificates(s))

	conf, _ := s.text("etc/ca-certificates.conf")
	wantConf := certificatesConf + "mozilla.crt\nmozilla/Alpha.crt\nmozilla/Zebra CA (old),1.crt\nother/Copy.crt\n"
	if conf != wantConf {
		t.Errorf("ca-certificates.conf ends in\n%s", strings.TrimPrefix(conf, certificatesConf))
	}
	bundle, _ := s.text(certsTo + "/ca-certificates.crt")
	if got := strings.Count(bundle, "-----END CERTIFICATE-----\n"); got != 5 {
		t.Errorf("the bundle has %d certificates on lines of their own, not 5", got)
	}

	dir := t.TempDir()
	materialise(t, s.tree, dir)
	certs := filepath.Join(dir, certsTo)
	ours := linksIn(t, certs)
	for link := range ours {
		if target := ours[link]; filepath.IsAbs(target) { // NAME.pem: lead it into the directory of the test
			noErr(t, os.Remove(filepath.Join(certs, link)))
			noErr(t, os.Symlink(filepath.Join(dir, target), filepath.Join(certs, link)))
			ours[link] = filepath.Join(dir, target)
		} else {
			noErr(t, os.Remove(filepath.Join(certs, link)))
		}
	}
	openssl(t, "", "rehash", certs)
	theirs := linksIn(t, certs)
	for link, target := range theirs {
		if ours[link] != target {
			t.Errorf("openssl links %s → %s, we → %q", link, target, ours[link])
		}
	}
	if len(ours) != len(theirs) {
		t.Errorf("we have %d links, openssl %d", len(ours), len(theirs))
	}
	if ours["Zebra_CA_=old=_1.pem"] == "" {
		t.Errorf("links are %v", ours)
	}
}

func linksIn(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	noErr(t, err)
	links := map[string]string{}
	for _, e := range entries {
		if target, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil {
			links[e.Name()] = target
		}
	}
	return links
}

// authorities is a root that has three, and an overlay's list of the trusted ones.
func authorities(t *testing.T, list string) *state {
	t.Helper()
	s := stateOf(t, "", "ca-certificates")
	for i, name := range []string{"A", "B", "C"} {
		noErr(t, s.file(certsFrom+"/mozilla/"+name+".crt", 0o644, pemOf(certificateOf(t, wrap(0x30, rdn(0x13, name)), int64(i)))))
	}
	if list != "" {
		noErr(t, s.file(certsList, 0o644, list))
	}
	return s
}

// TestDistrusted: what an overlay's list does not have, or has behind "!", is trusted in
// no form: neither by the bundle nor by name nor by hash.
func TestDistrusted(t *testing.T) {
	for _, list := range []string{"# ours\n\nmozilla/C.crt\n!mozilla/B.crt\nmozilla/A.crt\n", "mozilla/C.crt\r\nmozilla/A.crt"} {
		s := authorities(t, list)
		noErr(t, certificates(s))
		bundle, _ := s.text(certsBundle)
		a, _ := s.text(certsFrom + "/mozilla/A.crt")
		c, _ := s.text(certsFrom + "/mozilla/C.crt")
		if bundle != c+a {
			t.Errorf("%q: the bundle is\n%s", list, bundle)
		}
		b, _ := s.text(certsFrom + "/mozilla/B.crt")
		der, err := firstCertificate(b)
		noErr(t, err)
		hash, err := subjectHash(der)
		noErr(t, err)
		if s.exists(certsTo+"/"+hash+".0") || s.exists(certsTo+"/B.pem") || !s.exists(certsTo+"/A.pem") {
			t.Errorf("%q:\n%s", list, dump(s.tree, certsTo))
		}
		if kept, _ := s.text(certsList); kept != list {
			t.Errorf("the list became %q", kept)
		}
	}
	for list, want := range map[string]string{
		"mozilla/A.crt\n!mozilla/b.crt": "/etc/ca-certificates.conf lists mozilla/b.crt, which is not there",
		"mozilla/D.crt":                 "/etc/ca-certificates.conf lists mozilla/D.crt, which is not there",
		"!mozilla/B.crt":                "only says that mozilla/B.crt is not trusted",
	} {
		wantErr(t, certificates(authorities(t, list)), want)
	}
}

// TestPrunedButTrusted: the file of an authority is not what trusts it.
func TestPrunedButTrusted(t *testing.T) {
	pruned := func(list string, paths ...string) error {
		s := authorities(t, list)
		noErr(t, certificates(s))
		after := s.tree.Clone()
		for _, p := range paths {
			after.Remove(p)
		}
		return CheckTrust(s.tree, after)
	}
	wantErr(t, pruned("", certsFrom+"/mozilla/B.crt"), "prune: /usr/share/ca-certificates/mozilla/B.crt goes, and stays trusted")
	wantErr(t, pruned("", certsFrom), "/usr/share/ca-certificates/mozilla/A.crt")
	noErr(t, pruned(""))
	noErr(t, pruned("", certsFrom, certsTo))
	noErr(t, pruned("mozilla/A.crt", certsFrom+"/mozilla/B.crt"))
}

func TestCertificatesRefuse(t *testing.T) {
	for _, text := range []string{"", "no PEM", pemOf([]byte("no DER")), pemOf(wrap(0x30, nil)), pemOf([]byte{0x30, 0x80})} {
		s := stateOf(t, "")
		noErr(t, s.file(certsFrom+"/bad.crt", 0o644, text))
		wantErr(t, certificates(s), "bad.pem")
	}
}

func FuzzSubjectHash(f *testing.F) {
	for _, s := range subjects() {
		f.Add(certificateOf(f, s, 1))
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		if hash, err := subjectHash(der); err == nil && len(hash) != 8 {
			t.Errorf("hash %q", hash)
		}
	})
}
