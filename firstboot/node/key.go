package node

import (
	"fmt"

	"github.com/going-mobile/imagebuilder/firstboot/secret"
	"github.com/going-mobile/imagebuilder/firstboot/strictyaml"
)

// Key is a key file: a new key for a node, and nothing else. It is signed and then given to the
// node through its page. It fits into a link or a QR code, and whoever carries it learns no token
// of the cluster.
type Key struct {
	Version int           `yaml:"version"`
	Node    string        `yaml:"node"`
	AuthKey secret.String `yaml:"authKey"`
}

// MarshalKey returns the content of a key file.
func MarshalKey(name string, key secret.String) []byte {
	return fmt.Appendf(nil, "version: %d\nnode: %s\nauthKey: %s\n", Version, name, key.Reveal())
}

// LoadKey reads a key file. It returns nil where data is something else, such as a node.yaml: no
// field of that is called authKey.
func LoadKey(name string, data []byte) (*Key, error) {
	if err := checkText(name, data); err != nil {
		return nil, err
	}
	text, _ := cutSignature(data)
	doc, err := strictyaml.Parse(name, text)
	if err != nil {
		return nil, &Error{Invalid, err}
	}
	var is struct {
		AuthKey *secret.String `yaml:"authKey"`
		Rest    map[string]any `yaml:",inline"`
	}
	if err := doc.Decode(&is); err != nil || is.AuthKey == nil {
		return nil, nil
	}
	if err := checkVersion(doc); err != nil {
		return nil, err
	}
	var k Key
	if err := doc.Decode(&k); err != nil {
		return nil, &Error{Invalid, err}
	}
	v := &validator{doc.Findings()}
	v.want("node", CheckHostname(k.Node))
	v.want("authKey", checkAuthKey(k.AuthKey))
	if k.AuthKey.Empty() {
		v.refuse("authKey", "is empty")
	}
	if err := v.Err(); err != nil {
		return nil, &Error{Invalid, err}
	}
	return &k, nil
}
