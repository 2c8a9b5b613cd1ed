//go:build linux

package doctor_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot"
	"github.com/going-mobile/imagebuilder/firstboot/doctor"
)

// way leads every name to this machine, where Headscale answers, or an error.
type way struct {
	firstboot.Net
	err error
}

var here = netip.MustParseAddr("203.0.113.20")

func (way) Links(context.Context) ([]firstboot.Link, error) {
	return []firstboot.Link{{Name: "eth0", Carrier: true, Addresses: []netip.Addr{here}}}, nil
}
func (way) Resolve(context.Context, string) ([]netip.Addr, error) { return []netip.Addr{here}, nil }
func (w way) Control(context.Context, string, string) error       { return w.err }
func (u units) Log(context.Context, string, int) (string, error)  { return u.log, nil }

// TestHeadscale: where it runs, it is said whether the world finds it, why not, and
// how long that will last.
func TestHeadscale(t *testing.T) {
	const (
		config = "version: 1\nnode: vps\nsite: cloud\nrole: control\nheadscale: {url: \"https://headscale.example.net\"}\ncontrol: {}\n"
		none   = `2026/11/30 13:52:17 http: TLS handshake error from 203.0.113.20:41540: acme/autocert: unable to satisfy "https://ca/1" for domain "headscale.example.net": no viable challenge type found`
	)
	kept := t.TempDir()
	find := func(left time.Duration, err error) (fit bool, lines []string) {
		root, h := healthy(t)
		u := h.Units.(units)
		u.up["headscale.service"], u.log = true, none
		h.Units, h.Net = u, way{err: err}
		write(t, root, "boot/firmware/imagebuilder.json", "{}")
		write(t, root, "boot/firmware/node.yaml", config)
		write(t, root, "etc/headscale/backup.yaml", "path: "+kept+"\n")
		if left != 0 {
			write(t, root, "var/lib/headscale/acme/headscale.example.net", lasting(t, left))
		}
		all := doctor.Examine(t.Context(), h)
		for _, f := range all {
			if f.Group == "Headscale" {
				lines = append(lines, f.Check+" "+string(f.Verdict)+" "+f.Detail)
			}
		}
		return doctor.Fit(all), lines
	}
	day := 24 * time.Hour
	copyOf(t, kept, time.Now().Add(-3*time.Hour))
	until := time.Now().Add(60 * day).UTC().Format(time.DateOnly)
	if fit, got := find(60*day, nil); !fit || !slices.Equal(got, []string{"headscale.example.net ok ", "certificate ok until " + until, "copy in " + kept + " ok "}) {
		t.Errorf("well: %q", got)
	}
	if fit, got := find(3*day, nil); !fit || len(got) != 3 || !strings.HasPrefix(got[1], "certificate warning Headscale's certificate ends ") {
		t.Errorf("not renewed: %q", got)
	}
	if fit, got := find(0, errors.New("remote error: tls: internal error")); fit || len(got) != 2 || !strings.Contains(got[0], "FAILED The certificate authority found no proof that headscale.example.net is this machine") {
		t.Errorf("no certificate: %q", got)
	}
}

func copyOf(t *testing.T, dir string, at time.Time) {
	t.Helper()
	write(t, dir, at.UTC().Format("headscale-20060102T150405Z.tar.gz"), "")
}

// TestCopies: hours that left none, in whichever place, is told of, and so is a bucket that
// cannot be asked, or that another machine writes to.
func TestCopies(t *testing.T) {
	late, none, own := t.TempDir(), t.TempDir(), t.TempDir()
	copyOf(t, late, time.Now().Add(-5*time.Hour-time.Minute))
	copyOf(t, own, time.Now().Add(-time.Hour))
	s3 := func(at string) string {
		return fmt.Sprintf("\ns3: {endpoint: %q, region: r, bucket: b, accessKey: k, secretKey: s}", at)
	}
	others := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "<ListBucketResult><Contents><Key>headscale-20991231T033000Z.tar.gz</Key></Contents></ListBucketResult>")
	}))
	defer others.Close()
	for settings, want := range map[string]string{
		"path: " + late: "is 5 hours old, though one is made every hour",
		"path: " + none: "there is none though",
		"path: " + own + s3("http://127.0.0.1:1"): "connection refused",
		"path: " + own + s3(others.URL):           "headscale-20991231T033000Z.tar.gz, was written by another machine",
		"paths: x":                                `field "paths": unknown`,
	} {
		root, h := healthy(t)
		h.Units.(units).up["headscale.service"] = true
		write(t, root, "etc/headscale/backup.yaml", settings+"\n")
		all := doctor.Examine(t.Context(), h)
		last := all[slices.IndexFunc(all, func(f doctor.Finding) bool {
			return f.Group == "Headscale" && f.Verdict == doctor.Warning && strings.HasPrefix(f.Check, "cop")
		})]
		if !strings.Contains(last.Detail, want) || !doctor.Fit(all) {
			t.Errorf("%s: %+v, want %q", settings, last, want)
		}
	}
}

// TestANewHeadscale is not told of what its first hours bring, but of a bucket that it
// cannot ask; one of this morning has had its copies.
func TestANewHeadscale(t *testing.T) {
	for age, want := range map[time.Duration]doctor.Verdict{time.Hour: doctor.OK, 5 * time.Hour: doctor.Warning} {
		root, h := healthy(t)
		h.Units.(units).up["headscale.service"] = true
		write(t, root, "etc/headscale/backup.yaml", "path: "+t.TempDir()+"\ns3: {endpoint: \"http://127.0.0.1:1\", region: r, bucket: b, accessKey: k, secretKey: s}\n")
		const key = "var/lib/headscale/noise_private.key"
		write(t, root, key, "privkey:x")
		born := time.Now().Add(-age)
		if err := os.Chtimes(filepath.Join(root, key), born, born); err != nil {
			t.Fatal(err)
		}
		var got []doctor.Verdict
		for _, f := range doctor.Examine(t.Context(), h) {
			if f.Group == "Headscale" && strings.HasPrefix(f.Check, "copy in ") {
				got = append(got, f.Verdict)
			}
		}
		if !slices.Equal(got, []doctor.Verdict{want, doctor.Warning}) {
			t.Errorf("after %s: %q", age, got)
		}
	}
}

// lasting is a certificate of 90 days with so much left, and its key, as autocert
// keeps them.
func lasting(t *testing.T, left time.Duration) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	end := time.Now().Add(left)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: end.Add(-90 * 24 * time.Hour), NotAfter: end}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return "-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n" + string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}
