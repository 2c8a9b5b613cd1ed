package rootfs

import (
	"bytes"
	"crypto/sha1"
	"encoding/asn1"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"unicode/utf16"
)

// subjectHash returns what "openssl x509 -subject_hash" prints for a certificate: the SHA-1
// of the subject in OpenSSL's canonical encoding, of which the first four bytes are read as
// a little-endian number. It does not use crypto/x509, which refuses certificates that
// OpenSSL accepts, such as those with a negative serial number.
func subjectHash(der []byte) (string, error) {
	var outer struct {
		TBS       asn1.RawValue
		Algorithm asn1.RawValue
		Signature asn1.RawValue
	}
	if _, err := asn1.Unmarshal(der, &outer); err != nil {
		return "", fmt.Errorf("certificate: %w", err)
	}
	fields, err := sequence(outer.TBS.Bytes)
	if err != nil {
		return "", fmt.Errorf("certificate: %w", err)
	}
	// The version is optional, under the explicit tag [0].
	if len(fields) > 0 && fields[0].Class == asn1.ClassContextSpecific {
		fields = fields[1:]
	}
	const subject = 4 // after serial, signature, issuer, validity
	if len(fields) <= subject {
		return "", fmt.Errorf("certificate: the subject is missing")
	}
	name, err := canonicalName(fields[subject].Bytes)
	if err != nil {
		return "", fmt.Errorf("certificate: subject: %w", err)
	}
	sum := sha1.Sum(name)
	return fmt.Sprintf("%08x", binary.LittleEndian.Uint32(sum[:])), nil
}

// sequence splits concatenated DER values.
func sequence(der []byte) ([]asn1.RawValue, error) {
	var values []asn1.RawValue
	for len(der) > 0 {
		var v asn1.RawValue
		rest, err := asn1.Unmarshal(der, &v)
		if err != nil {
			return nil, err
		}
		values = append(values, v)
		der = rest
	}
	return values, nil
}

// canonicalName encodes the relative distinguished names of a subject as OpenSSL's
// x509_name_canon does: sets of (type, canonical value), without the outer sequence.
func canonicalName(rdns []byte) ([]byte, error) {
	sets, err := sequence(rdns)
	if err != nil {
		return nil, err
	}
	var out []byte
	for _, set := range sets {
		attributes, err := sequence(set.Bytes)
		if err != nil {
			return nil, err
		}
		var encoded [][]byte
		for _, a := range attributes {
			e, err := canonicalAttribute(a.Bytes)
			if err != nil {
				return nil, err
			}
			encoded = append(encoded, e)
		}
		slices.SortFunc(encoded, bytes.Compare) // DER's order of a SET OF
		out = append(out, wrap(0x31, bytes.Join(encoded, nil))...)
	}
	return out, nil
}

// canonicalAttribute encodes one type and value. Strings become UTF-8 with ASCII letters in
// lower case and runs of blanks as one; other values stay as they are.
func canonicalAttribute(der []byte) ([]byte, error) {
	parts, err := sequence(der)
	if err != nil {
		return nil, err
	}
	if len(parts) != 2 {
		return nil, fmt.Errorf("an attribute has %d parts, not 2", len(parts))
	}
	value := parts[1].FullBytes
	if s, ok := decodeString(parts[1]); ok {
		value = wrap(asn1.TagUTF8String, []byte(canonicalString(s)))
	}
	return wrap(0x30, slices.Concat(parts[0].FullBytes, value)), nil
}

// decodeString returns the text of a string type that OpenSSL canonicalizes in names (its
// ASN1_MASK_CANON); ok is false for other types.
func decodeString(v asn1.RawValue) (string, bool) {
	if v.Class != asn1.ClassUniversal {
		return "", false
	}
	switch v.Tag {
	case asn1.TagUTF8String, asn1.TagPrintableString, asn1.TagIA5String:
		return string(v.Bytes), true
	case asn1.TagT61String: // read as Latin-1
		runes := make([]rune, len(v.Bytes))
		for i, b := range v.Bytes {
			runes[i] = rune(b)
		}
		return string(runes), true
	case asn1.TagBMPString:
		units := make([]uint16, len(v.Bytes)/2)
		for i := range units {
			units[i] = binary.BigEndian.Uint16(v.Bytes[2*i:])
		}
		return string(utf16.Decode(units)), len(v.Bytes)%2 == 0
	case 28: // UniversalString
		runes := make([]rune, len(v.Bytes)/4)
		for i := range runes {
			runes[i] = rune(binary.BigEndian.Uint32(v.Bytes[4*i:]))
		}
		return string(runes), len(v.Bytes)%4 == 0
	}
	return "", false
}

// canonicalString trims s, turns runs of ASCII blanks into one and ASCII letters into lower
// case.
func canonicalString(s string) string {
	isBlank := func(r rune) bool { return r == ' ' || r >= '\t' && r <= '\r' }
	lower := func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}
	return strings.Map(lower, strings.Join(strings.FieldsFunc(s, isBlank), " "))
}

// wrap encodes content under a one-byte tag with DER's definite length.
func wrap(tag byte, content []byte) []byte {
	n := len(content)
	if n < 0x80 {
		return append([]byte{tag, byte(n)}, content...)
	}
	length := bytes.TrimLeft(binary.BigEndian.AppendUint32(nil, uint32(n)), "\x00")
	return slices.Concat([]byte{tag, 0x80 | byte(len(length))}, length, content)
}
