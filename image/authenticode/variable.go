package authenticode

import (
	"encoding/asn1"
	"fmt"
	"time"
	"unicode/utf16"
)

// guid is a GUID in the mixed byte order of EFI_GUID.
type guid [16]byte

// Vendor GUIDs of variables, and types of their content (UEFI 2.10, 3.3, 8.2.2 and 32.4.1).
var (
	globalVariable   = guid{0x61, 0xdf, 0xe4, 0x8b, 0xca, 0x93, 0xd2, 0x11, 0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c}
	securityDatabase = guid{0xcb, 0xb2, 0x19, 0xd7, 0x3a, 0x3d, 0x96, 0x45, 0xa3, 0xbc, 0xda, 0xd0, 0x0e, 0x67, 0x65, 0x6f}
	certX509         = guid{0xa1, 0x59, 0xc0, 0xa5, 0xe4, 0x94, 0xa7, 0x4a, 0x87, 0xb5, 0xab, 0x15, 0x5c, 0x2b, 0xf0, 0x72}
	certPKCS7        = guid{0x9d, 0xd2, 0xaf, 0x4a, 0xdf, 0x68, 0xee, 0x49, 0x8a, 0xa9, 0x34, 0x7d, 0x37, 0x56, 0x65, 0xa7}
)

// Variables are the variables by which firmware in setup mode learns to trust this
// certificate and no other, in the order in which they must be written: writing the
// platform key (PK) ends setup mode.
var Variables = []string{"db", "KEK", "PK"}

// attributes of Variables: NON_VOLATILE, BOOTSERVICE_ACCESS, RUNTIME_ACCESS and
// TIME_BASED_AUTHENTICATED_WRITE_ACCESS.
const attributes = 0x01 | 0x02 | 0x04 | 0x20

// Variable returns an update of one of Variables, signed by the key itself, as systemd-boot
// and firmware setups read it from a file NAME.auth: an EFI_VARIABLE_AUTHENTICATION_2 and
// the value. Firmware refuses an update with an earlier time than the last one.
func (s *Signer) Variable(name string, at time.Time) ([]byte, error) {
	vendor := globalVariable
	if name == "db" {
		vendor = securityDatabase
	}
	stamp, value := efiTime(at), s.signatureList()
	var what []byte
	for _, c := range utf16.Encode([]rune(name)) { // without a terminating NUL
		what = le.AppendUint16(what, c)
	}
	what = append(what, vendor[:]...)
	what = le.AppendUint32(what, attributes)
	what = append(append(what, stamp...), value...)
	signed, err := s.pkcs7(contentInfo{Type: oidData}, nil, what)
	if err != nil {
		return nil, fmt.Errorf("variable %s: %w", name, err)
	}
	var check asn1.RawValue
	if rest, err := asn1.Unmarshal(signed, &check); err != nil || len(rest) > 0 {
		return nil, fmt.Errorf("variable %s: a signature that is none", name)
	}
	const revision, kindGUID = 0x0200, 0x0ef1
	out := append([]byte(nil), stamp...)
	out = le.AppendUint32(out, uint32(8+len(certPKCS7)+len(signed)))
	out = le.AppendUint16(out, revision)
	out = le.AppendUint16(out, kindGUID)
	out = append(append(out, certPKCS7[:]...), signed...)
	return append(out, value...), nil
}

// signatureList returns an EFI_SIGNATURE_LIST with just the certificate. The owner GUID is
// zero: it only identifies whom to ask, and nothing else reads it.
func (s *Signer) signatureList() []byte {
	var owner guid
	size := len(owner) + len(s.cert.Raw)
	out := append([]byte(nil), certX509[:]...)
	out = le.AppendUint32(out, uint32(len(certX509)+12+size))
	out = le.AppendUint32(out, 0) // header size; this type has none
	out = le.AppendUint32(out, uint32(size))
	return append(append(out, owner[:]...), s.cert.Raw...)
}

// efiTime returns an EFI_TIME. Fractions of a second and the time zone must be zero (UEFI
// 2.10, 8.2.2).
func efiTime(t time.Time) []byte {
	t = t.UTC()
	out := le.AppendUint16(nil, uint16(t.Year()))
	out = append(out, byte(t.Month()), byte(t.Day()), byte(t.Hour()), byte(t.Minute()), byte(t.Second()))
	return append(out, make([]byte, 16-len(out))...)
}
