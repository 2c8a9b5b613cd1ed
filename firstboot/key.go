package firstboot

import (
	"errors"

	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/firstboot/secret"
)

// TakeKey leaves a new key for the tailnet to Run, which puts it into node.yaml on
// the boot partition, as a person would who has the card in a computer. It judges the
// key before, and asks for a new try. It is for a process of its own beside Run and
// writes nothing else: two that write node.yaml would spoil it.
func TakeKey(files Files, clock Clock, key secret.String) error {
	if key.Empty() {
		return errors.New("there is no key on standard input")
	}
	h := &Host{Files: files}
	if _, err := h.nodeWithKey(key); err != nil {
		return err
	}
	if err := h.write(file{path: keyFile, data: []byte(key.Reveal()), mode: 0o600}); err != nil {
		return err
	}
	return Retry(files, clock)
}

// takeKey puts the key into node.yaml's place.
func (h *Host) takeKey(key []byte) error {
	text, err := h.nodeWithKey(secret.String(key))
	if err != nil {
		return err
	}
	return h.replaceNode(text)
}

// nodeWithKey is the node.yaml in force with another key.
func (h *Host) nodeWithKey(key secret.String) ([]byte, error) {
	g, err := load(h.Files)
	if err != nil {
		return nil, err
	}
	if g.notice != nil { // what lies there is not what this node works from
		return nil, g.notice
	}
	next, err := g.withKey(key, g.last)
	if err != nil {
		return nil, err
	}
	_, err = node.Load(node.FileName, next.text)
	return next.text, err
}

// withKey puts another key into node.yaml. As the own copy does, it has the
// line that says what was signed last: a node that was never sealed has none.
func (g *given) withKey(key secret.String, last signed) (*given, error) {
	cfg := *g.cfg
	if cfg.Sealed { // what completed it stays off the boot partition
		cfg = *cfg.Seal()
	}
	cfg.Headscale.AuthKey = key
	text, err := node.Marshal(&cfg)
	if err != nil {
		return nil, err
	}
	if last.digest != "" {
		text = last.line(text)
	}
	if len(text) > node.ReservedSize {
		return nil, node.ErrTooLong
	}
	return &given{cfg: &cfg, text: text, last: last}, nil
}
