package contract_test

import (
	"reflect"
	"testing"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
)

func TestALabelIsReadAsItWasWritten(t *testing.T) {
	want := contract.Label{Version: 1, Board: "rpi4", Arch: "arm64", ImageVersion: "7", DiskID: "ab", SlotMiB: 2048, Slots: []string{"a", "b"}, Storage: contract.Storage}
	data, err := want.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := contract.ParseLabel(data); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestForeignLabelsAreRefused(t *testing.T) {
	for _, text := range []string{``, `[]`, `{}`, `{"board": ""}`, `{"board": "../rpi4"}`, `{"board": 4}`} {
		if i, err := contract.ParseLabel([]byte(text)); err == nil {
			t.Errorf("%s: read as %+v", text, i)
		}
	}
}

func FuzzParseLabel(f *testing.F) {
	f.Add([]byte(`{"board": "rpi4"}`))
	f.Fuzz(func(t *testing.T, data []byte) { _, _ = contract.ParseLabel(data) })
}
