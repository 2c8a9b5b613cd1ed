// Package secret holds text that must not be seen: keys, tokens, passphrases.
//
// A String prints, formats, logs and marshals to JSON as a placeholder, so that a careless %v leaks
// nothing. It does not prevent deliberate use: Reveal returns the text, and YAML, the format of the
// files that carry secrets, contains it.
package secret

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
)

// String is text whose value must not reach a screen, a log or a status file.
type String string

const redacted = "(secret)"

// Reveal returns the text itself.
func (s String) Reveal() string { return string(s) }

// Empty reports whether there is no secret.
func (s String) Empty() bool { return s == "" }

// Fingerprint identifies a secret without revealing it: the first 8 bytes, in hex, of a SHA-256; ""
// for an empty secret.
func (s String) Fingerprint() string {
	if s == "" {
		return ""
	}
	sum := sha256.Sum256([]byte("imagebuilder secret\x00" + string(s)))
	return hex.EncodeToString(sum[:8])
}

// String returns a placeholder, "" if there is no secret.
func (s String) String() string {
	if s == "" {
		return ""
	}
	return redacted
}

// GoString keeps %#v from showing the value.
func (s String) GoString() string { return fmt.Sprintf("secret.String(%q)", s.String()) }

// Format answers every verb, %x and %d included, with the placeholder.
func (s String) Format(f fmt.State, verb rune) {
	if verb == 'v' && f.Flag('#') {
		fmt.Fprint(f, s.GoString())
		return
	}
	fmt.Fprint(f, s.String())
}

// MarshalJSON writes the placeholder: status files and manifests are JSON.
func (s String) MarshalJSON() ([]byte, error) { return []byte(`"` + s.String() + `"`), nil }

// LogValue keeps structured logs clean.
func (s String) LogValue() slog.Value { return slog.StringValue(s.String()) }
