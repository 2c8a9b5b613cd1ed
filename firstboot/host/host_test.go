//go:build linux

package host_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot"
	"github.com/going-mobile/imagebuilder/firstboot/host"
)

func TestFiles(t *testing.T) {
	f := host.Files{Root: t.TempDir()}
	put := func(name, content string, mode fs.FileMode) {
		t.Helper()
		if err := f.Put(name, strings.NewReader(content), firstboot.Attr{Mode: mode}); err != nil {
			t.Fatal(err)
		}
	}
	put("/etc/a/token", "one", 0o600)
	put("/etc/a/token", "two", 0o640)
	fi, err := f.Stat("/etc/a/token")
	if err != nil || fi.Mode().Perm() != 0o640 || fi.Size() != 3 {
		t.Errorf("%v, %v", fi, err)
	}
	if err := f.Symlink("token", "/etc/a/link"); err != nil {
		t.Fatal(err)
	}
	if err := f.Symlink("other", "/etc/a/link"); err != nil {
		t.Fatal(err)
	}
	if target, err := f.Readlink("/etc/a/link"); err != nil || target != "other" {
		t.Errorf("%q, %v", target, err)
	}
	names, err := f.List("/etc/a")
	if err != nil || fmt.Sprint(names) != "[link token]" {
		t.Errorf("%v, %v: temporary files must not stay", names, err)
	}
	if names, err := f.List("/nowhere"); err != nil || len(names) != 0 {
		t.Errorf("%v, %v", names, err)
	}
	if err := errors.Join(f.Remove("/etc/a/link"), f.Remove("/etc/a/link")); err != nil {
		t.Error(err)
	}
	if total, free, err := f.Space("/etc"); err != nil || total <= 0 || free > total {
		t.Errorf("%d %d %v", total, free, err)
	}
}

// TestWhatIsWrittenIsNew: k3s reads a manifest again only if its modification time has changed
// (k3s-io/k3s#14556). So a file that is overwritten, and a link in its place, must not keep the
// time of the image's file.
func TestWhatIsWrittenIsNew(t *testing.T) {
	f := host.Files{Root: t.TempDir()}
	const name = "/var/lib/rancher/k3s/server/manifests/own.yaml"
	put := func() error { return f.Put(name, strings.NewReader("kind: List"), firstboot.Attr{Mode: 0o600}) }
	for what, write := range map[string]func() error{"a file": put, "a link": func() error { return f.Symlink("/usr/lib/own.yaml", name) }} {
		if err := put(); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(filepath.Join(f.Root, name), time.Unix(1, 0), time.Unix(1, 0)); err != nil {
			t.Fatal(err)
		}
		began := time.Now().Add(-time.Second)
		if err := write(); err != nil {
			t.Fatal(err)
		}
		fi, err := os.Lstat(filepath.Join(f.Root, name))
		if err != nil || fi.ModTime().Before(began) || fi.ModTime().After(time.Now().Add(time.Second)) {
			t.Errorf("%s is of %v, written at %v; %v", what, fi.ModTime(), began, err)
		}
	}
}

// TestOverwriteInPlace: same file, same blocks, same length.
func TestOverwriteInPlace(t *testing.T) {
	f := host.Files{Root: t.TempDir()}
	name := filepath.Join(f.Root, "node.yaml")
	if err := os.WriteFile(name, bytes.Repeat([]byte("k"), 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	before, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Overwrite("/node.yaml", bytes.Repeat([]byte("\n"), 1000)); err != nil {
		t.Fatal(err)
	}
	after, err := os.Stat(name)
	if err != nil || !os.SameFile(before, after) || after.Size() != 1000 {
		t.Errorf("%v, %v", after, err)
	}
	if data, _ := os.ReadFile(name); bytes.Contains(data, []byte("k")) {
		t.Error("old bytes are left")
	}
	if err := f.Overwrite("/node.yaml", make([]byte, 1001)); err == nil {
		t.Error("a longer text was written")
	}
}

const answer = `{"legacyPublicKey":"","publicKey":"mkey:00"}`

func TestControl(t *testing.T) {
	h := host.New(t.TempDir(), nil)
	ctx := context.Background()
	answers := func(f http.HandlerFunc) string {
		s := httptest.NewServer(f)
		t.Cleanup(s.Close)
		return s.URL
	}
	good := func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, answer) }
	for name, c := range map[string]struct {
		url  string
		want error
	}{
		"good":    {answers(good), nil},
		"website": {answers(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") }), firstboot.ErrNotHeadscale},
		"missing": {answers(http.NotFound), firstboot.ErrNotHeadscale},
		"portal": {answers(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://login.example/", http.StatusFound)
		}), firstboot.ErrPortal},
		"status": {answers(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(511) }), firstboot.ErrPortal},
	} {
		if err := h.Net.Control(ctx, c.url, ""); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(good))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{selfSigned(t)}}
	s.StartTLS()
	t.Cleanup(s.Close)
	ca := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
	if err := h.Net.Control(ctx, s.URL, ca); err != nil {
		t.Errorf("with its authority: %v", err)
	}
	var cert *tls.CertificateVerificationError
	if err := h.Net.Control(ctx, s.URL, ""); !errors.As(err, &cert) {
		t.Errorf("without its authority: %v", err)
	}
	down := answers(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(502) })
	if err := h.Net.Control(ctx, down, ""); err == nil || errors.Is(err, firstboot.ErrNotHeadscale) {
		t.Errorf("a proxy before a dead server: %v", err)
	}
}

// TestPortalThatDropsTLS: a network that takes no connection to port 443, and has a login page on
// port 80, is told from one where nothing answers. A proxy stands for it here, as both go through
// one.
func TestPortalThatDropsTLS(t *testing.T) {
	host.SetControlTime(100 * time.Millisecond)
	t.Cleanup(func() { host.SetControlTime(15 * time.Second) })
	network := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodConnect {
			<-r.Context().Done()
			return
		}
		http.Redirect(w, r, "http://login.example/", http.StatusFound)
	}))
	t.Cleanup(network.Close)
	t.Cleanup(network.CloseClientConnections)
	root := t.TempDir()
	if err := (host.Files{Root: root}).Put("/etc/imagebuilder/proxy.env", strings.NewReader(fmt.Sprintf("HTTPS_PROXY=\"%s\"\n", network.URL)), firstboot.Attr{Mode: 0o600}); err != nil {
		t.Fatal(err)
	}
	if err := host.New(root, nil).Net.Control(context.Background(), "https://headscale.example", ""); !errors.Is(err, firstboot.ErrPortal) {
		t.Error(err)
	}
}

// selfSigned is the certificate of an authority that only its owner knows.
func selfSigned(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func TestSupervisor(t *testing.T) {
	h := host.New(t.TempDir(), nil)
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "pem") }))
	at := netip.MustParseAddrPort(s.Listener.Addr().String())
	if ok, err := h.Net.Supervisor(context.Background(), at); !ok || err != nil {
		t.Errorf("%v, %v", ok, err)
	}
	s.Close()
	if ok, err := h.Net.Supervisor(context.Background(), at); ok || err != nil {
		t.Errorf("nothing listens: %v, %v", ok, err)
	}
}

// TestFetchResumes breaks the connection in the middle.
func TestFetchResumes(t *testing.T) {
	data := bytes.Repeat([]byte("0123456789abcdef"), 1<<14)
	var ranges []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			ranges = append(ranges, r.Header.Get("Range"))
		}
		if r.Method == http.MethodGet && len(ranges) == 1 {
			w.Header().Set("Content-Length", fmt.Sprint(len(data)))
			_, _ = w.Write(data[:len(data)/2])
			panic(http.ErrAbortHandler)
		}
		http.ServeContent(w, r, "", time.Unix(0, 0), bytes.NewReader(data))
	}))
	t.Cleanup(s.Close)
	h := host.New(t.TempDir(), nil)
	if err := h.Net.Fetch(context.Background(), s.URL+"/k3s", "/var/k3s", int64(len(data))); err == nil {
		t.Fatal("a broken connection is no error")
	}
	if err := h.Net.Fetch(context.Background(), s.URL+"/k3s", "/var/k3s", int64(len(data))); err != nil {
		t.Fatal(err)
	}
	f, err := h.Files.Open("/var/k3s")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if have, err := io.ReadAll(f); err != nil || !bytes.Equal(have, data) {
		t.Errorf("%d bytes, %v", len(have), err)
	}
	if len(ranges) != 2 || !strings.HasPrefix(ranges[1], "bytes=") {
		t.Errorf("ranges %q", ranges)
	}
}

// TestMain makes this process trust the servers of httptest.
func TestMain(m *testing.M) {
	s := httptest.NewTLSServer(nil)
	s.Close()
	dir, err := os.MkdirTemp("", "host-")
	if err != nil {
		panic(err)
	}
	file := filepath.Join(dir, "ca.pem")
	pem := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	if err := errors.Join(os.WriteFile(file, pem, 0o600), os.Setenv("SSL_CERT_FILE", file)); err != nil {
		panic(err)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

func TestFetchStaysOnTLS(t *testing.T) {
	asked := 0
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { asked++; fmt.Fprint(w, "evil") }))
	t.Cleanup(plain.Close)
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/left" {
			http.Redirect(w, r, plain.URL, http.StatusFound)
			return
		}
		fmt.Fprint(w, "good")
	}))
	t.Cleanup(s.Close)
	h := host.New(t.TempDir(), nil)
	if err := h.Net.Fetch(context.Background(), s.URL+"/stays", "/var/good", 0); err != nil {
		t.Error(err)
	}
	err := h.Net.Fetch(context.Background(), s.URL+"/left", "/var/evil", 0)
	if err == nil || !strings.Contains(err.Error(), "redirected from https to http") || asked > 0 {
		t.Errorf("plain http was asked %d times, %v", asked, err)
	}
}

// TestFetchEndsWhereTheFileEnds: a server that never stops must not fill the
// disk, whether or not it announces how much there is.
func TestFetchEndsWhereTheFileEnds(t *testing.T) {
	sent := 0
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for sent = 0; sent < 64<<20; sent += 1 << 20 {
			if _, err := w.Write(make([]byte, 1<<20)); err != nil {
				return
			}
		}
	}))
	t.Cleanup(s.Close)
	h := host.New(t.TempDir(), nil)
	err := h.Net.Fetch(context.Background(), s.URL, "/var/k3s", 1000)
	if err == nil || !strings.Contains(err.Error(), "longer than announced: more than 1000 bytes") {
		t.Errorf("error = %v after %d bytes", err, sent)
	}
	if fi, err := h.Files.Stat("/var/k3s"); err == nil {
		t.Errorf("%d bytes are left", fi.Size())
	}
}

func TestProgramsTellWhy(t *testing.T) {
	h := host.New("/", nil)
	_, err := h.Programs.Run(context.Background(), "sh", "-c", "echo first >&2; echo why >&2; exit 3")
	if err == nil || !strings.Contains(err.Error(), "why") {
		t.Error(err)
	}
}

// TestHangingPrograms end with their time, even if a child of theirs goes on.
func TestHangingPrograms(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	began := time.Now()
	if _, err := host.New(t.TempDir(), nil).Programs.Run(ctx, "sh", "-c", "sleep 90 & wait"); err == nil {
		t.Error("it ended well")
	}
	if took := time.Since(began); took > time.Minute {
		t.Errorf("it took %s", took)
	}
}
