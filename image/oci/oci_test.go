package oci_test

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/going-mobile/imagebuilder/image/fetch"
	"github.com/going-mobile/imagebuilder/image/oci"
	"github.com/going-mobile/imagebuilder/image/oci/reference"
	"github.com/going-mobile/imagebuilder/image/oci/registrytest"
)

func TestMain(m *testing.M) { registrytest.Main(m) }

func cache(t *testing.T) *fetch.Cache {
	t.Helper()
	c, err := fetch.OpenCache(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// build is what a build does with references.
func build(t *testing.T, c *fetch.Cache, opt oci.Options, refs ...string) (*oci.Archive, []*oci.Image, error) {
	t.Helper()
	list, err := reference.Join(refs)
	if err != nil {
		return nil, nil, err
	}
	if list, err = oci.Resolve(t.Context(), c, list, opt); err != nil {
		return nil, nil, err
	}
	images, err := oci.Pull(t.Context(), c, list, opt)
	if err != nil {
		return nil, nil, err
	}
	a, err := oci.NewArchive(t.Context(), c, images)
	return a, images, err
}

func read(t *testing.T, a *oci.Archive) []byte {
	t.Helper()
	r, err := a.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func sum(data []byte) string {
	s := sha256.Sum256(data)
	return hex.EncodeToString(s[:])
}

// TestTheArchive has everything that the facts about k3s and containerd ask
// for: the registry's own index, names with tags, nothing of other platforms,
// every blob once, and the same bytes from another cache in another order.
func TestTheArchive(t *testing.T) {
	g := registrytest.Start(t, true)
	app, appDigest := g.Push(t, "team/app:v1", registrytest.Index(t, 1, 2000, 3))
	other, otherDigest := g.Push(t, "other:2", registrytest.Index(t, 2, 2000, 2))
	plain, plainDigest := g.Push(t, "plain:3", registrytest.Image(t, 3, 2000, 2, "arm64"))
	byDigest := g.Host + "/other@" + otherDigest
	a, images, err := build(t, cache(t), oci.Options{Arch: "arm64"}, app, other, plain, byDigest)
	if err != nil {
		t.Fatal(err)
	}
	data := read(t, a)
	if a.Size() != int64(len(data)) || a.SHA256() != sum(data) {
		t.Fatalf("%d bytes, %s; said %d, %s", len(data), sum(data), a.Size(), a.SHA256())
	}
	again, _, err := build(t, cache(t), oci.Options{Arch: "arm64"}, byDigest, plain, other, app)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(read(t, again), data) {
		t.Error("another build has other bytes")
	}
	blobs := readLayout(t, data)
	want := map[string]string{
		g.Host + "/team/app:v1": appDigest, g.Host + "/other:2": otherDigest, g.Host + "/plain:3": plainDigest,
		g.Host + "/other:sha256-" + otherDigest[7:19]: otherDigest,
	}
	var index v1.IndexManifest
	if err := json.Unmarshal(blobs["index.json"], &index); err != nil {
		t.Fatal(err)
	}
	for _, d := range index.Manifests {
		n := d.Annotations["io.containerd.image.name"]
		if want[n] != d.Digest.String() || d.Size != int64(len(blobs["blobs/sha256/"+d.Digest.Hex])) {
			t.Errorf("%s is %v", n, d)
		}
		delete(want, n)
	}
	if len(want) > 0 || len(images) != 4 {
		t.Errorf("not named: %v", want)
	}
	// 2 indexes, 3 manifests, 3 configs, layers 3 + 2 + 2 of which one is common.
	if len(blobs) != 2+2+3+3+5 {
		t.Errorf("%d files", len(blobs))
	}
}

// readLayout checks the tar's form and returns its files.
func readLayout(t *testing.T, data []byte) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	var names []string
	for r := tar.NewReader(bytes.NewReader(data)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Format != tar.FormatUSTAR || h.ModTime.Unix() != 0 || h.Mode != 0o644 || h.Uid != 0 || h.Gid != 0 || h.Typeflag != tar.TypeReg {
			t.Errorf("%+v", h)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		names, files[h.Name] = append(names, h.Name), b
		if hash, ok := strings.CutPrefix(h.Name, "blobs/sha256/"); ok && hash != sum(b) {
			t.Errorf("%s has digest %s", h.Name, sum(b))
		}
	}
	if len(names) != len(files) || names[0] != "oci-layout" || names[1] != "index.json" || !slices.IsSorted(names[2:]) {
		t.Errorf("order: %v", names)
	}
	return files
}

// TestASecondBuildAsksNobody: what has its digest is in the cache.
func TestASecondBuildAsksNobody(t *testing.T) {
	g := registrytest.Start(t, true)
	ref, digest := g.Push(t, "app:v1", registrytest.Index(t, 1, 2000, 3))
	c := cache(t)
	if _, _, err := build(t, c, oci.Options{Arch: "amd64"}, ref); err != nil {
		t.Fatal(err)
	}
	for _, s := range g.Seen() {
		if strings.Contains(s, "manifests/v1") && s != "GET /v2/app/manifests/v1" {
			t.Error(s)
		}
	}
	if _, _, err := build(t, c, oci.Options{Arch: "amd64"}, ref+"@"+digest); err != nil {
		t.Fatal(err)
	}
	if seen := g.Seen(); len(seen) > 0 {
		t.Errorf("asked %v", seen)
	}
}

// TestATagThatMoves between two requests gives the image that was seen first, whole.
func TestATagThatMoves(t *testing.T) {
	g := registrytest.Start(t, true)
	ref, first := g.Push(t, "app:v1", registrytest.Index(t, 1, 2000, 3))
	moved := false
	g.Fault = func(_ http.ResponseWriter, r *http.Request) bool {
		if !moved && strings.Contains(r.URL.Path, "/manifests/sha256:") {
			moved = true
			g.Push(t, "app:v1", registrytest.Index(t, 9, 2000, 3))
		}
		return false
	}
	_, images, err := build(t, cache(t), oci.Options{Arch: "amd64"}, ref)
	if err != nil || !moved || images[0].Digest != first {
		t.Fatalf("%v, %v, %v", moved, images, err)
	}
	tags := 0
	for _, s := range g.Seen() {
		if strings.HasSuffix(s, "/manifests/v1") {
			tags++
		}
	}
	if tags != 1 {
		t.Errorf("the tag was looked up %d times", tags)
	}
}

// TestLogins: basic and by token, from docker's configuration; a wrong password
// says what to do and does not stand in the error.
func TestLogins(t *testing.T) {
	for _, token := range []string{"", "t0ken"} {
		g := registrytest.Start(t, true)
		g.User, g.Password, g.Token = "ann", "s3cret", token
		ref, _ := g.Push(t, "app:v1", registrytest.Index(t, 1, 2000, 2))
		g.Login(t, "ann", "s3cret")
		if _, _, err := build(t, cache(t), oci.Options{Arch: "amd64"}, ref); err != nil {
			t.Error(err)
		}
		g.Login(t, "ann", "wr0ng")
		_, _, err := build(t, cache(t), oci.Options{Arch: "amd64"}, ref)
		if err == nil || !strings.Contains(err.Error(), "docker login "+g.Host) || strings.Contains(err.Error(), "wr0ng") {
			t.Errorf("%v", err)
		}
	}
}

// TestALoginStaysAtHome: a layer that lies elsewhere is fetched from there, also
// when it is resumed, without the login.
func TestALoginStaysAtHome(t *testing.T) {
	img := registrytest.Image(t, 1, 1<<20, 1, "amd64")
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	r, err := layers[0].Compressed()
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	var leaked, asked atomic.Int32
	elsewhere := registrytest.Start(t, true)
	elsewhere.Fault = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("Authorization") != "" {
			leaked.Add(1)
		}
		if n := asked.Add(1); n == 1 { // breaks off
			w.Header().Set("Content-Length", fmt.Sprint(len(data)))
			w.Write(data[:len(data)/2])
			return true
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
		return true
	}
	for _, token := range []string{"", "t0ken"} {
		asked.Store(0)
		g := registrytest.Start(t, true)
		g.User, g.Password, g.Token = "ann", "s3cret", token
		ref, _ := g.Push(t, "app:v1", img)
		g.Login(t, "ann", "s3cret")
		g.Fault = func(w http.ResponseWriter, r *http.Request) bool {
			if hash, _ := layers[0].Digest(); !strings.HasSuffix(r.URL.Path, hash.String()) {
				return false
			}
			http.Redirect(w, r, elsewhere.URL()+"/cdn", http.StatusTemporaryRedirect)
			return true
		}
		if _, _, err := build(t, cache(t), oci.Options{Arch: "amd64"}, ref); err != nil {
			t.Fatal(err)
		}
		if asked.Load() < 2 || leaked.Load() > 0 {
			t.Errorf("asked %d times, with the login %d times", asked.Load(), leaked.Load())
		}
	}
}

// TestAMirror is asked first for bytes, and never what a tag means.
func TestAMirror(t *testing.T) {
	g, m := registrytest.Start(t, true), registrytest.Start(t, false)
	index := registrytest.Index(t, 1, 2000, 2)
	ref, digest := g.Push(t, "team/app:v1", index)
	m.Push(t, "cache/team/app:v1", registrytest.Index(t, 66, 2000, 2)) // a lie
	m.Push(t, "cache/team/app:right", index)
	opt := oci.Options{Arch: "amd64", Mirror: m.URL() + "/cache"}
	_, images, err := build(t, cache(t), opt, ref)
	if err != nil || images[0].Digest != digest {
		t.Fatalf("%v, %v", images, err)
	}
	for _, s := range g.Seen() {
		if strings.Contains(s, "sha256:") {
			t.Errorf("the registry was asked %s", s)
		}
	}
	for _, s := range m.Seen() {
		if strings.Contains(s, "/v1") || strings.Contains(s, "/manifests/") && !strings.HasSuffix(s, "?ns=127.0.0.1%3A"+strings.TrimPrefix(g.Host, "127.0.0.1:")) {
			t.Errorf("the mirror was asked %s", s)
		}
	}
	m.Fault = func(w http.ResponseWriter, _ *http.Request) bool { http.NotFound(w, nil); return true }
	if _, _, err := build(t, cache(t), opt, ref); err != nil {
		t.Errorf("a mirror without it: %v", err)
	}
}

// TestRefused: what a registry may say that no archive is made of.
func TestRefused(t *testing.T) {
	g := registrytest.Start(t, true)
	nested := mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: registrytest.Index(t, 5, 100, 1), Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "amd64"}}})
	lying := mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: registrytest.Image(t, 6, 100, 1, "arm64"), Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "amd64"}}})
	for tag, c := range map[string]struct {
		what interface {
			MediaType() (types.MediaType, error)
		}
		raw  string
		want string
	}{
		"foreign": {what: registrytest.Image(t, 4, 100, 1, "arm64"), want: "is not for linux/amd64; there is linux/arm64 (take a tag that has linux/amd64, or leave it out for this board)"},
		"nested":  {what: nested, want: "there is an index inside the index"},
		"lying":   {what: lying, want: "its index is wrong about"},
		"both":    {raw: `{"schemaVersion":2,"manifests":[],"layers":[],"config":{}}`, want: "neither that of an image nor an index"},
		"old":     {raw: `{"schemaVersion":1,"fsLayers":[]}`, want: "schema version 1"},
		"nothing": {raw: `{"schemaVersion":2}`, want: "neither that of an image nor an index"},
		"text":    {raw: `hello`, want: "is no manifest"},
		"weak":    {raw: `{"schemaVersion":2,"config":{"digest":"sha512:` + strings.Repeat("a", 128) + `","size":3},"layers":[]}`, want: "sha256"},
		"empty":   {raw: `{"schemaVersion":2,"config":{"digest":"sha256:` + strings.Repeat("a", 64) + `","size":-3},"layers":[]}`, want: "sizes above 0"},
		"huge":    {raw: `{"schemaVersion":2,"config":{"digest":"sha256:` + strings.Repeat("a", 64) + `","size":9223372036854775807},"layers":[]}`, want: "up to a terabyte"},
		"large":   {raw: strings.Repeat(" ", 5<<20), want: "longer than announced"},
	} {
		var ref string
		switch w := c.what.(type) {
		case v1.Image:
			ref, _ = g.Push(t, "app:"+tag, w)
		case v1.ImageIndex:
			ref, _ = g.Push(t, "app:"+tag, w)
		default:
			ref = g.Host + "/raw:" + tag
		}
		g.Fault = func(w http.ResponseWriter, r *http.Request) bool {
			if c.raw != "" && strings.Contains(r.URL.Path, "/manifests/") {
				io.WriteString(w, c.raw)
				return true
			}
			return false
		}
		_, _, err := build(t, cache(t), oci.Options{Arch: "amd64"}, ref)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", tag, err, c.want)
		}
	}
}

// TestRoom: images that do not fit are refused before a layer is fetched.
func TestRoom(t *testing.T) {
	g := registrytest.Start(t, true)
	big, _ := g.Push(t, "big:1", registrytest.Image(t, 1, 3_000_000, 2, "amd64"))
	small, _ := g.Push(t, "small:1", registrytest.Image(t, 2, 1000, 2, "amd64"))
	_, _, err := build(t, cache(t), oci.Options{Arch: "amd64", Room: 5_000_000}, big, small)
	var room *oci.RoomError
	if !errors.As(err, &room) || room.Need < 6_000_000 || room.Largest[0].Name != big || !strings.Contains(err.Error(), "1.0 MB more than a slot of 5.0 MB") || !strings.Contains(err.Error(), "the largest container images are\n       6.0 MB  "+big+"\n       0.0 MB  "+small) {
		t.Fatal(err)
	}
	blobs := 0
	for _, s := range g.Seen() {
		if strings.Contains(s, "/blobs/") {
			blobs++
		}
	}
	if blobs != 2 {
		t.Errorf("%d blobs were fetched, not only the two configs", blobs)
	}
}

// TestABitInTheCache is found while the archive is read, and named for the
// build to drop it.
func TestABitInTheCache(t *testing.T) {
	g := registrytest.Start(t, true)
	ref, _ := g.Push(t, "app:v1", registrytest.Index(t, 1, 3000, 2))
	c := cache(t)
	a, _, err := build(t, c, oci.Options{Arch: "amd64"}, ref)
	if err != nil {
		t.Fatal(err)
	}
	data := read(t, a)
	files, err := filepath.Glob(filepath.Join(c.Dir(), "sha256/*/*"))
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	for _, f := range files {
		if !bytes.Contains(data, []byte("blobs/sha256/"+filepath.Base(f))) {
			continue
		}
		checked++
		good, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		bad := bytes.Clone(good)
		bad[len(bad)/2] ^= 4
		if err := os.WriteFile(f, bad, 0o644); err != nil {
			t.Fatal(err)
		}
		r, _ := a.Open()
		_, err = io.Copy(io.Discard, r)
		r.Close()
		var damaged *fetch.DamagedError
		if !errors.As(err, &damaged) || damaged.Key != filepath.Base(f) {
			t.Errorf("%s: %v", f, err)
		}
		if err := os.WriteFile(f, good, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if checked != 5 {
		t.Errorf("%d blobs", checked)
	}
}

// TestNoPasswordInTheClear: a mirror without TLS gets none, even where docker's
// configuration has one for it.
func TestNoPasswordInTheClear(t *testing.T) {
	g, m := registrytest.Start(t, true), registrytest.Start(t, false)
	ref, _ := g.Push(t, "app:v1", registrytest.Index(t, 1, 2000, 2))
	var told atomic.Int32
	m.Fault = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("Authorization") != "" {
			told.Add(1)
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="give it to me"`)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	}
	m.Login(t, "ann", "s3cret")
	if _, _, err := build(t, cache(t), oci.Options{Arch: "amd64", Mirror: m.URL()}, ref); err != nil {
		t.Error(err)
	}
	if told.Load() > 0 || len(m.Seen()) == 0 {
		t.Errorf("told %d times", told.Load())
	}
}
