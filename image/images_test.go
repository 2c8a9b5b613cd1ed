package image

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/wear"
	"github.com/going-mobile/imagebuilder/image/authenticode"
	"github.com/going-mobile/imagebuilder/image/board"
	"github.com/going-mobile/imagebuilder/image/component"
	"github.com/going-mobile/imagebuilder/image/fetch"
	"github.com/going-mobile/imagebuilder/image/inspect"
	"github.com/going-mobile/imagebuilder/image/lock"
	"github.com/going-mobile/imagebuilder/image/oci"
	"github.com/going-mobile/imagebuilder/image/oci/reference"
	"github.com/going-mobile/imagebuilder/image/oci/registrytest"
	"github.com/going-mobile/imagebuilder/image/progress"
	"github.com/going-mobile/imagebuilder/image/squashfs"
	"github.com/going-mobile/imagebuilder/image/tree"
	"github.com/going-mobile/imagebuilder/image/verity"
	"github.com/going-mobile/imagebuilder/overlays"
)

func TestMain(m *testing.M) { registrytest.Main(m) }

// carrying is a plan for a board of amd64 that wants images.
func carrying(t *testing.T, refs ...string) *plan {
	t.Helper()
	cache, err := fetch.OpenCache(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cache.Close() })
	p := &plan{opt: Options{Board: &board.Board{Name: "b", Arch: "amd64", Disk: board.Disk{Slot: 256 << 20}}, Cache: cache}}
	if p.images, err = reference.Join(refs); err != nil {
		t.Fatal(err)
	}
	return p
}

// pulled is what a build does that finds something changed.
func pulled(t *testing.T, p *plan) ([]*oci.Image, error) {
	t.Helper()
	refs, err := p.pinImages(t.Context())
	if err != nil {
		return nil, err
	}
	return p.pullImages(t.Context(), refs)
}

// TestDigestsCostNoLayers: a build that finds nothing changed has asked for no
// more than its tags.
func TestDigestsCostNoLayers(t *testing.T) {
	g := registrytest.Start(t, true)
	ref, digest := g.Push(t, "team/app:v1", registrytest.Index(t, 1, 3000, 2))
	in, err := carrying(t, ref).pinImages(t.Context())
	if err != nil || in[0].Digest != digest {
		t.Fatalf("%v, %v", in, err)
	}
	for _, s := range g.Seen() {
		if strings.Contains(s, "/blobs/") || strings.Contains(s, "sha256:") {
			t.Error(s)
		}
	}
}

// TestFaultsOfAPlan: what no network can mend is told before anybody is asked.
func TestFaultsOfAPlan(t *testing.T) {
	for want, opt := range map[string]Options{
		"which --locked forbids":       {Locked: true},
		"the lock has no image":        {Lock: &lock.Lock{}},
		"registry mirror: want an add": {RegistryMirror: "mirror.example.net"},
	} {
		opt.Board = &board.Board{Name: "b", Arch: "amd64", Images: []string{"127.0.0.1:1/app:v1"}}
		if _, err := newPlan(opt); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// TestALockPinsImages: what was found once is found again, though the tag has
// moved on and the registry is gone.
func TestALockPinsImages(t *testing.T) {
	g := registrytest.Start(t, true)
	ref, digest := g.Push(t, "team/app:v1", registrytest.Index(t, 1, 3000, 2))
	p := carrying(t, ref)
	refs, err := p.pinImages(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pulled(t, p); err != nil { // into the cache, for when the registry is gone
		t.Fatal(err)
	}
	l := &lock.Lock{Images: lockImages(refs)}
	if len(l.Images) != 1 || l.Images[0] != (lock.Image{Name: ref, Digest: digest}) {
		t.Fatalf("%+v", l.Images)
	}
	g.Push(t, "team/app:v1", registrytest.Index(t, 2, 3000, 2))
	p.opt.Lock, p.opt.Locked = l, true
	found, err := pulled(t, p)
	if err != nil || found[0].Digest != digest {
		t.Fatalf("%v, %v", found, err)
	}
	p.images = nil // the lock alone says what goes in
	if found, err = pulled(t, p); err != nil || len(found) != 1 {
		t.Fatalf("%v, %v", found, err)
	}
	if inputsDigest(l, nil) == inputsDigest(&lock.Lock{Images: []lock.Image{{Name: ref, Digest: "sha256:" + strings.Repeat("0", 64)}}}, nil) {
		t.Error("another image is the same input")
	}
}

// TestWhereANodeFetchesIsAnInput: the addresses of a deferred component are in the image,
// those of another are not, nor is the mirror that it came from.
func TestWhereANodeFetchesIsAnInput(t *testing.T) {
	cache := carrying(t).opt.Cache
	at := func(url, mirror string, deferred bool) string {
		r := &component.Resolved{Name: "k3s", Version: "v1.30.0+k3s1", URL: url}
		if deferred {
			pin := component.Pin{Version: r.Version, Source: component.Deferred, URL: url, SHA256: strings.Repeat("0", 64)}
			var err error
			if r, err = component.Resolve(t.Context(), cache, "k3s", "amd64", component.Options{Mirror: mirror, Pins: map[string]component.Pin{"k3s": pin}}); err != nil {
				t.Fatal(err)
			}
		}
		in := &inputs{lock: &lock.Lock{}}
		in.addComponents([]*component.Resolved{r})
		p, err := newPlan(Options{Board: &board.Board{Name: "b", Arch: "amd64", Suite: "trixie"}, OverlayFS: overlays.FS, ComponentMirror: mirror})
		if err != nil {
			t.Fatal(err)
		}
		in.lock.Inputs = p.data
		return inputsDigest(in.lock, in.components)
	}
	const one, two = "https://one.example/k3s", "https://two.example/k3s"
	if at(one, "", true) == at(two, "", true) {
		t.Error("a corrected address is no change: the node keeps the wrong one")
	}
	if at(one, "", true) == at(one, "https://mirror.example", true) {
		t.Error("a mirror that the node asks is no change")
	}
	if at(one, "", false) != at(two, "", false) || at(one, "", false) != at(one, "https://mirror.example", false) {
		t.Error("where the builder found it makes another image")
	}
}

// TestUnpinnedImages: with a lock or with --locked nobody is asked what a tag
// means.
func TestUnpinnedImages(t *testing.T) {
	zeros := "sha256:" + strings.Repeat("0", 64)
	for _, c := range []struct {
		ref    string
		lock   *lock.Lock
		locked bool
		want   string
	}{
		{"127.0.0.1:1/app:v1", nil, true, "image 127.0.0.1:1/app:v1 is named by its tag alone, which --locked forbids"},
		{"127.0.0.1:1/app:v1", &lock.Lock{}, false, "the lock has no image 127.0.0.1:1/app:v1"},
		{"127.0.0.1:1/app:v1@" + zeros, &lock.Lock{Images: []lock.Image{{Name: "127.0.0.1:1/app:v1", Digest: strings.Replace(zeros, "0", "1", 1)}}}, false, "wants as " + zeros},
	} {
		p := carrying(t, c.ref)
		p.opt.Lock, p.opt.Locked = c.lock, c.locked
		if err := p.checkImages(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want %q", err, c.want)
		}
	}
}

// TestATagThatMovesOn is warned of, also where a lock says what it meant.
func TestATagThatMovesOn(t *testing.T) {
	p := carrying(t, "a/b:latest", "a/c:v1")
	p.opt.Mirrors, p.opt.SecurityMirrors = []string{"https://mirror.example.net"}, []string{"https://mirror.example.net"}
	p.opt.Lock = &lock.Lock{Board: "b", Arch: "amd64", Images: []lock.Image{{Name: "docker.io/a/b:latest", Digest: "sha256:" + strings.Repeat("0", 64)}, {Name: "docker.io/a/c:v1"}}}
	in, err := p.resolve(t.Context())
	if err != nil || len(in.warnings) != 1 || !strings.HasPrefix(in.warnings[0], "docker.io/a/b:latest may be another image") || !strings.HasSuffix(in.warnings[0], "Pin another tag, or a digest without a tag.") {
		t.Errorf("%+v, %v", in, err)
	}
}

// TestImagesInARoot: twice the same bytes; what is built is whole; a flipped byte
// in the cache is the cache's fault, one in the root is named by inspect.
func TestImagesInARoot(t *testing.T) {
	g := registrytest.Start(t, true)
	app, _ := g.Push(t, "team/app:v1", registrytest.Index(t, 1, 200_000, 3))
	other, _ := g.Push(t, "other:2", registrytest.Index(t, 2, 200_000, 2))
	p := carrying(t, app, other)
	first := rootWith(t, p)
	if again := rootWith(t, carrying(t, other, app)); !bytes.Equal(first, again) {
		t.Error("another build has other bytes")
	}
	list := inspected(t, first)
	if len(list) != 1 || len(list[0].Problems) > 0 || len(list[0].Images) != 2 || list[0].File != "/"+contract.ImagesDir+"/images-"+list[0].SHA256[:12]+".tar" {
		t.Fatalf("%+v", list)
	}
	for at := 4096; at < len(first)-4096; at += len(first) / 12 {
		first[at] ^= 8
		if list := inspected(t, first); len(list[0].Problems) == 0 {
			t.Errorf("byte %d of %d is not missed", at, len(first))
		}
		first[at] ^= 8
	}
	damageTheLargest(t, p.opt.Cache.Dir())
	_, err := writtenRoot(t, p)
	var damaged *fetch.DamagedError
	if !errors.As(err, &damaged) {
		t.Errorf("a flipped byte in the cache: %v", err)
	}
}

func writtenRoot(t *testing.T, p *plan) ([]byte, error) {
	t.Helper()
	images, err := pulled(t, p)
	if err != nil {
		return nil, err
	}
	root, err := carrier(t, p, images)
	if err != nil {
		return nil, err
	}
	file, err := os.Create(filepath.Join(t.TempDir(), "root"))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if _, err := squashfs.Write(t.Context(), file, root, squashfs.Options{}); err != nil {
		return nil, err
	}
	return os.ReadFile(file.Name())
}

// carrier is a root with nothing but the archive of images.
func carrier(t *testing.T, p *plan, images []*oci.Image) (*tree.Tree, error) {
	t.Helper()
	nodes, err := p.archive(t.Context(), images)
	if err != nil {
		return nil, err
	}
	root := tree.New()
	if err := root.MkdirAll(contract.ImagesDir, time.Unix(0, 0), ""); err != nil {
		return nil, err
	}
	for _, n := range nodes {
		if err := root.Add(n); err != nil {
			return nil, err
		}
	}
	return root, nil
}

func rootWith(t *testing.T, p *plan) []byte {
	t.Helper()
	data, err := writtenRoot(t, p)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func inspected(t *testing.T, data []byte) []inspect.Archive {
	t.Helper()
	fsys, err := squashfs.Open(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	root, err := fsys.Tree()
	if err != nil {
		t.Fatal(err)
	}
	list, err := inspect.Archives(root)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// damageTheLargest flips a bit of a layer.
func damageTheLargest(t *testing.T, dir string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "sha256/*/*"))
	if err != nil {
		t.Fatal(err)
	}
	var largest string
	var data []byte
	for _, f := range files {
		if d, err := os.ReadFile(f); err == nil && len(d) > len(data) {
			largest, data = f, d
		}
	}
	data[len(data)/2] ^= 1
	if err := os.WriteFile(largest, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestARootThatDoesNotFit fails while it is written, with nothing of it beyond
// its slot; it says by how much, and what to leave out.
func TestARootThatDoesNotFit(t *testing.T) {
	g := registrytest.Start(t, true)
	ref, _ := g.Push(t, "team/app:v1", registrytest.Image(t, 1, 1_000_000, 3, "amd64"))
	p := carrying(t, ref)
	images, err := pulled(t, p)
	if err != nil {
		t.Fatal(err)
	}
	root, err := carrier(t, p, images)
	if err != nil {
		t.Fatal(err)
	}
	p.opt.Progress = progress.Discard
	in := &inputs{lock: &lock.Lock{}, images: images}
	var slot inMemory
	size, _, err := p.fillSlot(t.Context(), &slot, in, root)
	if err != nil || size != int64(len(slot)) {
		t.Fatalf("%d of %d bytes are written: %v", len(slot), size, err)
	}
	for room, want := range map[int64]string{
		size:             "",
		size - 1:         "0.0 MB more than a slot of 3.0 MB",
		size - 1_500_000: fmt.Sprintf("it has %.1f MB, 1.5 MB more than a slot of 1.5 MB: leave something out, or give the board a larger disk.slot; the largest container images are\n       3.0 MB  %s", float64(size)/1e6, ref),
	} {
		p.opt.Board.Disk.Slot, slot = board.Size(room), nil
		_, _, err := p.fillSlot(t.Context(), &slot, in, root)
		if int64(len(slot)) > room || (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%d bytes of %d: %v, want %q", len(slot), room, err, want)
		}
	}
}

// inMemory is a slot in memory that is as long as what was written.
type inMemory []byte

func (m *inMemory) WriteAt(p []byte, off int64) (int, error) {
	if end := off + int64(len(p)); end > int64(len(*m)) {
		*m = append(*m, make([]byte, end-int64(len(*m)))...)
	}
	return copy((*m)[off:], p), nil
}

func (m *inMemory) ReadAt(p []byte, off int64) (int, error) {
	return bytes.NewReader(*m).ReadAt(p, off)
}

// TestWhatVouchesForARoot: a digest always; where an owner signs, a tree, whose hash goes
// into what is signed, and for which there must be room.
func TestWhatVouchesForARoot(t *testing.T) {
	for _, signer := range []*authenticode.Signer{nil, newSigner(t)} {
		p := carrying(t)
		p.opt.Signer, p.opt.Progress = signer, progress.Discard
		root := tree.New()
		if err := root.Add(&tree.Node{Path: "file", Mode: 0o644, Content: tree.String(noise(2 << 20)), Source: "test"}); err != nil {
			t.Fatal(err)
		}
		var slot inMemory
		whole, v, err := p.fillSlot(t.Context(), &slot, &inputs{lock: &lock.Lock{}}, root)
		if err != nil || whole != int64(len(slot)) {
			t.Fatalf("%d of %d bytes: %v", len(slot), whole, err)
		}
		if err := wear.Check(t.Context(), &slot); err != nil {
			t.Error(err)
		}
		if (v != nil) != (signer != nil) {
			t.Errorf("signed: %v, %+v", signer != nil, v)
		}
		if v == nil {
			continue
		}
		size := v.Blocks * verity.BlockSize
		if want, err := verity.Hash(bytes.NewReader(slot[:size]), size); err != nil || want.Root != v.Root || !bytes.Equal(slot[size+contract.RootPage:], want.Levels) {
			t.Errorf("the tree is another one: %v", err)
		}
		p.opt.Board.Disk.Slot = board.Size(whole - 1)
		if _, _, err := p.fillSlot(t.Context(), &slot, &inputs{lock: &lock.Lock{}}, root); err == nil {
			t.Error("there is no room for the tree, and nobody says so")
		}
	}
}

// noise does not become shorter.
func noise(size int) string {
	data := make([]byte, size)
	rand.NewChaCha8([32]byte{}).Read(data)
	return string(data)
}
