package contract

import (
	"encoding/base64"
	"errors"
)

// CertificateComponent is where an update's manifest has the certificate by which the
// unified kernel image is signed that it brings, where StorageComponent is and for the
// same reason. Without it nothing is stated.
const CertificateComponent = "certificate"

// maxCertificate is the longest in bytes; one of RSA-4096 has 1,300.
const maxCertificate = 16 << 10

// EncodeCertificate returns what stands there of a certificate in DER form.
func EncodeCertificate(der []byte) string { return base64.StdEncoding.EncodeToString(der) }

// ParseCertificate reads it; what is not there is nil.
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
