package node

import (
	"bytes"
	"fmt"

	"gopkg.in/yaml.v3"
)

const header = `# Who this node is. Read when it starts; a change is picked up at the next
# start or by "firstboot retry". STATUS.TXT beside this file says how it went.
`

// Marshal returns the file's content, secrets included. What Load returns for
// it is c with its defaults.
func Marshal(c *Config) ([]byte, error) {
	text, err := encode(c)
	if err == nil && len(text) > ReservedSize {
		return nil, ErrTooLong
	}
	return text, err
}

// Size is how long the content is, whether or not there is room for it.
func Size(c *Config) (int, error) {
	text, err := encode(c)
	return len(text), err
}

func encode(c *Config) ([]byte, error) {
	out := *c
	out.Version = Version
	b := bytes.NewBufferString(header)
	enc := yaml.NewEncoder(b)
	enc.SetIndent(2)
	if err := enc.Encode(&out); err != nil {
		return nil, fmt.Errorf("write node.yaml: %w", err)
	}
	if err := enc.Close(); err != nil {
		return nil, fmt.Errorf("write node.yaml: %w", err)
	}
	return b.Bytes(), nil
}
