package node

import (
	"bytes"
	"fmt"

	"gopkg.in/yaml.v3"
)

const header = `# Who this node is. Read when it starts; a change is picked up at the next
# start or by "firstboot retry". STATUS.TXT beside this file says how it went.
`

// Marshal returns the file's content, secrets included. Load returns c, with its defaults, for it.
func Marshal(c *Config) ([]byte, error) {
	text, err := encode(c)
	if err == nil && len(text) > ReservedSize {
		return nil, ErrTooLong
	}
	return text, err
}

// Size returns the length of the content in bytes, whether or not it fits ReservedSize.
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
