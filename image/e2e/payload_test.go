//go:build e2e

package e2e

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/image/imagetest"
	"github.com/going-mobile/imagebuilder/image/inspect"
	"github.com/going-mobile/imagebuilder/image/oci/registrytest"
)

// TestAPayloadIsInTheImage builds both architectures with three container images
// from a registry and two charts from a web server: from the lock the same bytes,
// every name with the registry's digest, and a bit that flips later is found.
func TestAPayloadIsInTheImage(t *testing.T) {
	g := registrytest.Start(t, true)
	trust := registrytest.TrustFile(t.TempDir())
	want := map[string]string{}
	var refs strings.Builder
	for i, name := range []string{"team/app:v1", "library/other:2", "third:3"} {
		ref, digest := g.Push(t, name, registrytest.Index(t, int64(i), 200_000, 3))
		want[ref] = digest
		fmt.Fprintln(&refs, ref)
	}
	list := filepath.Join(t.TempDir(), "images.txt")
	if err := os.WriteFile(list, []byte(refs.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	charts := serveCharts(t)
	for _, board := range []string{"optiplex-7050", "generic-arm64"} {
		t.Run(board, func(t *testing.T) {
			img := filepath.Join(t.TempDir(), "first", board+".img")
			build := func(args ...string) {
				t.Helper()
				cmd := exec.Command(builder, append([]string{"build", "--quiet", "--board", board, "--images", list}, append(charts, args...)...)...)
				cmd.Env = append(os.Environ(), "SSL_CERT_FILE="+trust)
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Fatalf("%v\n%s", err, tail(string(out)))
				}
			}
			build("--out", img)
			again := filepath.Join(t.TempDir(), "again", board+".img")
			build("--out", again, "--lock", img+".lock.json", "--locked")
			if a, b := hashFile(t, img), hashFile(t, again); a != b {
				t.Errorf("%s and %s", a, b)
			}
			carries(t, img, want)
			flipped(t, again)
		})
	}
}

// serveCharts returns the arguments that take both charts from a web server.
func serveCharts(t *testing.T) (args []string) {
	t.Helper()
	files := map[string][]byte{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write(files[r.URL.Path]) }))
	t.Cleanup(s.Close)
	for component, chart := range map[string]string{"longhorn-chart": "longhorn", "argocd-chart": "argo-cd"} {
		data, err := imagetest.Chart(chart)
		if err != nil {
			t.Fatal(err)
		}
		files["/"+chart+".tgz"] = data
		args = append(args, "--component", fmt.Sprintf("%s=%s/%s.tgz#sha256=%x", component, s.URL, chart, sha256.Sum256(data)))
	}
	return args
}

// carries looks with unsquashfs for the charts, and asks "inspect --images" for
// the rest.
func carries(t *testing.T, img string, want map[string]string) {
	t.Helper()
	out, err := exec.Command(builder, "inspect", "--images", "--json", img).Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var archives []inspect.Archive
	if err := json.Unmarshal(out, &archives); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, a := range archives {
		for _, e := range a.Images {
			got[e.Name] = e.Digest
		}
	}
	for name, digest := range want {
		if got[name] != "sha256:"+strings.TrimPrefix(digest, "sha256:") {
			t.Errorf("%s is %q, want %s", name, got[name], digest)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%v", got)
	}
	names := strings.Fields(run(t, "unsquashfs", "-l", "-d", "", extract(t, img, 1)))
	for _, chart := range []string{"longhorn-1.12.1.tgz", "argo-cd-10.1.1.tgz"} {
		if !slices.Contains(names, "/"+path.Join(contract.ChartsDir, chart)) {
			t.Errorf("the root has no %s", chart)
		}
	}
}

// flipped changes one bit of a layer, which lies in the image as it is, since
// it cannot be compressed.
func flipped(t *testing.T, img string) {
	t.Helper()
	var archive []byte
	root := rootOf(t, img)
	for _, n := range root.Children(contract.ImagesDir) {
		r, err := n.Content.Open()
		if err != nil {
			t.Fatal(err)
		}
		archive, err = io.ReadAll(r)
		if err := errors.Join(err, r.Close()); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(img)
	if err != nil {
		t.Fatal(err)
	}
	middle := archive[len(archive)/2:][:64]
	at := bytes.Index(data, middle)
	if at < 0 {
		t.Fatal("the middle of the archive is not in the image")
	}
	data[at] ^= 1
	if err := os.WriteFile(img, data, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(builder, "inspect", "--images", img).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "is damaged") && !strings.Contains(string(out), "missing") {
		t.Errorf("a flipped bit: %v\n%s", err, out)
	}
}
