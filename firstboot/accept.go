package firstboot

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/node"
)

// A node that has joined and knows its owner's key takes from an unsigned
// node.yaml only what people at its site may decide: a key, tokens, the
// network. All else must be signed, for this node, and later than what it took
// before. This binds those who hand in files. It does not bind those who can
// edit the data partition: they have the node anyway (.github/SECURITY.md).

// signed identifies the last file with the owner's signature that this node
// took.
type signed struct {
	time   time.Time
	digest string
}

// accept decides whether the boot partition's file may say what this node is.
// own is nil on a node that was never sealed: it takes any file, unless the
// file has a signature that is wrong.
func (h *Host) accept(g, own *given) error {
	known, name := g.cfg.OwnerKey, g.cfg.Node
	if own != nil {
		g.last, name = own.last, own.cfg.Node
	}
	if own != nil && own.cfg.OwnerKey != "" {
		known = own.cfg.OwnerKey
	}
	sig, err := node.ReadSignature(g.text)
	switch {
	case err != nil:
		return problem("signature-wrong", err.Error())
	case known == "":
		return nil
	case sig == nil:
		return h.acceptUnsigned(g, own)
	case sig.Digest == g.last.digest: // in force already; perhaps it brought another owner's key
		return nil
	}
	if err := sig.By(known); err != nil {
		return problem("signature-wrong", err.Error())
	}
	if sig.Node != name {
		return problem("signature-node", sig.Node, name)
	}
	if !sig.Time.After(g.last.time) {
		return problem("signature-old", utcTime(sig.Time), utcTime(g.last.time))
	}
	g.last = signed{sig.Time, sig.Digest}
	return nil
}

func utcTime(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

func (h *Host) acceptUnsigned(g, own *given) error {
	if own == nil || own.cfg.OwnerKey == "" {
		return nil
	}
	forgotten, err := h.forgotten(g.cfg)
	if err != nil {
		return err
	}
	changed := union(own.cfg.Reserved(g.cfg.Keep()), forgotten)
	if len(changed) > 0 {
		return problem("unsigned", strings.Join(changed, ", "))
	}
	return nil
}

// forgotten returns the fields whose values the own copy does not keep in full,
// if what they write differs from the files on this node.
func (h *Host) forgotten(cfg *node.Config) (fields []string, err error) {
	files, err := extraFiles(cfg)
	if err != nil {
		return nil, err
	}
	stores, err := storesFiles(cfg)
	if err != nil {
		return nil, err
	}
	return h.differing([]fieldFiles{{"files", files}, {"k3s.ca", identityFiles(cfg)}, {"control.key", keyFiles(cfg)}, {"control.backup.s3", stores}, {"ssh.hostKey", hostKeyFiles(cfg)}})
}

// fieldFiles are the files that a field of node.yaml becomes.
type fieldFiles struct {
	field string
	want  []file
}

func (h *Host) differing(all []fieldFiles) (fields []string, err error) {
	for _, f := range all {
		if ok, err := h.allMatch(f.want); err != nil {
			return nil, err
		} else if !ok {
			fields = append(fields, f.field)
		}
	}
	return fields, nil
}

func union(a, b []string) []string {
	for _, s := range b {
		if !slices.Contains(a, s) {
			a = append(a, s)
		}
	}
	return a
}

// The own copy ends in a line about the last signed file that was taken. It is
// one file, so that no power cut leaves one without the other.
const lastLineFormat = "# last signed: %d %s\n"

// under returns c as text, with the line of s below it.
func (s signed) under(c *node.Config) ([]byte, error) {
	text, err := node.Marshal(c)
	if err != nil || s.digest == "" {
		return text, err
	}
	if text = s.line(text); len(text) > node.ReservedSize {
		return nil, node.ErrTooLong // it could not be read back
	}
	return text, nil
}

// line appends the line to a text.
func (s signed) line(text []byte) []byte {
	return fmt.Appendf(text, lastLineFormat, s.time.Unix(), s.digest)
}

// readLast reads what line wrote; it returns the zero value if that is not
// there.
func readLast(text []byte) (s signed) {
	at := bytes.LastIndexByte(bytes.TrimRight(text, "\n"), '\n')
	var unix int64
	if n, _ := fmt.Sscanf(string(text[at+1:]), lastLineFormat, &unix, &s.digest); n != 2 {
		return signed{}
	}
	s.time = time.Unix(unix, 0).UTC()
	return s
}
