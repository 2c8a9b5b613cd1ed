package authenticode

import (
	"crypto/sha256"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/binary"
	"errors"
	"fmt"
)

// Where things are in a PE32+ file (Microsoft, "PE Format"). Offsets of the
// optional header are relative to its beginning.
const (
	peOffsetField  = 0x3c
	coffHeaderSize = 20
	optMagic       = 0x20b
	optHeadersSize = 60
	optChecksum    = 64
	optDirectories = 112
	certificates   = optDirectories + 4*8 // the fifth of the data directories
	alignment      = 8                    // of an entry of the table of certificates
)

var le = binary.LittleEndian

// Sign returns a signed copy of an EFI program.
func (s *Signer) Sign(program []byte) ([]byte, error) {
	out := append([]byte(nil), program...)
	out = append(out, make([]byte, -len(out)&(alignment-1))...) // the signature covers the padding
	opt, err := optionalHeader(out)
	if err != nil {
		return nil, err
	}
	if le.Uint32(out[opt+certificates+4:]) != 0 {
		return nil, errors.New("it bears a signature already")
	}
	if err := contiguous(out, opt); err != nil {
		return nil, err
	}
	signature, err := s.signature(digest(out, opt))
	if err != nil {
		return nil, err
	}
	table := entry(signature)
	le.PutUint32(out[opt+certificates:], uint32(len(out)))
	le.PutUint32(out[opt+certificates+4:], uint32(len(table)))
	out = append(out, table...)
	le.PutUint32(out[opt+optChecksum:], Checksum(out, opt+optChecksum))
	return out, nil
}

// Read returns a program's digest as a signature would cover it, and its certificate table
// with the signature, or nil if it is not signed. It does not verify the signature.
func Read(program []byte) (sum, signature []byte, err error) {
	opt, err := optionalHeader(program)
	if err != nil {
		return nil, nil, err
	}
	start, size := uint64(le.Uint32(program[opt+certificates:])), uint64(le.Uint32(program[opt+certificates+4:]))
	switch {
	case size == 0:
		return digest(program, opt), nil, nil
	case start < uint64(max(opt+certificates+8, int(le.Uint32(program[opt+optHeadersSize:])))) || start+size != uint64(len(program)):
		return nil, nil, errors.New("is cut short or has something behind its signature")
	}
	return digest(program[:start], opt), program[start:], nil
}

// Bare returns a signed program as it was before signing, and an unsigned one unchanged.
func Bare(program []byte) ([]byte, error) {
	_, signature, err := Read(program)
	if err != nil || signature == nil {
		return program, err
	}
	out := append([]byte(nil), program[:len(program)-len(signature)]...)
	opt, err := optionalHeader(out)
	if err != nil {
		return nil, err
	}
	clear(out[opt+certificates : opt+certificates+8])
	return out, nil
}

func optionalHeader(b []byte) (int, error) {
	errNotPE := errors.New("not a PE32+ file")
	if len(b) < peOffsetField+4 || string(b[:2]) != "MZ" {
		return 0, errNotPE
	}
	at := int64(le.Uint32(b[peOffsetField:]))
	opt := at + 4 + coffHeaderSize
	if opt+certificates+8 > int64(len(b)) || string(b[at:at+4]) != "PE\x00\x00" || le.Uint16(b[opt:]) != optMagic {
		return 0, errNotPE
	}
	if n := le.Uint32(b[opt+optDirectories-4:]); n < 5 {
		return 0, fmt.Errorf("it has %d data directories, and none for a signature", n)
	}
	return int(opt), nil
}

// contiguous refuses a program with data between its sections: firmware hashes section by
// section, then hashes the rest of the file's length from the end.
func contiguous(b []byte, opt int) error {
	const sectionSize = 40
	coff := opt - coffHeaderSize
	table := opt + int(le.Uint16(b[coff+16:]))
	count := int(le.Uint16(b[coff+2:]))
	if table+count*sectionSize > len(b) {
		return errors.New("its sections are cut off")
	}
	end := le.Uint32(b[opt+optHeadersSize:])
	for i := range count {
		s := b[table+i*sectionSize:]
		size, start := le.Uint32(s[16:]), le.Uint32(s[20:])
		if size > 0 && start != end {
			return errors.New("its sections are not in a row")
		}
		end += size
	}
	if uint64(end) > uint64(len(b)) {
		return errors.New("its sections are cut off")
	}
	return nil
}

// digest covers everything except the checksum and the certificate table's directory entry.
func digest(b []byte, opt int) []byte {
	h := sha256.New()
	for _, part := range [][]byte{b[:opt+optChecksum], b[opt+optChecksum+4 : opt+certificates], b[opt+certificates+8:]} {
		h.Write(part)
	}
	return h.Sum(nil)
}

type indirectData struct {
	Data struct {
		Type  asn1.ObjectIdentifier
		Value struct {
			Flags asn1.BitString
			File  asn1.RawValue // [0] EXPLICIT SpcLink
		}
	}
	Digest struct {
		Algorithm pkix.AlgorithmIdentifier
		Sum       []byte
	}
}

// signature returns the signature of a program's digest.
func (s *Signer) signature(sum []byte) ([]byte, error) {
	var d indirectData
	d.Data.Type = oidPEImageData
	// SpcLink: file [2] EXPLICIT SpcString, which is unicode [0] IMPLICIT "".
	empty := asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0}
	text, err := asn1.Marshal(empty)
	if err != nil {
		return nil, err
	}
	d.Data.Value.File = tagged(asn1.ClassContextSpecific, 0, tagged(asn1.ClassContextSpecific, 2, text).FullBytes)
	d.Digest.Algorithm, d.Digest.Sum = sha256Algorithm, sum
	content, err := asn1.Marshal(d)
	if err != nil {
		return nil, err
	}
	var inner asn1.RawValue // the digest covers the content without its tag and length
	if _, err := asn1.Unmarshal(content, &inner); err != nil {
		return nil, err
	}
	attributes, err := attributesOf(oidIndirectData, inner.Bytes)
	if err != nil {
		return nil, err
	}
	signed, err := s.pkcs7(contentInfo{oidIndirectData, tagged(asn1.ClassContextSpecific, 0, content)}, attributes, nil)
	if err != nil {
		return nil, err
	}
	return wrapped(signed)
}

// entry returns a WIN_CERTIFICATE of revision 2.0 with a PKCS #7 signature.
func entry(signature []byte) []byte {
	const header, revision, pkcs7 = 8, 0x0200, 0x0002
	b := make([]byte, header, header+len(signature)+alignment)
	b = append(b, signature...)
	b = append(b, make([]byte, -len(b)&(alignment-1))...)
	le.PutUint32(b, uint32(len(b)))
	le.PutUint16(b[4:], revision)
	le.PutUint16(b[6:], pkcs7)
	return b
}

// Checksum returns the checksum of a PE file that has its checksum field at offset field:
// the ones' complement sum of all 16-bit words, with the field as zero, plus the length.
// UEFI ignores it; other programs warn if it is wrong.
func Checksum(b []byte, field int) uint32 {
	var sum uint64
	for i := 0; i+1 < len(b); i += 2 {
		if i != field && i != field+2 {
			sum += uint64(le.Uint16(b[i:]))
		}
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	return uint32(sum) + uint32(len(b))
}
