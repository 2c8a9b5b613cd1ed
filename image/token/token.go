// Package token signs with a key in a PKCS #11 token: a smart card, a YubiKey, or an HSM.
// The key never leaves the token. The package runs OpenSC's program pkcs11-tool, because the
// token's own library is C.
//
// It reads URIs of RFC 7512. It refuses a PIN in the URI, which the list of processes would
// show, and a signature that does not match the certificate.
package token

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Scheme is the beginning of a URI.
const Scheme = "pkcs11:"

// Key is a key in a token. It is a crypto.Signer for RSA with PKCS #1 v1.5 and SHA-256.
type Key struct {
	public            *rsa.PublicKey
	module, token, id string
	pinFile           string // "": pkcs11-tool asks on the terminal
}

// Open parses the URI of the key with this public half:
//
//	pkcs11:token=NAME;id=%01?module-path=/usr/lib/….so&pin-source=file:/PATH
//
// A label (object=) is refused, as pkcs11-tool of OpenSC 0.23 ignores it and signs with the
// first key. The token is not used before something is to be signed.
func Open(uri string, public *rsa.PublicKey) (*Key, error) {
	if !strings.HasPrefix(uri, Scheme) {
		return nil, errors.New("a PKCS #11 URI has " + Scheme + " in front")
	}
	path, query, _ := strings.Cut(uri[len(Scheme):], "?")
	k := &Key{public: public}
	if err := errors.Join(k.read(path, ";", k.attribute), k.read(query, "&", k.setting)); err != nil {
		return nil, err
	}
	switch {
	case k.module == "":
		return nil, errors.New("a PKCS #11 URI needs ?module-path=FILE: the library of the token's maker, or OpenSC's opensc-pkcs11.so")
	case k.id == "":
		return nil, errors.New("a PKCS #11 URI needs id=%XX: which key is meant? (pkcs11-tool --list-objects)")
	}
	return k, nil
}

func (k *Key) read(part, separator string, set func(name, value string) error) error {
	for _, field := range strings.Split(part, separator) {
		if field == "" {
			continue
		}
		name, text, _ := strings.Cut(field, "=")
		value, err := url.PathUnescape(text)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := set(name, value); err != nil {
			return err
		}
	}
	return nil
}

// attribute handles an attribute that identifies the key.
func (k *Key) attribute(name, value string) error {
	switch name {
	case "token":
		k.token = value
	case "id":
		k.id = hex.EncodeToString([]byte(value))
	case "type":
		if value != "private" {
			return fmt.Errorf("type=%s: a private key signs", value)
		}
	default:
		return fmt.Errorf("%s= is not known here: token, id and type are", name)
	}
	return nil
}

// setting handles an attribute that says how to reach the token.
func (k *Key) setting(name, value string) error {
	switch name {
	case "module-path":
		k.module = value
	case "pin-source":
		k.pinFile = strings.TrimPrefix(value, "file:")
	case "pin-value":
		return errors.New("pin-value= puts the PIN where others can read it: write it into a file, pin-source=file:PATH, or leave it out to be asked")
	default:
		return fmt.Errorf("%s= is not known here: module-path and pin-source are", name)
	}
	return nil
}

// Public is the certificate's key.
func (k *Key) Public() crypto.PublicKey { return k.public }

// prefix is the DigestInfo before a SHA-256 digest (RFC 8017, 9.2, note 1).
var prefix = []byte{0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20}

// Sign has the token sign a SHA-256 digest.
func (k *Key) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if opts.HashFunc() != crypto.SHA256 || len(digest) != crypto.SHA256.Size() {
		return nil, errors.New("token: only SHA-256 is signed")
	}
	dir, err := os.MkdirTemp("", "imagebuilder-token-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	in, out := filepath.Join(dir, "in"), filepath.Join(dir, "out")
	if err := os.WriteFile(in, append(bytes.Clone(prefix), digest...), 0o600); err != nil {
		return nil, err
	}
	if err := k.ask(in, out); err != nil {
		return nil, err
	}
	signature, err := os.ReadFile(out)
	if err != nil {
		return nil, err
	}
	if err := rsa.VerifyPKCS1v15(k.public, crypto.SHA256, digest, signature); err != nil {
		return nil, errors.New("the token signed with another key than the certificate's")
	}
	return signature, nil
}

// ask leaves the terminal to pkcs11-tool, which asks for a PIN there: it requires a terminal
// as both input and output.
func (k *Key) ask(in, out string) error {
	cmd := exec.Command("pkcs11-tool", append(k.arguments(), "--input-file", in, "--output-file", out)...)
	var words bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stderr, &words
	if err := k.givePIN(cmd); err != nil {
		return err
	}
	if k.pinFile != "" {
		cmd.Stdin, cmd.Stdout = nil, &words
	}
	err := cmd.Run()
	if errors.Is(err, exec.ErrNotFound) {
		return errors.New("pkcs11-tool is not installed: it is in the package opensc")
	}
	if err != nil {
		return fmt.Errorf("pkcs11-tool: %w: %s", err, strings.TrimSpace(words.String()))
	}
	return nil
}

func (k *Key) arguments() []string {
	args := []string{"--module", k.module, "--login", "--sign", "--mechanism", "RSA-PKCS", "--id", k.id}
	if k.token != "" {
		args = append(args, "--token-label", k.token)
	}
	return args
}

// pinVariable passes the PIN to pkcs11-tool: any user can read a process's arguments, but
// only root and the owner its environment (proc(5)).
const pinVariable = "IMAGEBUILDER_PIN"

func (k *Key) givePIN(cmd *exec.Cmd) error {
	if k.pinFile == "" {
		return nil
	}
	pin, err := os.ReadFile(k.pinFile)
	if err != nil {
		return fmt.Errorf("the token's PIN: %w", err)
	}
	cmd.Args = append(cmd.Args, "--pin", "env:"+pinVariable)
	cmd.Env = append(os.Environ(), pinVariable+"="+strings.TrimRight(string(pin), "\r\n"))
	return nil
}
