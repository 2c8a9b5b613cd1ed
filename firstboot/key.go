package firstboot

import (
	"errors"

	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/firstboot/secret"
)

// TakeKey leaves a new key for the tailnet to Run, which puts it into node.yaml on the
// boot partition, as a person with the card in a computer would. It checks the key first,
// and then asks for a retry. It runs in another process than Run and writes nothing else:
// two processes that write node.yaml would spoil it.
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

// Retry makes a running firstboot try again now.
func Retry(files Files, clock Clock) error {
	h := &Host{Files: files}
	return h.write(file{path: retryFile, data: []byte(clock.Now().String() + "\n"), mode: 0o600})
}

// takeKey replaces node.yaml by one with the new key.
func (h *Host) takeKey(key []byte) error {
	text, err := h.nodeWithKey(secret.String(key))
	if err != nil {
		return err
	}
	return h.replaceNode(text)
}

// nodeWithKey returns the text of the node.yaml in force with another key.
func (h *Host) nodeWithKey(key secret.String) ([]byte, error) {
	g, err := load(h.Files)
	if err != nil {
		return nil, err
	}
	if g.notice != nil { // the file on the boot partition is not the one in force
		return nil, g.notice
	}
	next, err := g.withKey(key, g.last)
	if err != nil {
		return nil, err
	}
	_, err = node.Load(node.FileName, next.text)
	return next.text, err
}

// withKey returns g with another key. Its text ends in the line about the last signed
// file, as the own copy does: a node that was never sealed has no own copy.
func (g *given) withKey(key secret.String, last signed) (*given, error) {
	cfg := *g.cfg
	if cfg.Sealed { // what complete added must not get onto the boot partition
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
