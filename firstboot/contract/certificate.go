package contract

import (
	"encoding/base64"
	"errors"
)

// CertificateComponent is where an update's manifest has the certificate that its unified
// kernel image was signed with. Like StorageComponent it is among the components'
// versions, for the same reason. If it is missing, nothing is stated.
const CertificateComponent = "certificate"

// maxCertificate is the greatest length in bytes; a certificate with RSA-4096 has 1,300.
const maxCertificate = 16 << 10

// EncodeCertificate returns the entry for a certificate in DER form.
func EncodeCertificate(der []byte) string { return base64.StdEncoding.EncodeToString(der) }

// ParseCertificate reads such an entry; it returns nil for "".
func ParseCertificate(text string) ([]byte, error) {
	if text == "" {
		return nil, nil
	}
	der, err := base64.StdEncoding.DecodeString(text)
	if err == nil && (len(der) == 0 || len(der) > maxCertificate) {
		err = errors.New("it is empty, or longer than any certificate")
	}
	return der, err
}
