package gate

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/going-mobile/imagebuilder/firstboot/strictyaml"
)

// templates.yaml holds digests of the blocks that debhelper's tools write.
//
//go:embed templates.yaml
var templatesYAML []byte

// tool is a debhelper program that adds blocks to scripts. Its blocks are fixed texts,
// except for the data that it fills in, such as names of units and files.
type tool struct {
	Name string `yaml:"tool"`
	// Values are patterns that find the data in a block. Their named groups match the data
	// and nothing that could be a command.
	Values []string `yaml:"values"`
	Blocks []block  `yaml:"blocks"`

	values []*regexp.Regexp
}

// block is one kind of block that a tool writes.
type block struct {
	// Does says what the block does, Effect what reproduces it in the image: "none" if
	// nothing of it matters for an image.
	Does   string `yaml:"does"`
	Effect string `yaml:"effect"`
	// Digests are the digests of the block's text without the data, in all known versions.
	Digests []string `yaml:"digests"`
}

type templateFile struct {
	Version int     `yaml:"version"`
	Tools   []*tool `yaml:"tools"`
}

func parseTemplates(data []byte) (map[string]*tool, error) {
	var f templateFile
	if err := strictyaml.Decode("templates.yaml", data, &f); err != nil {
		return nil, err
	}
	tools := map[string]*tool{}
	for _, t := range f.Tools {
		if tools[t.Name] != nil {
			return nil, fmt.Errorf("templates.yaml: %s stands there twice", t.Name)
		}
		for _, v := range t.Values {
			re, err := regexp.Compile("(?m)" + v)
			if err != nil {
				return nil, fmt.Errorf("templates.yaml: %s: %w", t.Name, err)
			}
			t.values = append(t.values, re)
		}
		tools[t.Name] = t
	}
	return tools, nil
}

// recognise returns the effect of a debhelper block; ok is false if the block is unknown.
func (k *knowledge) recognise(b Block) (effect string, ok bool) {
	if onlyUpgrades(b.Body) {
		return "none", true
	}
	t := k.tools[b.Tool]
	if t == nil {
		return "", false
	}
	sum, ok := t.digest(b.Body)
	if !ok {
		return "", false
	}
	for _, known := range t.Blocks {
		if slices.Contains(known.Digests, sum) {
			return known.Effect, true
		}
	}
	return "", false
}

// onlyUpgrades reports whether a block consists of dpkg-maintscript-helper(1) calls only:
// dh_installdeb puts all of them into one block.
func onlyUpgrades(body string) bool {
	for line := range strings.SplitSeq(body, "\n") {
		if !upgradeHelper.MatchString(line) {
			return false
		}
	}
	return true
}

// slot delimits the name that replaces a piece of data. No script contains NUL, which ends
// what a shell reads; a block that has one is not recognised.
const slot = "\x00"

// digest returns the digest of a block without its data; ok is false if the block cannot be
// of this tool. What remains must be exactly the template's text: a value with anything
// beyond what its pattern allows leaves an unknown text. A value that differs between its
// places in the block is refused too.
func (t *tool) digest(body string) (sum string, ok bool) {
	if strings.Contains(body, slot) {
		return "", false
	}
	// debhelper 13.11 writes ${DPKG_ROOT:-}, debhelper 13.24 writes $DPKG_ROOT.
	body = strings.ReplaceAll(body, "${DPKG_ROOT:-}", "$DPKG_ROOT")
	seen := map[string]string{}
	for _, re := range t.values {
		if body, ok = takeOut(re, body, seen); !ok {
			return "", false
		}
	}
	full := sha256.Sum256([]byte(body))
	return hex.EncodeToString(full[:]), true
}

// takeOut replaces the named groups of all matches by their names. seen has the value of
// each name so far; ok is false if a value differs from it.
func takeOut(re *regexp.Regexp, body string, seen map[string]string) (string, bool) {
	var b strings.Builder
	end := 0
	for _, m := range re.FindAllStringSubmatchIndex(body, -1) {
		for g, name := range re.SubexpNames() {
			if name == "" || m[2*g] < 0 {
				continue
			}
			value := strings.TrimSpace(body[m[2*g]:m[2*g+1]])
			if was, ok := seen[name]; ok && was != value {
				return "", false
			}
			seen[name] = value
			b.WriteString(body[end:m[2*g]] + slot + name + slot)
			end = m[2*g+1]
		}
	}
	return b.String() + body[end:], true
}
