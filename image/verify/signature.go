package verify

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"aead.dev/minisign"

	"github.com/going-mobile/imagebuilder/image/manifest"
)

const signatureSuffix = ".minisig"

// ErrUnsigned is returned if there is no signature beside a file.
var ErrUnsigned = errors.New("is not signed: no signature of it or of a " + SumsName + " that lists it lies beside it")

// Signature is a good signature.
type Signature struct {
	// File is the signature file, beside the signed file.
	File string `json:"file"`
	// Key is the public key that verified the signature.
	Key string `json:"key"`
	// Comment is the signer's trusted comment, which is part of what was signed.
	Comment string `json:"comment"`
}

//go:embed keys
var releaseKeys embed.FS

// ReleaseKeys are the keys that this program trusts by default: none, until the project's
// owner has made one (see the README).
func ReleaseKeys() ([]minisign.PublicKey, error) {
	files, err := fs.Glob(releaseKeys, "keys/*.pub")
	if err != nil {
		return nil, err
	}
	var list []minisign.PublicKey
	for _, name := range files {
		data, err := releaseKeys.ReadFile(name)
		if err != nil {
			return nil, err
		}
		key, err := parseKey(name, data)
		if err != nil {
			return nil, err
		}
		list = append(list, key)
	}
	return list, nil
}

// Key parses a minisign public key. s is the key itself or the name of a file with it.
func Key(s string) (minisign.PublicKey, error) {
	data, err := os.ReadFile(s)
	if errors.Is(err, fs.ErrNotExist) && strings.HasPrefix(s, "RW") {
		data, err = []byte(s), nil
	}
	if err != nil {
		return minisign.PublicKey{}, err
	}
	return parseKey(s, data)
}

func parseKey(name string, data []byte) (key minisign.PublicKey, err error) {
	if err := key.UnmarshalText(bytes.TrimSpace(data)); err != nil {
		return key, fmt.Errorf("%s is no public key of minisign, which has a line like RWQ…: %w", name, err)
	}
	return key, nil
}

// Signature checks, with any of the keys, the signature of the file that r is about, or of the
// SHA256SUMS that vouches for that file. It returns ErrUnsigned, wrapped, if neither is signed.
func (r *Report) Signature(keys []minisign.PublicKey) (*Signature, error) {
	f, err := os.Open(r.File)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	s, err := signature(r.File, f, keys)
	if !errors.Is(err, ErrUnsigned) || !r.inSums() {
		return s, err
	}
	if s, err = signature(r.sums.file, bytes.NewReader(r.sums.data), keys); errors.Is(err, ErrUnsigned) {
		err = fmt.Errorf("%s %w", r.File, ErrUnsigned)
	}
	return s, err
}

// inSums reports whether SHA256SUMS vouches for the file, either directly or through its
// manifest. Everything beside the file was compared with SHA256SUMS.
func (r *Report) inSums() bool {
	for _, c := range r.Checks {
		_, listed := r.sums.listed(c.Against)
		if c.Against == r.sums.file || listed && strings.HasSuffix(c.Against, manifest.Suffix) {
			return true
		}
	}
	return false
}

// signature checks name.minisig over the content of name.
func signature(name string, content io.Reader, keys []minisign.PublicKey) (*Signature, error) {
	file := name + signatureSuffix
	text, err := readIfThere(file)
	if err != nil {
		return nil, err
	}
	if text == nil {
		return nil, fmt.Errorf("%s %w", name, ErrUnsigned)
	}
	var sig minisign.Signature
	if err := sig.UnmarshalText(text); err != nil {
		return nil, fmt.Errorf("%s is no signature of minisign: %w", file, err)
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("%s is signed by key %X, but this imagebuilder knows no release key: name the one to trust with --key", name, sig.KeyID)
	}
	message := minisign.NewReader(content)
	if _, err := io.Copy(io.Discard, message); err != nil {
		return nil, err
	}
	known := false
	for _, key := range keys {
		known = known || key.ID() == sig.KeyID
		if message.Verify(key, text) {
			return &Signature{File: file, Key: key.String(), Comment: sig.TrustedComment}, nil
		}
	}
	if !known {
		return nil, fmt.Errorf("%s is signed by key %X, which is not to be trusted here: it is of somebody else, or --key names the wrong one", name, sig.KeyID)
	}
	return nil, fmt.Errorf("%s does not belong to its signature %s: one of them was changed; get both again", name, filepath.Base(file))
}
