package main

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// What a thief could use: a tailnet key, a token, the body of a private key, and the
// script's own API key.
var (
	joinKey    = regexp.MustCompile(`authKey: (\S{40,})`)
	k3sToken   = regexp.MustCompile(`::(?:server|node):(\S+)`)
	privateKey = regexp.MustCompile(`(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----(.*?)-----END`)
)

// nosecrets IMAGE... searches everything of the script but secrets/ and IMAGEs
// for what secrets/ and IMAGEs hold.
func nosecrets(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: nosecrets IMAGE...")
	}
	wanted := [][]byte{[]byte(ts.Getenv("HEADSCALE_API_KEY"))}
	for _, name := range args {
		found := secretsIn(ts.ReadFile(name))
		if len(found) < 3 {
			ts.Fatalf("%s holds only %d secrets: it is no card", name, len(found))
		}
		wanted = append(wanted, found...)
	}
	root, searched := ts.MkAbs("."), 0
	for _, name := range readTree(ts, filepath.Join(root, "secrets")) {
		wanted = append(wanted, secretsIn(ts.ReadFile(name))...)
	}
	for _, name := range readTree(ts, ts.Getenv("WORK")) {
		inside, err := filepath.Rel(root, name)
		ts.Check(err)
		if strings.HasPrefix(inside, "secrets"+string(filepath.Separator)) || slices.Contains(args, inside) {
			continue
		}
		searched++
		for _, s := range wanted {
			if bytes.Contains([]byte(ts.ReadFile(name)), s) {
				ts.Fatalf("%s holds a secret of %d characters", inside, len(s))
			}
		}
	}
	ts.Logf("%d files hold none of %d secrets", searched, len(wanted))
}

func readTree(ts *testscript.TestScript, root string) (files []string) {
	ts.Check(filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			files = append(files, name)
		}
		return err
	}))
	return files
}

// secretsIn finds secrets in the form that files have; of private keys each line, as YAML
// indents them.
func secretsIn(text string) (out [][]byte) {
	for _, pattern := range []*regexp.Regexp{joinKey, k3sToken} {
		for _, m := range pattern.FindAllStringSubmatch(text, -1) {
			out = append(out, []byte(m[1]))
		}
	}
	for _, m := range privateKey.FindAllStringSubmatch(text, -1) {
		for line := range strings.FieldsSeq(m[1]) {
			if len(line) >= 40 {
				out = append(out, []byte(line))
			}
		}
	}
	return out
}

// logged keeps what the last command printed where nosecrets looks.
func logged(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: logged FILE")
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(ts.ReadFile("stdout")+ts.ReadFile("stderr")), 0o600))
}
