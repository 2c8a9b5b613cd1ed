package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/node"
)

const strangersReport = "imagebuilder report 1\r\n\r\n[image]\r\nboard: rpi4\r\nimage: 2026.1\r\n\r\n[machine]\r\n" +
	"model: A Pi\x1b[2J of\u009b2Jmine\r\n\r\n[devices]\r\n- usb:v1\x1b]0;p2\r\n\r\nend of report, lines: 11\r\n"

// TestAStrangersTextMovesNoCursor: text from a card or from mail is printed without control
// characters.
func TestAStrangersTextMovesNoCursor(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		contract.LabelFile:  `{"version": 1, "board": "rpi4", "imageVersion": "\u001b[2J", "kernel": "\u009b2J"}`,
		contract.ReportFile: strangersReport,
		node.StatusFile:     "all is\x1b[2J well \u2588\r\n",
		contract.StageFile:  "stage=it \x1b[2J came\nkernel=6.\u009b2J\nrevision=0x1\nuboot=2025\x1b[2J\n\x00",
		node.FileName:       "version: 1\nnode: cabin-\u009b2J\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(name)), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for args, want := range map[string]string{
		"report " + dir:        "A Pi [2J of 2Jmine",
		"report --json " + dir: "A Pi [2J of 2Jmine",
		"node read " + dir + " " + contract.ReportFile:      "A Pi [2J of 2Jmine",
		"node read " + dir + " " + node.StatusFile:          "all is [2J well \u2588\n",
		"node read " + dir + " " + contract.StageFile:       "stage=it  [2J came\n",
		"node status " + dir + " ":                          "it [2J came (board revision 0x1, U-Boot 2025 [2J, kernel 6. 2J)",
		"node status " + dir:                                "all is [2J well \u2588\n",
		"node status --json " + dir:                         "all is [2J well",
		"report " + filepath.Join(dir, contract.ReportFile): "A Pi [2J of 2Jmine",
	} {
		var out, diagnostics bytes.Buffer
		cmd := newRoot()
		cmd.SetArgs(strings.Fields(args))
		cmd.SetOut(&out)
		cmd.SetErr(&diagnostics)
		if err := cmd.ExecuteContext(t.Context()); err != nil || !strings.Contains(out.String(), want) {
			t.Errorf("%s: %v, %q, want %q in it", args, err, out.String(), want)
		}
		if at := strings.IndexFunc(out.String(), func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }); at >= 0 {
			t.Errorf("%s: %q speaks to the terminal", args, out.String()[at:])
		}
	}
	if got := printable("a\x1b[2J\nb"); got != "a [2J\nb" {
		t.Errorf("an error: %q", got)
	}
}
