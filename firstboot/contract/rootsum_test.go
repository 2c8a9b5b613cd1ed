package contract_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"testing"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
)

func TestRootSum(t *testing.T) {
	want := contract.RootSum{Size: contract.RootSize(contract.RootPage + 1), SHA256: sha256.Sum256([]byte("root")), Tree: 3 * contract.RootPage}
	page := want.Encode()
	if got, err := contract.ParseRootSum(page); err != nil || got != want || want.Size != 2*contract.RootPage || want.Whole() != 6*contract.RootPage || len(page) != contract.RootPage {
		t.Errorf("%+v, %v", got, err)
	}
	for name, page := range map[string][]byte{
		"nothing":     nil,
		"zeros":       make([]byte, contract.RootPage),
		"cut":         page[:512],
		"longer":      append(bytes.Clone(page), 0),
		"a bit":       flip(page, 30),
		"behind it":   flip(page, contract.RootPage-1),
		"a digit":     bytes.Replace(page, []byte("sha256 "), []byte("sha256 x"), 1)[:contract.RootPage],
		"upper case":  bytes.ToUpper(page),
		"no number":   bytes.Replace(page, []byte("tree 1"), []byte("tree x"), 1),
		"other bytes": bytes.Repeat([]byte("hsqs"), contract.RootPage/4),
	} {
		if _, err := contract.ParseRootSum(page); !errors.Is(err, contract.ErrNoRootSum) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func flip(page []byte, at int) []byte {
	page = bytes.Clone(page)
	page[at] ^= 0x80
	return page
}

func FuzzParseRootSum(f *testing.F) {
	f.Add(contract.RootSum{Size: 4096}.Encode())
	f.Fuzz(func(t *testing.T, page []byte) {
		if s, err := contract.ParseRootSum(page); err == nil && !bytes.Equal(s.Encode(), page) {
			t.Errorf("%q is taken for %+v", page, s)
		}
	})
}
