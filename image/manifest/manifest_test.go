package manifest_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/image/manifest"
)

func TestWhatIsWrittenIsRead(t *testing.T) {
	m := &manifest.Manifest{
		Version: 1, Builder: "v1", Inputs: "ab", Timestamp: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		Image:      manifest.Image{Board: "rpi4", Arch: "arm64", ID: "imagebuilder-rpi4", Version: "7", Size: 1 << 28, SHA256: "cd"},
		Partitions: []manifest.Partition{{Number: 1, Name: "boot", Type: "0c", Start: 4 << 20, Size: 256 << 20}},
		Overlays:   []manifest.Overlay{{Name: "base", DirHash: "01"}},
		Packages:   []manifest.Package{{Name: "bash", Version: "5", Arch: "arm64", Source: "bash", SourceVersion: "5", SHA256: "ef", Size: 9}},
		Components: []manifest.Component{{Name: "k3s", Version: "v1", Deferred: true, Reason: "no such host"}},
	}
	data, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	back, err := manifest.Decode("m.json", data)
	if err != nil || !reflect.DeepEqual(m, back) {
		t.Errorf("got %+v, %v", back, err)
	}
	for text, want := range map[string]string{
		`{"version": 2}`:             "m.json: manifest version 2 is not supported",
		`{"version": 1, "extra": 1}`: `m.json: json: unknown field "extra"`,
		`{`:                          "m.json: ",
	} {
		if _, err := manifest.Decode("m.json", []byte(text)); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: got %v", text, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"version": 1, "image": {"board": "rpi4"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if m, err := manifest.Decode("m", data); (m == nil) == (err == nil) {
			t.Fatalf("%v, %v", m, err)
		}
	})
}
