package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

var (
	// commandLine matches a command line to copy, up to a comment or another program;
	// fencedLine matches one in a fenced block, which is not indented.
	commandLine = regexp.MustCompile(`(?m)^ +(?:sudo (?:-\S+ )*)?(?:bin/)?imagebuilder( [^#|>;&\n]*)`)
	fencedLine  = regexp.MustCompile(`(?m)^(?:sudo (?:-\S+ )*)?(?:bin/)?imagebuilder( [^#|>;&\n]*)`)
	fenced      = regexp.MustCompile("(?s)```.*?```")
	codeSpan    = regexp.MustCompile("`([^`]+)`")
	quotedSpan  = regexp.MustCompile(`'imagebuilder ([^'"%\n]*)`)
	foreign     = regexp.MustCompile(`^headscale (apikeys|auth|nodes|policy set|preauthkeys|users) `) // Headscale's own
	verb        = regexp.MustCompile(`^[a-z][a-z-]+$`)
	longFlag    = regexp.MustCompile(`^--[a-z][a-z-]*`)
)

// mentions are the command lines in a document, without the program's name; a line that had
// the name begins with a blank.
func mentions(markdown string) (lines []string) {
	for _, m := range commandLine.FindAllStringSubmatch(markdown, -1) {
		lines = append(lines, m[1])
	}
	for _, block := range fenced.FindAllString(markdown, -1) { // which need not be indented
		for _, m := range fencedLine.FindAllStringSubmatch(block, -1) {
			lines = append(lines, m[1])
		}
	}
	for _, m := range codeSpan.FindAllStringSubmatch(prose(markdown), -1) {
		line, ours := strings.CutPrefix(m[1], "imagebuilder")
		if ours || len(strings.Fields(line)) > 1 && !foreign.MatchString(line) { // one word is any word
			lines = append(lines, line)
		}
	}
	return lines
}

// prose is a document without its blocks of code.
func prose(markdown string) string {
	var out []string
	for paragraph := range strings.SplitSeq(fenced.ReplaceAllString(markdown, ""), "\n\n") {
		if !strings.HasPrefix(paragraph, "    ") {
			out = append(out, paragraph)
		}
	}
	return strings.Join(out, "\n\n")
}

// wrongMention returns what a command line has that the program has not. A line that begins
// with no command is taken for another program's, unless it had our program's name.
func wrongMention(root *cobra.Command, line string) string {
	words := strings.Fields(line)
	cmds, words := descend(root, words)
	if cmds == nil {
		return "no command " + words[0]
	}
	if parent := cmds[0].Parent(); parent != nil && parent.Name() == "lab" { // whose flags are another program's
		return ""
	}
	for _, word := range words {
		flag := longFlag.FindString(word)
		if flag == "" {
			continue
		}
		for _, cmd := range cmds {
			cmd.InitDefaultHelpFlag()
			cmd.InitDefaultVersionFlag()
			if cmd.Flag(flag[2:]) == nil {
				return "'" + cmd.CommandPath() + "' has no " + flag
			}
		}
	}
	return ""
}

// descend follows command names as far as possible; a|b stands for two commands. If a word
// that should be a command is none, it returns nil and that word.
func descend(cmd *cobra.Command, words []string) ([]*cobra.Command, []string) {
	for len(words) > 0 && cmd.HasSubCommands() {
		var next []*cobra.Command
		for name := range strings.SplitSeq(words[0], "|") {
			at := slices.IndexFunc(cmd.Commands(), func(c *cobra.Command) bool { return c.Name() == name })
			switch {
			case at >= 0:
				next = append(next, cmd.Commands()[at])
			case verb.MatchString(name):
				return nil, words
			}
		}
		if len(next) == 0 {
			break
		}
		if words = words[1:]; len(next) > 1 {
			return next, words
		}
		cmd = next[0]
	}
	return []*cobra.Command{cmd}, words
}

// TestDocumentsNameWhatThereIs: every command line in documents, examples, help and the
// program's own messages exists, with its flags.
func TestDocumentsNameWhatThereIs(t *testing.T) {
	root := newRoot()
	var names []string
	for _, cmd := range root.Commands() {
		names = append(names, cmd.Name())
	}
	checked := 0
	check := func(where, line string, ours bool) {
		words := strings.Fields(line)
		if len(words) == 0 || !ours && !slices.Contains(names, words[0]) {
			return
		}
		checked++
		if wrong := wrongMention(root, line); wrong != "" {
			t.Errorf("%s: %q: %s", where, strings.TrimSpace(line), wrong)
		}
	}
	for name, text := range documents(t) {
		if strings.HasSuffix(name, ".go") {
			for _, m := range quotedSpan.FindAllStringSubmatch(text, -1) {
				check(name, m[1], true)
			}
			continue
		}
		for _, line := range mentions(text) {
			check(name, line, strings.HasPrefix(line, " "))
		}
	}
	everyCommand(root, func(cmd *cobra.Command) {
		for _, m := range commandLine.FindAllStringSubmatch(cmd.Example, -1) {
			check("the examples of "+cmd.CommandPath(), m[1], true)
		}
	})
	if checked < 150 {
		t.Errorf("only %d command lines were found", checked)
	}
	for _, wrong := range []string{"fleet plan", "plan --drawing", "node status|raed", "bogus"} {
		if wrongMention(root, wrong) == "" {
			t.Errorf("%q is taken for good", wrong)
		}
	}
}

// documents are the texts that people read about the program, and its own texts, by name.
func documents(t *testing.T) map[string]string {
	t.Helper()
	out, top := map[string]string{}, filepath.Join("..", "..")
	for _, pattern := range []string{"README.md", "*/README.md", "*/*/README.md", ".github/*.md", ".github/docs/*.md"} {
		found, err := filepath.Glob(filepath.Join(top, pattern))
		if err != nil || len(found) == 0 {
			t.Fatalf("%s: %v", pattern, err)
		}
		for _, name := range found {
			out[name] = ""
		}
	}
	for _, dir := range []string{"cmd", "image", "firstboot"} {
		err := filepath.WalkDir(filepath.Join(top, dir), func(name string, d fs.DirEntry, err error) error {
			if err == nil && strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go") {
				out[name] = ""
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for name := range out {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		out[name] = string(text)
	}
	return out
}
