package component_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/image/component"
	"github.com/going-mobile/imagebuilder/image/fetch"
	"github.com/going-mobile/imagebuilder/image/tree"
)

// program is the beginning of an ELF file that suffices to tell its architecture.
func program(machine byte, text string) []byte {
	b := make([]byte, 64)
	copy(b, "\x7fELF\x02\x01\x01")
	b[16], b[18] = 2, machine
	return append(b, text...)
}

const amd64, arm64 = 62, 183

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

func cache(t *testing.T) *fetch.Cache {
	t.Helper()
	c, err := fetch.OpenCache(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// upstream serves files by path and counts requests.
type upstream struct {
	*httptest.Server
	files map[string][]byte
	hits  int
}

func serve(t *testing.T, files map[string][]byte) *upstream {
	u := &upstream{files: files}
	u.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u.hits++
		b, ok := u.files[r.URL.EscapedPath()]
		if !ok {
			http.NotFound(w, r)
			return
		}
		http.ServeContent(w, r, "", time.Unix(0, 0), bytes.NewReader(b))
	}))
	t.Cleanup(u.Close)
	return u
}

func resolve(t *testing.T, c *fetch.Cache, name, arch string, opt component.Options) (*component.Resolved, error) {
	t.Helper()
	if opt.Go == "" {
		opt.Go = "-"
	}
	return component.Resolve(context.Background(), c, name, arch, opt)
}

// listing is a tree in text.
func listing(t *testing.T, r *component.Resolved) map[string]string {
	t.Helper()
	tr := tree.New()
	for _, n := range r.Nodes {
		if err := tr.MkdirAll(filepath.ToSlash(filepath.Dir(n.Path)), time.Time{}, "test"); err != nil {
			t.Fatal(err)
		}
		if err := tr.Add(n); err != nil {
			t.Fatal(err)
		}
	}
	out := map[string]string{}
	for n := range tr.Walk() {
		switch {
		case n.Mode&fs.ModeSymlink != 0:
			out["/"+n.Path] = "link " + n.Link
		case n.Mode.IsRegular():
			b, err := tr.ReadAll(n.Path)
			if err != nil {
				t.Fatal(err)
			}
			if sum(b) != n.Content.SHA256() || int64(len(b)) != n.Size() {
				t.Errorf("%s: size or digest of the content is wrong", n.Path)
			}
			out["/"+n.Path] = fmt.Sprintf("file %04o %s", n.Mode.Perm(), n.Content.SHA256()[:8])
		}
	}
	return out
}

func write(t *testing.T, data []byte) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestFile(t *testing.T) {
	k3s := program(arm64, "k3s")
	r, err := resolve(t, cache(t), "k3s", "arm64", component.Options{Overrides: map[string]string{"k3s": write(t, k3s)}})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"/usr/local/bin/k3s":     "file 0755 " + sum(k3s)[:8],
		"/usr/local/bin/kubectl": "link k3s",
		"/usr/local/bin/crictl":  "link k3s",
		"/usr/local/bin/ctr":     "link k3s",
	}
	if d := cmp.Diff(want, listing(t, r)); d != "" {
		t.Error(d)
	}
	if r.Deferred || r.Source != component.FromFile || r.SHA256 != sum(k3s) {
		t.Errorf("%+v", r)
	}
}

// TestALockHasAFileByItsName: without the directory, which is somebody's; it is looked for
// where the builder was started, and is the one that the lock means or none.
func TestALockHasAFileByItsName(t *testing.T) {
	t.Chdir(t.TempDir())
	k3s := program(arm64, "k3s")
	opt := component.Options{Pins: map[string]component.Pin{"k3s": {Version: "file-1", Source: component.FromFile, URL: "mine", SHA256: sum(k3s)}}}
	for _, there := range [][]byte{nil, program(arm64, "another"), k3s} {
		if there != nil {
			if err := os.WriteFile("mine", there, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		r, err := resolve(t, cache(t), "k3s", "arm64", opt)
		if bytes.Equal(there, k3s) {
			if err != nil || r.SHA256 != sum(k3s) {
				t.Errorf("%+v, %v", r, err)
			}
			continue
		}
		want := "the lock has it from a file mine of sha256 " + sum(k3s) + ": put that into this directory, or say where it is by --component k3s=FILE"
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func TestBadFiles(t *testing.T) {
	for want, data := range map[string][]byte{
		"is a program for amd64, the image is for arm64": program(amd64, ""),
		"is not a Linux program":                         []byte("#!/bin/sh\necho hello, this is a script\n"),
		"is empty":                                       {},
	} {
		_, err := resolve(t, cache(t), "k3s", "arm64", component.Options{Overrides: map[string]string{"k3s": write(t, data)}})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	for value, want := range map[string]string{
		"/no/such/file":                   "want a version like",
		"":                                "want a version, a file or a URL",
		"http://example.net/k3s":          "append #sha256=",
		"https://u:secret@example.net/x":  "use a file",
		"https://example.net/k3s#sha256=": "64 hex digits",
	} {
		_, err := resolve(t, cache(t), "k3s", "amd64", component.Options{Overrides: map[string]string{"k3s": value}})
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v, want %q", value, err, want)
		}
	}
}

func TestWrongDigestIsNoDeferral(t *testing.T) {
	k3s := program(amd64, "evil")
	u := serve(t, map[string][]byte{"/k3s": k3s})
	_, err := resolve(t, cache(t), "k3s", "amd64", component.Options{Overrides: map[string]string{"k3s": u.URL + "/k3s#sha256=" + sum([]byte("good"))}})
	var digest *fetch.DigestError
	if !errors.As(err, &digest) {
		t.Errorf("%v", err)
	}
}

func tgz(t *testing.T, files map[string][]byte) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := errors.Join(w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o755, Size: int64(len(files[name]))}), second(w.Write(files[name]))); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func second(_ int, err error) error { return err }

func TestArchive(t *testing.T) {
	d, c := program(amd64, "daemon"), program(amd64, "command")
	archive := tgz(t, map[string][]byte{"dir/tailscaled": d, "dir/tailscale": c})
	r, err := resolve(t, cache(t), "tailscale", "amd64", component.Options{Overrides: map[string]string{"tailscale": write(t, archive)}})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"/usr/sbin/tailscaled": "file 0755 " + sum(d)[:8], "/usr/bin/tailscale": "file 0755 " + sum(c)[:8]}
	if d := cmp.Diff(want, listing(t, r)); d != "" {
		t.Error(d)
	}
	t.Run("a single program is both", func(t *testing.T) {
		r, err := resolve(t, cache(t), "tailscale", "amd64", component.Options{Overrides: map[string]string{"tailscale": write(t, d)}})
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]string{"/usr/sbin/tailscaled": "file 0755 " + sum(d)[:8], "/usr/bin/tailscale": "link ../sbin/tailscaled"}
		if d := cmp.Diff(want, listing(t, r)); d != "" {
			t.Error(d)
		}
	})
}

func TestDeferred(t *testing.T) {
	start := time.Now()
	opt := component.Options{Overrides: map[string]string{"k3s": "https://no-such-host.invalid/k3s#sha256=" + strings.Repeat("ab", 32)}}
	r, err := resolve(t, cache(t), "k3s", "arm64", opt)
	if err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("took %v to see that nothing answers", took)
	}
	want := map[string]string{
		"/usr/local/bin/k3s":     "link /var/lib/imagebuilder/components/k3s/k3s",
		"/usr/local/bin/kubectl": "link k3s", "/usr/local/bin/crictl": "link k3s", "/usr/local/bin/ctr": "link k3s",
	}
	if d := cmp.Diff(want, listing(t, r)); d != "" {
		t.Error(d)
	}
	manifest, err := component.Manifest([]*component.Resolved{r})
	if err != nil {
		t.Fatal(err)
	}
	back, err := node.LoadComponents(manifest)
	if err != nil || len(back.Components) != 1 || !back.Components[0].Deferred || back.Components[0].Files[0].Name != "k3s" {
		t.Errorf("%s → %+v, %v", manifest, back, err)
	}
	opt.Strict = true
	if _, err := resolve(t, cache(t), "k3s", "arm64", opt); err == nil || !strings.Contains(err.Error(), "--strict") {
		t.Errorf("strict: %v", err)
	}
	opt.Pins, opt.Overrides = map[string]component.Pin{"k3s": r.Pin()}, nil
	opt.Strict = false
	if again, err := resolve(t, cache(t), "k3s", "arm64", opt); err != nil || !again.Deferred || again.SHA256 != r.SHA256 {
		t.Errorf("from the lock: %+v, %v", again, err)
	}
}

func TestUnknown(t *testing.T) {
	_, err := resolve(t, cache(t), "k3", "amd64", component.Options{})
	if err == nil || !strings.Contains(err.Error(), `did you mean "k3s"`) {
		t.Error(err)
	}
	if _, err := resolve(t, cache(t), "k3s", "riscv64", component.Options{}); err == nil || !strings.Contains(err.Error(), "only for amd64, arm64") {
		t.Error(err)
	}
	if _, err := resolve(t, cache(t), "k3s", "amd64", component.Options{Mirror: "mirror"}); err == nil {
		t.Error("a bad mirror was taken")
	}
}

// TestWithoutADigestThereIsOnlyTheModule: nobody vouches for a release, so it is
// neither downloaded nor left to the node.
func TestWithoutADigestThereIsOnlyTheModule(t *testing.T) {
	u := serve(t, map[string][]byte{"/juanfont/headscale/releases/download/v0.29.0/headscale_0.29.0_linux_arm64": program(arm64, "anybody's")})
	r, err := resolve(t, cache(t), "headscale", "arm64", component.Options{Mirror: u.URL, Go: fakeGo(t, "go1.26.8")})
	if err != nil || r.Source != component.FromModule || r.BuiltFrom != "github.com/juanfont/headscale@v0.29.0" {
		t.Errorf("%+v, %v", r, err)
	}
	_, err = resolve(t, cache(t), "headscale", "arm64", component.Options{Mirror: u.URL, Go: "-"})
	if err == nil || !strings.Contains(err.Error(), "--component headscale=0.29.0") || !strings.Contains(err.Error(), "switched off") {
		t.Errorf("without a compiler: %v", err)
	}
}

// TestData checks what nobody may get wrong in components.yaml.
func TestData(t *testing.T) {
	list, err := component.List()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range list {
		if len(c.Releases) == 0 || len(c.Files) == 0 || len(c.Assets) == 0 {
			t.Errorf("%s lacks releases, files or assets", c.Name)
		}
		for _, r := range c.Releases {
			for arch, s := range r.SHA256 {
				if len(s) != 64 || c.Assets[arch] == "" {
					t.Errorf("%s %s %s: digest %q", c.Name, r.Version, arch, s)
				}
			}
		}
		if c.Module == nil {
			continue
		}
		// Archive and module are one version: the node must not depend on which
		// of them could be had.
		mod, _, err := c.ModuleFiles()
		if err != nil {
			t.Fatal(err)
		}
		if at := strings.Replace(c.ModuleVersion(), "@", " ", 1); !regexp.MustCompile(`(?m)^\t` + regexp.QuoteMeta(at) + `\b`).Match(mod) {
			t.Errorf("the go.mod of %s does not require %s", c.Name, at)
		}
		for _, keep := range strings.Fields("osrouter iptables dns dbus resolved netstack gro ipnbus health advertiseroutes useroutes c2n sdnotify bakedroots portmapper unixsocketidentity listenrawdisco cachenetmap tailnetlock") {
			for _, o := range c.Module.Omit {
				if o == keep {
					t.Errorf("%s omits %s, which a node needs", c.Name, keep)
				}
			}
		}
	}
}

func FuzzFindSum(f *testing.F) {
	f.Add(sum(nil)+"  k3s\n", "k3s")
	f.Add(sum(nil), "x")
	f.Fuzz(func(t *testing.T, list, asset string) {
		got, err := component.FindSum(strings.NewReader(list), asset)
		if err == nil && len(got) != 64 {
			t.Errorf("%q", got)
		}
	})
}

// TestAFaultHereIsNoDeferral: a node does not fetch for ever what only did not fit onto
// this computer's disk, be it to be downloaded or to be built.
func TestAFaultHereIsNoDeferral(t *testing.T) {
	u := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(program(arm64, "")) }))
	defer u.Close()
	for _, tc := range []struct {
		name, blocked string // where nothing can be written, not even by root
		opt           component.Options
	}{
		{"k3s", "tmp", component.Options{Mirror: u.URL}},
		{"tailscale", "derived/component", component.Options{Mirror: serve(t, nil).URL, Go: fakeGo(t, "go1.26.6")}},
	} {
		c := cache(t)
		at := filepath.Join(c.Dir(), tc.blocked)
		if err := errors.Join(os.RemoveAll(at), os.MkdirAll(filepath.Dir(at), 0o755), os.WriteFile(at, nil, 0o600)); err != nil {
			t.Fatal(err)
		}
		r, err := resolve(t, c, tc.name, "arm64", tc.opt)
		if err == nil {
			t.Errorf("%s is deferred: %s", tc.name, r.Reason)
		} else if !strings.Contains(err.Error(), "not a directory") {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
}

// TestAMirrorsPasswordIsInNoImage, where a deferred component's addresses are for anybody
// to read.
func TestAMirrorsPasswordIsInNoImage(t *testing.T) {
	_, err := resolve(t, cache(t), "k3s", "arm64", component.Options{Mirror: "http://user:hunter2@127.0.0.1:1/components"})
	if err == nil || !strings.Contains(err.Error(), "without a password") || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("%v", err)
	}
}
