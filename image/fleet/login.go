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

// errPrivateKey says nothing of the key.
var errPrivateKey = errors.New("is a private key, which belongs nowhere but where it is: name its public half, a file that ends in .pub")

// ReadLoginKeys reads a file with public keys for ssh, as ssh-keygen and ssh-add -L
// write them, a line each. Of a private key given by mistake no error has anything.
func ReadLoginKeys(name string) ([]string, error) {
	if private(name) { // the text in the place of its file's name
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

// readLoginFile reads as much as a list of keys may have.
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

// private knows the forms of OpenSSH, of OpenSSL, and of PuTTY.
func private(text string) bool {
	return strings.Contains(text, "PRIVATE KEY") || strings.HasPrefix(text, "PuTTY-User-Key-File")
}

// logins are the lines of fleet.yaml for those who log in, none where there are none.
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

// Shut lists the nodes that nobody logs in to. The key that "headscale init" has is
// for that alone.
func (f *Fleet) Shut() []string {
	return slices.DeleteFunc(slices.Clone(f.Nodes.Names), func(name string) bool { return len(f.ssh(f.Nodes.by[name]).AuthorizedKeys) > 0 })
}
