package firstboot

import (
	"errors"

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
	next, err := g.withKey(key, g.last)
	if err != nil {
		return err
	}
	if _, err := node.Load(node.FileName, next.text); err != nil {
		return err
	}
	h := &Host{Files: files}
	if err := h.replaceNode(next.text); err != nil {
		return err
	}
	return Retry(files, clock)
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
