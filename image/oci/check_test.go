package oci_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/going-mobile/imagebuilder/image/oci"
	"github.com/going-mobile/imagebuilder/image/oci/registrytest"
)

// archive makes one of two images, for amd64.
func archive(t *testing.T) ([]byte, string, string) {
	t.Helper()
	g := registrytest.Start(t, true)
	app, _ := g.Push(t, "team/app:v1", registrytest.Index(t, 1, 700, 2))
	plain, _ := g.Push(t, "plain:3", registrytest.Image(t, 3, 700, 2, "amd64"))
	a, _, err := build(t, cache(t), oci.Options{Arch: "amd64"}, app, plain)
	if err != nil {
		t.Fatal(err)
	}
	return read(t, a), app, plain
}

// TestCheckFindsAnyFlippedByte: in headers, contents and padding alike, by a
// problem that it names or by the digest of the whole, which is in the name.
func TestCheckFindsAnyFlippedByte(t *testing.T) {
	data, _, _ := archive(t)
	good, err := oci.Check(bytes.NewReader(data))
	if err != nil || len(good.Problems) > 0 || !good.Layout || good.SHA256 != sum(data) || len(good.Images) != 2 || good.Images[0].Size == 0 {
		t.Fatalf("%+v, %v", good, err)
	}
	blob := map[int]bool{} // which bytes are of one
	for name, text := range readLayout(t, data) {
		at := bytes.Index(data, text)
		for i := range text {
			blob[at+i] = strings.HasPrefix(name, "blobs/")
		}
	}
	for i := 0; i < len(data); i += 17 {
		data[i] ^= 1
		bad, err := oci.Check(bytes.NewReader(data))
		if err != nil || bad.SHA256 == good.SHA256 {
			t.Fatalf("byte %d: %v, %+v", i, err, bad)
		}
		if blob[i] && len(bad.Problems) == 0 {
			t.Errorf("byte %d of a blob is not missed", i)
		}
		data[i] ^= 1
	}
}

// TestCheckFollowsEveryName to its last layer: what containerd imports without a
// word.
func TestCheckFollowsEveryName(t *testing.T) {
	data, app, plain := archive(t)
	files := readLayout(t, data)
	missing := map[string]int{}
	for name := range files {
		bad, err := oci.Check(bytes.NewReader(without(data, name)))
		if err != nil {
			t.Fatal(err)
		}
		text := strings.Join(bad.Problems, "\n")
		switch {
		case name == "oci-layout" && !bad.Layout && text == "it has no oci-layout":
		case name == "index.json" && strings.Contains(text, "names no image"):
		case strings.Contains(text, "missing"):
			for _, what := range []string{"manifest", "config", "layer"} {
				if strings.Contains(text, "its "+what+" sha256:"+strings.TrimPrefix(name, "blobs/sha256/")+" is missing") {
					missing[what]++
				}
			}
		case strings.Contains(text, "none of the platforms of its index is there (linux/s390x, linux/amd64, linux/arm64/v8)"):
			missing["platform"]++
		default:
			t.Errorf("without %s: %q", name, text)
		}
		if strings.HasPrefix(name, "blobs/") && !strings.Contains(text, app) && !strings.Contains(text, plain) {
			t.Errorf("without %s no image is named: %s", name, text)
		}
	}
	if missing["manifest"] != 2 || missing["platform"] != 1 || missing["config"] != 2 || missing["layer"] != 3 {
		t.Errorf("%v", missing)
	}
}

// TestNames: Names reads only the first files of an archive.
func TestNames(t *testing.T) {
	data, _, _ := archive(t)
	good, err := oci.Check(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	broken := errors.New("input/output error")
	names, err := oci.Names(io.MultiReader(bytes.NewReader(data[:2048+512]), iotest.ErrReader(broken)))
	if err != nil || !slices.Equal(names, namesOf(good)) {
		t.Errorf("%+v, %v", names, err)
	}
	if _, err := oci.Names(io.MultiReader(bytes.NewReader(data[:1024]), iotest.ErrReader(broken))); !errors.Is(err, broken) {
		t.Error(err)
	}
	for _, text := range []string{"", "hello", string(without(data, "oci-layout")), string(without(data, "index.json"))} {
		if names, err := oci.Names(strings.NewReader(text)); err != nil || len(names) > 0 {
			t.Errorf("%d bytes: %+v, %v", len(text), names, err)
		}
	}
}

// namesOf leaves the sizes out.
func namesOf(c *oci.Contents) (list []oci.Entry) {
	for _, e := range c.Images {
		list = append(list, oci.Entry{Name: e.Name, Digest: e.Digest})
	}
	return list
}

// TestCheckInAnyOrder: containerd takes a layout whose files stand anywhere, under
// names such as "tar -c ." and docker write.
func TestCheckInAnyOrder(t *testing.T) {
	data, _, _ := archive(t)
	good, err := oci.Check(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	files := readLayout(t, data)
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, dir := range []string{"./", "./blobs/", "./blobs/sha256/"} {
		if err := w.WriteHeader(&tar.Header{Name: dir, Typeflag: tar.TypeDir, Mode: 0o755}); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := w.WriteHeader(&tar.Header{Name: "./" + name, Mode: 0o644, Size: int64(len(files[name]))}); err != nil {
			t.Fatal(err)
		}
		w.Write(files[name])
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	tarred := b.Bytes()
	c, err := oci.Check(&b)
	if names, err := oci.Names(bytes.NewReader(tarred)); err != nil || !slices.Equal(names, namesOf(good)) {
		t.Errorf("%+v, %v", names, err)
	}
	if err != nil || !c.Layout || len(c.Problems) > 0 || !slices.Equal(c.Images, good.Images) {
		t.Errorf("%+v, %v", c, err)
	}
}

// without leaves one file out of a tar.
func without(data []byte, name string) []byte {
	at := bytes.Index(data, append([]byte(name), 0))
	end := at + 512
	for end < len(data) && !(bytes.HasPrefix(data[end:], []byte("blobs/")) && end%512 == 0 || bytes.HasPrefix(data[end:], []byte("index.json\x00"))) {
		end += 512
	}
	if end >= len(data) {
		end = len(data) - 1024
	}
	return append(bytes.Clone(data[:at]), data[end:]...)
}

// TestCheckOfWhatCannotBeRead: the reader's error is told, not a damaged archive.
func TestCheckOfWhatCannotBeRead(t *testing.T) {
	broken := errors.New("input/output error")
	if _, err := oci.Check(iotest.ErrReader(broken)); !errors.Is(err, broken) {
		t.Error(err)
	}
	for _, text := range []string{"", "hello", strings.Repeat("\x00", 1024)} {
		if c, err := oci.Check(strings.NewReader(text)); err != nil || len(c.Problems) == 0 || c.Layout {
			t.Errorf("%q: %+v, %v", text, c, err)
		}
	}
}

// layout makes an archive of documents that name each other, and of an index that names
// the last of them, times over. Each is made of the digest and the size of that before.
func layout(t *testing.T, times int, docs ...func(below string) string) []byte {
	t.Helper()
	below := ""
	files := []string{"oci-layout", `{"imageLayoutVersion":"1.0.0"}`}
	for _, doc := range docs {
		text := doc(below)
		below = fmt.Sprintf(`"digest":"sha256:%s","size":%d`, sum([]byte(text)), len(text))
		files = append(files, "blobs/sha256/"+sum([]byte(text)), text)
	}
	files = append(files, "index.json", `{"schemaVersion":2,"manifests":[`+list(times, `{"annotations":{"io.containerd.image.name":"x"},`+below+`}`)+`]}`)
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i := 0; i < len(files); i += 2 {
		if err := w.WriteHeader(&tar.Header{Name: files[i], Mode: 0o644, Size: int64(len(files[i+1]))}); err != nil {
			t.Fatal(err)
		}
		io.WriteString(w, files[i+1])
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func list(times int, what string) string {
	return strings.TrimSuffix(strings.Repeat(what+",", times), ",")
}

func blob(string) string { return "{}" }

// manifest has a blob as its config, and as a layer times over.
func manifest(times int) func(string) string {
	return func(below string) string {
		return `{"schemaVersion":2,"config":{` + below + `},"layers":[` + list(times, "{"+below+"}") + `]}`
	}
}

// index returns an index that names the document below it several times, as an image.
func index(times int) func(string) string {
	return func(below string) string {
		return `{"schemaVersion":2,"manifests":[` + list(times, `{"mediaType":"application/vnd.oci.image.manifest.v1+json",`+below+`}`) + `]}`
	}
}

// TestCheckOfWhatNamesItselfOften: with a chain of 40 indexes that each name the next one
// twice, as an image, following every reference would take 2^40 steps.
func TestCheckOfWhatNamesItselfOften(t *testing.T) {
	docs := []func(string) string{blob, manifest(1)}
	if c, err := oci.Check(bytes.NewReader(layout(t, 1, append(docs, index(2))...))); err != nil || len(c.Problems) > 0 || c.Images[0].Size < 400 {
		t.Fatalf("%+v, %v", c, err)
	}
	for range 40 {
		docs = append(docs, index(2))
	}
	c, err := oci.Check(bytes.NewReader(layout(t, 1, docs...)))
	if err != nil || len(c.Problems) != 2 || !strings.HasSuffix(c.Problems[0], " is an index inside the index, which is not looked into") {
		t.Errorf("%+v, %v", c, err)
	}
	c, err = oci.Check(bytes.NewReader(layout(t, 8, blob, manifest(500), index(500))))
	if err != nil || !slices.Equal(c.Problems, []string{"its images name more than 1048576 things, so not all was looked at"}) {
		t.Errorf("%+v, %v", c, err)
	}
}

// TestCheckTellsSoMuch of what is wrong, however much it is.
func TestCheckTellsSoMuch(t *testing.T) {
	c, err := oci.Check(bytes.NewReader(layout(t, 2000, func(string) string { return "[]" })))
	if err != nil || len(c.Problems) != 1001 || c.Problems[1000] != "and more" {
		t.Errorf("%d problems, %v", len(c.Problems), err)
	}
}

func FuzzCheck(f *testing.F) {
	f.Add([]byte("hello"))
	f.Fuzz(func(_ *testing.T, data []byte) { oci.Check(bytes.NewReader(data)) })
}
