package node

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/going-mobile/imagebuilder/firstboot/strictyaml"
)

// Claims are PersistentVolumeClaims, as NAMESPACE/NAME, each with the Longhorn Backup that its
// volume is restored from, "" for none. Hundreds of them would not fit into node.yaml beside the
// rest, so they are packed there: one line per claim with its backup, gzipped, in base64.
type Claims map[string]string

// largestClaims bounds the size of the unpacked text, in bytes. No cluster's claims come near it.
const largestClaims = 1 << 20

// MarshalYAML packs the claims.
func (c Claims) MarshalYAML() (any, error) {
	var out bytes.Buffer
	z, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	for _, claim := range sortedKeys(c) {
		fmt.Fprintln(z, claim, c[claim])
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return base64.StdEncoding.EncodeToString(out.Bytes()), nil
}

// UnmarshalYAML reads claims packed, or written out as in older files.
func (c *Claims) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind != yaml.ScalarNode {
		return strictyaml.DecodeNode(n, (*map[string]string)(c))
	}
	lines, err := unpack(n.Value)
	if err != nil {
		return errors.New("want claims as this program packs them, or each with its backup")
	}
	*c = Claims{}
	for line := range strings.Lines(lines) {
		claim, backup, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		(*c)[claim] = backup
	}
	return nil
}

func unpack(packed string) (string, error) {
	z, err := gzip.NewReader(base64.NewDecoder(base64.StdEncoding, strings.NewReader(packed)))
	if err != nil {
		return "", err
	}
	text, err := io.ReadAll(io.LimitReader(z, largestClaims+1))
	if err == nil && len(text) > largestClaims {
		err = errors.New("too long")
	}
	return string(text), err
}
