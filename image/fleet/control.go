package fleet

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"filippo.io/age"
	"golang.org/x/crypto/ssh"

	"github.com/going-mobile/imagebuilder/firstboot/secret"
	"github.com/going-mobile/imagebuilder/image/atomicfile"
)

// ControlKeys reads the ssh host key of the machine that runs Headscale, and the key that
// logs in to it.
func (f *Fleet) ControlKeys() (host, login ssh.Signer, err error) {
	s := f.Cluster.Headscale.Server
	if host, err = f.sshKey(s.HostKey, "hostKey"); err != nil {
		return nil, nil, err
	}
	login, err = f.sshKey(s.LoginKey, "loginKey")
	return host, login, err
}

func (f *Fleet) sshKey(r Ref, name string) (ssh.Signer, error) {
	text, err := r.read(f.dir)
	if err != nil {
		return nil, fmt.Errorf("cluster.headscale.server.%s: %w", name, err)
	}
	return parseSSHKey(r, name, text)
}

// parseSSHKey puts nothing of the text into an error, as the text is a secret.
func parseSSHKey(r Ref, name string, text secret.String) (ssh.Signer, error) {
	key, err := ssh.ParsePrivateKey([]byte(text.Reveal()))
	if err != nil || key.PublicKey().Type() != ssh.KeyAlgoED25519 {
		return nil, fmt.Errorf("cluster.headscale.server.%s: %s is no ed25519 key in OpenSSH's form without a passphrase", name, r)
	}
	return key, nil
}

// CanKeepAPIKey says why a new API key could not be stored, nil if it can.
func (f *Fleet) CanKeepAPIKey() error {
	r := f.Cluster.Headscale.APIKey
	switch {
	case r.Env != "":
		return fmt.Errorf("cluster.headscale.apiKey names the environment variable %s, where no new key can be kept: name a file, such as {file: %s/headscale.key}", r.Env, SecretsDir)
	case r.Age != "":
		_, err := ownRecipients()
		return err
	}
	return nil
}

// KeepAPIKey writes a new API key where apiKey says, readable by its owner only. An existing
// key is not overwritten unless replace is true.
func (f *Fleet) KeepAPIKey(key secret.String, replace bool) error {
	if err := f.CanKeepAPIKey(); err != nil {
		return err
	}
	r := f.Cluster.Headscale.APIKey
	name, data := within(f.dir, r.File+r.Age), []byte(key.Reveal()+"\n")
	if _, err := os.Lstat(name); err == nil && !replace {
		return fmt.Errorf("%s is there already", r)
	}
	if r.Age != "" {
		recipients, err := ownRecipients()
		if err != nil {
			return err
		}
		if data, _, err = (InitOptions{Recipients: recipients}).seal(data); err != nil {
			return err
		}
	}
	if err := atomicfile.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return err
	}
	return atomicfile.WriteFile(name, data, 0o600)
}

// ownRecipients are the recipients of the owner's age identities: the owner can decrypt what
// is encrypted for them.
func ownRecipients() ([]age.Recipient, error) {
	ids, err := identities()
	if err != nil {
		return nil, err
	}
	var out []age.Recipient
	for _, id := range ids {
		if x, ok := id.(*age.X25519Identity); ok {
			out = append(out, x.Recipient())
		}
	}
	if len(out) == 0 {
		return nil, errors.New("$" + AgeIdentityEnv + " names no identity that something can be encrypted for")
	}
	return out, nil
}

// APIKey reads the key of Headscale's API.
func (f *Fleet) APIKey() (secret.String, error) {
	if f.Cluster.Headscale.APIKey.Empty() {
		return "", fmt.Errorf("cluster.headscale.apiKey is missing in %s: where the key of your Headscale's API is", FileName)
	}
	s, err := f.Cluster.Headscale.APIKey.read(f.dir)
	if err != nil {
		return "", fmt.Errorf("cluster.headscale.apiKey: %w; %s", err, f.sourceOfAPIKey())
	}
	return s, nil
}

// sourceOfAPIKey says how to make the key.
func (f *Fleet) sourceOfAPIKey() string {
	if name := f.Control(); name != "" && f.Cluster.Headscale.APIKey.Env == "" {
		return "once " + name + " runs, 'imagebuilder headscale init' makes the key"
	}
	return "a key is made where your Headscale runs, by: headscale apikeys create"
}

// NextAPIKey says how to replace an API key that will expire soon, or (ended) that the
// server does not accept. A key that is not accepted may be another server's, so it is not
// replaced unasked.
func (f *Fleet) NextAPIKey(ended bool) string {
	r := f.Cluster.Headscale.APIKey
	switch {
	case f.Control() == "" || r.Env != "":
		return "make one where your Headscale runs, with: headscale apikeys create"
	case ended:
		return fmt.Sprintf("if it is a year old, remove %s, and 'imagebuilder headscale init' makes the next one", r)
	}
	return "'imagebuilder headscale init' makes the next one"
}

// HeadscaleCA reads the CA certificates that are trusted for Headscale besides the system's,
// "" for none.
func (f *Fleet) HeadscaleCA() (string, error) {
	return f.ca(f.read)
}
