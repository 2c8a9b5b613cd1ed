package bootinfo_test

import (
	"reflect"
	"testing"

	"github.com/going-mobile/imagebuilder/image/bootinfo"
)

func TestWhatIsWrittenIsRead(t *testing.T) {
	want := bootinfo.Info{Version: 1, Board: "rpi4", Arch: "arm64", ImageVersion: "7", DiskID: "ab", SlotMiB: 2048, Slots: []string{"a", "b"}}
	data, err := want.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := bootinfo.Parse(data); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestForeignLabelsAreRefused(t *testing.T) {
	for _, text := range []string{``, `[]`, `{}`, `{"board": ""}`, `{"board": "../rpi4"}`, `{"board": 4}`} {
		if i, err := bootinfo.Parse([]byte(text)); err == nil {
			t.Errorf("%s: read as %+v", text, i)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"board": "rpi4"}`))
	f.Fuzz(func(t *testing.T, data []byte) { _, _ = bootinfo.Parse(data) })
}
