package gate

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// recording is what is kept of a script's residue: enough to recognize the text and to say
// which lines of another text are new. The text itself belongs to its authors and is in the
// package.
type recording struct {
	pkg     string // as in models.yaml
	script  string // "postinst"
	version string // of the package that it was taken from
	whole   [sha256.Size]byte
	lines   []lineDigest
}

// lineDigest is the beginning of a line's SHA-256. It only tells the lines of a script
// apart for the difference; a script is recognized by the digest of its whole text.
type lineDigest [8]byte

func digestLine(line string) lineDigest {
	sum := sha256.Sum256([]byte(line))
	return lineDigest(sum[:8])
}

func (r recording) is(body string) bool { return r.whole == sha256.Sum256([]byte(body)) }

func parseRecordings(text string) ([]recording, error) {
	var out []recording
	number := 0
	for row := range strings.SplitSeq(text, "\n") {
		number++
		var err error
		switch {
		case row == "" || row[0] == '#':
		case row[0] == '\t' && len(out) > 0:
			err = out[len(out)-1].addLines(strings.Fields(row))
		default:
			var r recording
			if r, err = parseHead(strings.Fields(row)); err == nil {
				out = append(out, r)
			}
		}
		if err != nil {
			return nil, fmt.Errorf("recorded.txt: line %d: %w", number, err)
		}
	}
	return out, nil
}

func parseHead(fields []string) (recording, error) {
	if len(fields) != 4 || fields[1] != "preinst" && fields[1] != "postinst" {
		return recording{}, fmt.Errorf("want PACKAGE preinst|postinst VERSION SHA256")
	}
	r := recording{pkg: fields[0], script: fields[1], version: fields[2]}
	return r, parseHex(r.whole[:], fields[3])
}

func (r *recording) addLines(digests []string) error {
	for _, text := range digests {
		var d lineDigest
		if err := parseHex(d[:], text); err != nil {
			return err
		}
		r.lines = append(r.lines, d)
	}
	return nil
}

func parseHex(into []byte, text string) error {
	b, err := hex.DecodeString(text)
	if err != nil || len(b) != len(into) {
		return fmt.Errorf("%q is not a digest of %d bytes", text, len(into))
	}
	copy(into, b)
	return nil
}
