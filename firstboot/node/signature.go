package node

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"aead.dev/minisign"
)

// A signed node.yaml is one file: the text, and below it the four lines of an ordinary minisign
// signature of that text, each behind "# ". The trusted comment says for which node the text was
// signed, and when. Newlines after the signature, as on a boot partition, are ignored. Anything
// else there is refused, or a stranger could append settings to the owner's. Load reads the text
// and ignores the signature.

const (
	comment   = "# "
	untrusted = comment + "untrusted comment: "
	trusted   = comment + "trusted comment: "
)

// Signature is the signature below a signed node.yaml.
type Signature struct {
	Node string
	Time time.Time // to the second
	// Digest is the SHA-256 of the text, in hex.
	Digest string

	text, lines []byte
	keyID       uint64
}

// ReadSignature returns the signature in a node.yaml without verifying it; nil if there is none.
func ReadSignature(data []byte) (*Signature, error) {
	text, block := cutSignature(data)
	if block == nil {
		return nil, nil
	}
	lines := strings.Split(string(block), "\n")
	for i, l := range lines {
		l = strings.TrimSuffix(l, "\r")
		// YAML ends a line, and with it a comment, at CR, NEL, LS and PS too.
		if !strings.HasPrefix(l, comment) || strings.ContainsFunc(l, func(r rune) bool { return r < ' ' || r > '~' }) {
			return nil, errors.New("is followed by something else")
		}
		lines[i] = strings.TrimPrefix(l, comment)
	}
	s := &Signature{text: text, lines: []byte(strings.Join(lines, "\n"))}
	var m minisign.Signature
	if len(lines) != 4 || m.UnmarshalText(s.lines) != nil {
		return nil, errors.New("is damaged or incomplete")
	}
	var unix int64
	if n, err := fmt.Sscanf(m.TrustedComment, "node=%s time=%d", &s.Node, &unix); n != 2 || err != nil {
		return nil, errors.New("does not say for which node it was made, and when")
	}
	sum := sha256.Sum256(text)
	s.Time, s.Digest, s.keyID = time.Unix(unix, 0).UTC(), hex.EncodeToString(sum[:]), m.KeyID
	return s, nil
}

// cutSignature splits a file before its signature. block is nil if there is no trace of one.
func cutSignature(data []byte) (text, block []byte) {
	trimmed := bytes.TrimRight(data, "\r\n")
	at := bytes.LastIndex(trimmed, []byte("\n"+untrusted))
	if at < 0 {
		at = bytes.LastIndex(trimmed, []byte("\n"+trusted))
	}
	if at < 0 {
		return data, nil
	}
	return trimmed[:at+1], trimmed[at+1:]
}

// By verifies the signature with the owner's public key.
func (s *Signature) By(ownerKey string) error {
	key, err := ParseOwnerKey(ownerKey)
	if err != nil {
		return err
	}
	if s.keyID != key.ID() {
		return fmt.Errorf("was made with key %016X, the owner's is %016X", s.keyID, key.ID())
	}
	if !minisign.Verify(key, s.text, s.lines) {
		return errors.New("does not fit: something was changed after it was made")
	}
	return nil
}

// Taken describes what a node that has joined, and that knows ownerKey ("" for none), takes from
// the file data, which c was read from. A signature that does not fit is an error.
func Taken(data []byte, c *Config, ownerKey string) (string, error) {
	sig, err := ReadSignature(data)
	switch {
	case err != nil:
		return "", fmt.Errorf("the signature %w", err)
	case ownerKey == "":
		return "without ownerKey, a node that has joined takes all of it from anybody", nil
	case sig == nil:
		return "unsigned; a node that has joined takes a key, tokens and network settings from it, and nothing if more has changed", nil
	}
	if err := sig.By(ownerKey); err != nil {
		return "", fmt.Errorf("the signature %w", err)
	}
	if sig.Node != c.Node {
		return "", fmt.Errorf("the signature is for node %s", sig.Node)
	}
	return fmt.Sprintf("signed %s; a node that has joined takes all of it, unless it has a later one", sig.Time.Format("2006-01-02 15:04:05 UTC")), nil
}

// ParseOwnerKey parses the value of ownerKey: a public key of minisign, on one line.
func ParseOwnerKey(s string) (minisign.PublicKey, error) {
	var key minisign.PublicKey
	if strings.ContainsAny(s, " \r\n") || key.UnmarshalText([]byte(s)) != nil {
		return key, errors.New("want a public key of minisign, one line that begins with RW")
	}
	return key, nil
}

// Sign returns a node.yaml or key file, of the node called name, with the owner's signature below
// its text. An existing signature is replaced.
func Sign(data []byte, name string, key minisign.PrivateKey, now time.Time) ([]byte, error) {
	now = now.Truncate(time.Second)
	if old, err := ReadSignature(data); err == nil && old != nil && !now.After(old.Time) {
		now = old.Time.Add(time.Second) // or a node would take the two for the same file
	}
	text, _ := cutSignature(data)
	r := minisign.NewReader(io.MultiReader(bytes.NewReader(bytes.TrimRight(text, "\r\n")), strings.NewReader("\n")))
	var out bytes.Buffer
	if _, err := out.ReadFrom(r); err != nil {
		return nil, err
	}
	sig := r.SignWithComments(key, fmt.Sprintf("node=%s time=%d", name, now.Unix()), "any change above makes this signature worthless")
	for line := range strings.Lines(string(sig)) {
		out.WriteString(comment + line)
	}
	if out.Len() > ReservedSize {
		return nil, ErrTooLong
	}
	return out.Bytes(), nil
}
