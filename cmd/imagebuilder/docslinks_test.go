package main

import (
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/firstboot/k3sflags"
)

var (
	link      = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading   = regexp.MustCompile(`(?m)^#{1,6} +(.*)$`)
	noAnchor  = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
	yamlTag   = regexp.MustCompile(`yaml:"([A-Za-z0-9]+)`)
	yamlBlock = regexp.MustCompile("^(?:```yaml\n|    [A-Za-z]+:)")
	notFields = regexp.MustCompile(`(?m)(?:^|\s)#.*$|"[^"]*"|'[^']*'`) // of YAML: comments and text
	fieldName = regexp.MustCompile("(?m)(?:^|[\\s{\\[(`])([A-Za-z][A-Za-z0-9_-]*):(?:[\\s{`]|$)")
)

// markdowns are the documents alone, by their names.
func markdowns(t *testing.T) map[string]string {
	t.Helper()
	out := documents(t)
	maps.DeleteFunc(out, func(name, _ string) bool { return !strings.HasSuffix(name, ".md") })
	return out
}

// anchors are the headings of a document as GitHub makes links of them.
func anchors(markdown string) (out []string) {
	times := map[string]int{}
	for _, m := range heading.FindAllStringSubmatch(fenced.ReplaceAllString(markdown, ""), -1) {
		anchor := strings.ReplaceAll(noAnchor.ReplaceAllString(strings.ToLower(m[1]), ""), " ", "-")
		if n := times[anchor]; n > 0 {
			out = append(out, fmt.Sprintf("%s-%d", anchor, n))
		} else {
			out = append(out, anchor)
		}
		times[anchor]++
	}
	return out
}

// deadLink says where a link of a document leads that is nowhere.
func deadLink(name, markdown, to string) error {
	u, err := url.Parse(to)
	if err != nil || u.Scheme != "" { // the Internet's are not asked
		return err
	}
	if u.Path != "" {
		name = filepath.Join(filepath.Dir(name), filepath.FromSlash(u.Path))
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		markdown = string(text)
	}
	if u.Fragment != "" && !slices.Contains(anchors(markdown), u.Fragment) {
		return fmt.Errorf("%s has no heading #%s", name, u.Fragment)
	}
	return nil
}

// TestDocumentsLinkToWhatThereIs: every relative link leads to a file, and to a heading
// of it; every chapter is in the README's index.
func TestDocumentsLinkToWhatThereIs(t *testing.T) {
	all, checked := markdowns(t), 0
	for name, text := range all {
		for _, m := range link.FindAllStringSubmatch(prose(text), -1) {
			checked++
			if err := deadLink(name, text, m[1]); err != nil {
				t.Errorf("%s: %s: %v", name, m[1], err)
			}
		}
	}
	if checked < 40 {
		t.Errorf("only %d links were found", checked)
	}
	readme := filepath.Join("..", "..", "README.md")
	for name := range all {
		chapter, err := filepath.Rel(filepath.Dir(readme), name)
		if err != nil {
			t.Fatal(err)
		}
		if chapter = filepath.ToSlash(chapter); chapter != "README.md" && !strings.Contains(all[readme], "]("+chapter+")") {
			t.Errorf("the README does not lead to %s", chapter)
		}
	}
	for _, wrong := range []string{"none.md", "#none", ".github/docs/node.md#none"} {
		if deadLink(readme, all[readme], wrong) == nil {
			t.Errorf("%q is taken for good", wrong)
		}
	}
	if err := deadLink(readme, "## `a`: B, (c)\n\n## A b c\n", "#a-b-c-1"); err != nil {
		t.Error(err)
	}
}

// noFields are what documents have with a colon besides fields and k3s' flags: names
// that an example makes up, what a machine says, and fields of Kubernetes and Headscale.
var noFields = strings.Fields(`BOARD optiplex-7050 firstboot login foo password
	imagePullPolicy reclaimPolicy suspend tolerationSeconds nameservers`)

// fields are what a document says with a colon behind it, in YAML and in spans of code.
func fields(markdown string) (out []string) {
	code := fenced.FindAllString(markdown, -1)
	code = append(code, strings.Split(fenced.ReplaceAllString(markdown, ""), "\n\n")...)
	text := ""
	for _, block := range code {
		if yamlBlock.MatchString(block) {
			text += notFields.ReplaceAllString(block, " ") + "\n"
		}
	}
	for _, m := range codeSpan.FindAllStringSubmatch(prose(markdown), -1) {
		text += m[1] + "\n"
	}
	for _, m := range fieldName.FindAllStringSubmatch(strings.ReplaceAll(text, ": ", ":  "), -1) {
		out = append(out, m[1])
	}
	return out
}

// TestDocumentsNameFieldsThatThereAre, of node.yaml, fleet.yaml, a board or an overlay.
func TestDocumentsNameFieldsThatThereAre(t *testing.T) {
	known := map[string]bool{}
	for name, text := range documents(t) {
		switch filepath.ToSlash(filepath.Dir(name)) {
		case "../../firstboot/node", "../../image/fleet", "../../image/board", "../../image/overlay":
			for _, m := range yamlTag.FindAllStringSubmatch(text, -1) {
				known[m[1]] = true
			}
		}
	}
	for _, name := range slices.Concat(noFields, k3sflags.Of(false), k3sflags.Of(true)) {
		known[name] = true
	}
	checked := 0
	for name, text := range markdowns(t) {
		for _, field := range fields(text) {
			checked++
			if !known[field] {
				t.Errorf("%s: there is no field %q", name, field)
			}
		}
	}
	if checked < 200 {
		t.Errorf("only %d fields were found", checked)
	}
	have := fields("    cluster:\n      bogus: {nodes: {raed: 1}} # not: this\n\nof `install: disk:`, not of: this\n\n```yaml\nnode: \"a: b\"\n```\n")
	if want := []string{"node", "cluster", "bogus", "nodes", "raed", "install", "disk"}; !slices.Equal(have, want) {
		t.Errorf("got %q, want %q", have, want)
	}
}
