// Package owner makes the key pair of a fleet's owner, and signs with it. Files and
// signatures are in minisign's format, so that its program can do all of this, too.
//
// It refuses to overwrite a key, and to sign a node.yaml that a node would not load. It does
// not prompt for a password: callers pass a function that gets one.
package owner

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"aead.dev/minisign"

	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/firstboot/secret"
	"github.com/going-mobile/imagebuilder/image/atomicfile"
)

// Generate makes a key pair: the secret half in the file name, encrypted unless the password
// is empty, and the public half in NAME.pub. It returns the public key in node.yaml's form.
func Generate(name string, password func() (secret.String, error)) (public string, err error) {
	for _, f := range []string{name, name + ".pub"} { // before anybody types a password
		if _, err := os.Lstat(f); !errors.Is(err, fs.ErrNotExist) {
			return "", errors.Join(fmt.Errorf("%s exists: a key is never written over", f), err)
		}
	}
	word, err := password()
	if err != nil {
		return "", err
	}
	p, err := NewPair(word)
	if err != nil {
		return "", err
	}
	if err := create(name, p.Secret, 0o600); err != nil {
		return "", err
	}
	return p.Key, create(name+".pub", p.Public, 0o644)
}

// Pair is a key pair: the texts of minisign's two files, and the public key in node.yaml's
// form.
type Pair struct {
	Secret, Public []byte
	Key            string
}

// NewPair makes a key pair, its secret half encrypted unless the password is
// empty.
func NewPair(password secret.String) (Pair, error) {
	pub, private, err := minisign.GenerateKey(nil)
	if err != nil {
		return Pair{}, err
	}
	p := Pair{Key: pub.String()}
	if p.Public, err = pub.MarshalText(); err != nil {
		return Pair{}, err
	}
	if password.Empty() {
		p.Secret, err = private.MarshalText()
	} else {
		p.Secret, err = minisign.EncryptKey(password.Reveal(), private)
	}
	return p, err
}

// create writes a file that must not exist yet.
func create(name string, text []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	if err := atomicfile.Chmod(f, mode); err != nil {
		return errors.Join(err, f.Close(), os.Remove(name))
	}
	_, err = f.Write(append(text, '\n'))
	return errors.Join(err, f.Sync(), f.Close())
}

// Open reads a secret key; password is called if the key is encrypted.
func Open(name string, password func() (secret.String, error)) (minisign.PrivateKey, error) {
	var key minisign.PrivateKey
	text, err := os.ReadFile(name)
	if err != nil {
		return key, err
	}
	if !minisign.IsEncrypted(text) {
		if key, err = Parse(text); err != nil {
			return key, fmt.Errorf("%s: %w", name, err)
		}
		return key, nil
	}
	word, err := password()
	if err != nil {
		return key, err
	}
	if key, err = minisign.DecryptKey(word.Reveal(), text); err != nil {
		return key, fmt.Errorf("%s: the password is wrong, or the key is damaged", name)
	}
	return key, nil
}

// Parse reads an unencrypted secret key.
func Parse(text []byte) (minisign.PrivateKey, error) {
	var key minisign.PrivateKey
	if err := key.UnmarshalText(text); err != nil {
		return key, errors.New("is no secret key of minisign")
	}
	return key, nil
}

// SignNode appends a signature to the node.yaml in the file name.
func SignNode(name string, key minisign.PrivateKey) (*node.Config, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	config, err := node.Load(name, data)
	if err != nil {
		return nil, err
	}
	signed, err := node.Sign(data, config.Node, key, time.Now())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return config, atomicfile.WriteFile(name, signed, 0o600)
}
