package fleet

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/going-mobile/imagebuilder/firstboot/node"
)

// errPrivateKey contains nothing of the key.
var errPrivateKey = errors.New("is a private key, which belongs nowhere but where it is: name its public half, a file that ends in .pub")

// ReadLoginKeys reads a file with public ssh keys, one per line, as ssh-keygen and ssh-add
// -L print them. If a private key is given by mistake, no error contains any of it.
func ReadLoginKeys(name string) ([]string, error) {
	if private(name) { // the text of a key was given instead of a file name
		return nil, fmt.Errorf("this %w", errPrivateKey)
	}
	text, err := readLoginFile(name)
	if err != nil {
		return nil, err
	}
	if private(text) {
		return nil, fmt.Errorf("%s %w", name, errPrivateKey)
	}
	var keys []string
	for i, line := range strings.Split(text, "\n") {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		if err := node.CheckAuthorizedKey(line); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", name, i+1, err)
		}
		keys = append(keys, line)
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("%s has no public key in it", name)
	}
	return keys, nil
}

// readLoginFile reads a file up to the size that a list of keys may have.
func readLoginFile(name string) (string, error) {
	if info, err := os.Stat(name); err == nil && info.IsDir() {
		return "", fmt.Errorf("%s is a directory: name the file of a public key", name)
	}
	data, err := readLimited(name)
	if err == nil && len(data) > maxSecret {
		return "", fmt.Errorf("%s is too long for a list of public keys", name)
	}
	return string(data), err
}

// private recognizes private keys of OpenSSH, OpenSSL and PuTTY.
func private(text string) bool {
	return strings.Contains(text, "PRIVATE KEY") || strings.HasPrefix(text, "PuTTY-User-Key-File")
}

// logins is the part of fleet.yaml that lists login keys, "" for none.
func logins(keys []string) (string, error) {
	if len(keys) == 0 {
		return "", nil
	}
	list, err := yaml.Marshal(keys)
	if err != nil {
		return "", err
	}
	indented := bytes.ReplaceAll(bytes.TrimSpace(list), []byte("\n"), []byte("\n      "))
	return "\n  ssh:\n    authorizedKeys: # who logs in to the nodes, as root: status, apply, update, unlock and revoke do\n      " + string(indented), nil
}

// Shut lists the nodes that nobody can log in to. The login key of "headscale init" does not
// count, as it serves that purpose only.
func (f *Fleet) Shut() []string {
	return slices.DeleteFunc(slices.Clone(f.Nodes.Names), func(name string) bool { return len(f.ssh(f.Nodes.by[name]).AuthorizedKeys) > 0 })
}
