package contract_test

import (
	"bytes"
	"testing"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
)

func TestTheCertificateIsReadAsItWasWritten(t *testing.T) {
	want := bytes.Repeat([]byte{0x30, 0x82, 0xff}, 400)
	if got, err := contract.ParseCertificate(contract.EncodeCertificate(want)); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%x, %v", got, err)
	}
	if got, err := contract.ParseCertificate(""); err != nil || got != nil {
		t.Errorf("of none: %x, %v", got, err)
	}
	for _, text := range []string{"-----BEGIN CERTIFICATE-----", "\n", contract.EncodeCertificate(make([]byte, 1<<20))} {
		if got, err := contract.ParseCertificate(text); err == nil {
			t.Errorf("%.40q is read as %d bytes", text, len(got))
		}
	}
}
