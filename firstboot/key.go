package firstboot

import (
	"bytes"
	"errors"
	"io/fs"

	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/firstboot/secret"
)

// TakeKey puts a new key for the tailnet into node.yaml on the boot partition,
// as a person would who has the card in a computer, and asks for a new try.
func TakeKey(files Files, clock Clock, key secret.String) error {
	if key.Empty() {
		return errors.New("there is no key on standard input")
	}
	g, err := load(files)
	if err != nil {
		return err
	}
	if g.notice != nil { // what lies there is not what this node works from
		return g.notice
	}
	cfg := *g.cfg
	cfg.Headscale.AuthKey = key
	text, err := node.Marshal(&cfg)
	if err != nil {
		return err
	}
	if _, err := node.Load(node.FileName, text); err != nil {
		return err
	}
	h := &Host{Files: files}
	if err := h.replaceNode(text); err != nil {
		return problem("boot-readonly", err.Error()).because(err)
	}
	return Retry(files, clock)
}

// replaceNode writes over node.yaml in its own clusters where it fits: that is
// where sealing will look for the key.
func (h *Host) replaceNode(text []byte) error {
	have, err := h.read(bootFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	padded, err := node.PadTo(text, len(have))
	if err == nil {
		return h.Files.Overwrite(bootFile, padded)
	}
	if padded, err = node.PadTo(text, node.ReservedSize); err != nil {
		return err
	}
	return h.Files.Put(bootFile, bytes.NewReader(padded), Attr{Mode: 0o600})
}
