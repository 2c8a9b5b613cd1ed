package contract_test

import (
	"testing"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
)

func TestStorageIsReadAsItWasWritten(t *testing.T) {
	for _, want := range []int{contract.StorageNone, contract.StorageShares, contract.Storage, 12} {
		if got, err := contract.ParseStorage(contract.EncodeStorage(want)); err != nil || got != want {
			t.Errorf("%d became %d, %v", want, got, err)
		}
	}
	if got, err := contract.ParseStorage(""); err != nil || got != contract.StorageNone {
		t.Errorf("what states nothing states %d, %v", got, err)
	}
	for _, text := range []string{"-1", "two", "2 ", "2.0", "99999999999"} {
		if got, err := contract.ParseStorage(text); err == nil {
			t.Errorf("%q became %d", text, got)
		}
	}
}
