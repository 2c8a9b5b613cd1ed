package main

import (
	"bytes"
	"crypto/rand"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/image/fleet"
)

// withSecrets makes a fleet and a card, and returns the commands that print secrets
// of theirs.
func withSecrets(t *testing.T) (commands []string) {
	t.Helper()
	dir := t.TempDir()
	if err := fleet.Init(dir, fleet.InitOptions{Name: "shed", Headscale: "https://hs.example.org"}, time.Now(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	card := filepath.Join(dir, "card")
	if err := os.Mkdir(card, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{contract.LabelFile: `{"version": 1, "board": "rpi4"}`, node.FileName: "version: 1\nnode: [SECRET\n"} {
		if err := os.WriteFile(filepath.Join(card, filepath.Base(name)), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	file := " --fleet " + filepath.Join(dir, fleet.FileName)
	return []string{"fleet node cabin-pi --reveal" + file, "fleet token" + file, "kubeconfig" + file, "node read --reveal " + card}
}

// TestSecretsGoToAFileOfOnesOwn with --out, whatever was there.
func TestSecretsGoToAFileOfOnesOwn(t *testing.T) {
	for _, line := range withSecrets(t) {
		name := filepath.Join(t.TempDir(), "out")
		if err := os.WriteFile(name, []byte("before"), 0o644); err != nil {
			t.Fatal(err)
		}
		var out, told bytes.Buffer
		root := newRoot()
		root.SetArgs(strings.Fields(line + " --out " + name))
		root.SetOut(&out)
		root.SetErr(&told)
		if err := root.ExecuteContext(t.Context()); err != nil || told.Len() > 0 || out.String() != name+" is written, for you alone to read\n" {
			t.Errorf("%s: %v, %q, %q", line, err, out.String(), told.String())
		}
		info, err := os.Stat(name)
		if err != nil || info.Size() < 20 || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", line, info, err)
		}
	}
}

// TestWhoMayReadSecrets: the program warns of a redirection into a file that others may
// read. It does not warn of a private file, or of output without secrets.
func TestWhoMayReadSecrets(t *testing.T) {
	for _, line := range withSecrets(t) {
		for mode, warned := range map[os.FileMode]bool{0o644: true, 0o640: true, 0o600: false} {
			warned = warned && runtime.GOOS != "windows"
			if told := redirected(t, line, mode); strings.Contains(told, "write it with --out FILE") != warned {
				t.Errorf("%s > a file of mode %o: %q", line, mode, told)
			}
		}
		masked := strings.Replace(line, " --reveal", "", 1)
		if told := redirected(t, masked, 0o644); strings.HasPrefix(line, "fleet node") && told != "" {
			t.Errorf("%s: %q", masked, told)
		}
	}
}

// redirected runs a command as "> file" does, and returns what standard error got.
func redirected(t *testing.T, line string, mode os.FileMode) string {
	t.Helper()
	file, err := os.OpenFile(filepath.Join(t.TempDir(), "out"), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := file.Chmod(mode); err != nil {
		t.Fatal(err)
	}
	var told bytes.Buffer
	root := newRoot()
	root.SetArgs(strings.Fields(line))
	root.SetOut(file)
	root.SetErr(&told)
	if err := root.ExecuteContext(t.Context()); err != nil && strings.Contains(line, "--reveal") {
		t.Errorf("%s: %v", line, err)
	}
	return told.String()
}
