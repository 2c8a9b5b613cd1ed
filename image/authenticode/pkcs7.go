package authenticode

import (
	"crypto/sha256"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
)

// Object identifiers of PKCS #7 (RFC 2315), #9 and Authenticode.
var (
	oidData          = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 1}
	oidSignedData    = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}
	oidContentType   = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 3}
	oidMessageDigest = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 4}
	oidIndirectData  = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 2, 1, 4}
	oidPEImageData   = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 2, 1, 15}

	sha256Algorithm = pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}, Parameters: asn1.NullRawValue}
	rsaAlgorithm    = pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}, Parameters: asn1.NullRawValue}
)

type contentInfo struct {
	Type    asn1.ObjectIdentifier
	Content asn1.RawValue `asn1:"optional"` // [0] EXPLICIT
}

type signedData struct {
	Version      int
	Digests      []pkix.AlgorithmIdentifier `asn1:"set"`
	Content      contentInfo
	Certificates asn1.RawValue // [0] IMPLICIT SET OF
	Signers      []signerInfo  `asn1:"set"`
}

type signerInfo struct {
	Version    int
	Issuer     issuer
	Digest     pkix.AlgorithmIdentifier
	Attributes asn1.RawValue `asn1:"optional"` // [0] IMPLICIT SET OF
	Algorithm  pkix.AlgorithmIdentifier
	Signature  []byte
}

type issuer struct {
	Name   asn1.RawValue
	Serial *big.Int
}

type attribute struct {
	Type   asn1.ObjectIdentifier
	Values []any `asn1:"set"`
}

// pkcs7 returns a SignedData. It signs attributes or, if they are nil, what, which is not
// part of the result: the verifier has it.
func (s *Signer) pkcs7(content contentInfo, attributes []byte, what []byte) ([]byte, error) {
	info := signerInfo{
		Version: 1, Issuer: issuer{asn1.RawValue{FullBytes: s.cert.RawIssuer}, s.cert.SerialNumber},
		Digest: sha256Algorithm, Algorithm: rsaAlgorithm,
	}
	if attributes != nil {
		what = tagged(asn1.ClassUniversal, asn1.TagSet, attributes).FullBytes // signed with the tag of a SET
		info.Attributes = tagged(asn1.ClassContextSpecific, 0, attributes)
	}
	var err error
	if info.Signature, err = s.sign(what); err != nil {
		return nil, err
	}
	return asn1.Marshal(signedData{
		Version: 1, Digests: []pkix.AlgorithmIdentifier{sha256Algorithm}, Content: content,
		Certificates: tagged(asn1.ClassContextSpecific, 0, s.cert.Raw), Signers: []signerInfo{info},
	})
}

// attributesOf returns the attributes that are signed in place of a content: its type and
// its digest, in DER's order for a SET.
func attributesOf(kind asn1.ObjectIdentifier, content []byte) ([]byte, error) {
	sum := sha256.Sum256(content)
	first, err := asn1.Marshal(attribute{oidContentType, []any{kind}})
	if err != nil {
		return nil, err
	}
	second, err := asn1.Marshal(attribute{oidMessageDigest, []any{sum[:]}})
	return append(first, second...), err
}

// tagged returns a constructed value.
func tagged(class, tag int, content []byte) asn1.RawValue {
	v := asn1.RawValue{Class: class, Tag: tag, IsCompound: true, Bytes: content}
	v.FullBytes, _ = asn1.Marshal(v) // cannot fail for bytes
	return v
}

// wrapped returns a SignedData in a PKCS #7 ContentInfo.
func wrapped(signed []byte) ([]byte, error) {
	return asn1.Marshal(contentInfo{oidSignedData, tagged(asn1.ClassContextSpecific, 0, signed)})
}
