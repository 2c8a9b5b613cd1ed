//go:build e2e

// Package e2e judges finished images of every board with other people's
// programs, rebuilds them, and boots them. Run it with `make test-images`; it
// needs bin/imagebuilder, the tools of `make deps` and a Debian mirror.
package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

var boardNames = []string{"generic-amd64", "generic-arm64", "optiplex-7050", "rpi3", "rpi4", "rpi5"}

// builder is the real program, built by make.
var builder = must(filepath.Abs("../../bin/imagebuilder"))

func must(s string, err error) string {
	if err != nil {
		panic(err)
	}
	return s
}

// scratch is shared by all tests: images are built once.
var scratch string

func TestMain(m *testing.M) {
	if _, err := os.Stat(builder); err != nil {
		fmt.Fprintf(os.Stderr, "%v; run `make build` first\n", err)
		os.Exit(1)
	}
	var err error
	if scratch, err = os.MkdirTemp("", "imagebuilder-e2e-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(scratch)
	os.Exit(code)
}

var (
	buildMu sync.Mutex
	built   = map[string]string{}
)

// image returns the path of a board's image, built on first use.
func image(t *testing.T, board string) string {
	t.Helper()
	return buildOnce(t, board, "--board", board)
}

func buildOnce(t *testing.T, name string, args ...string) string {
	t.Helper()
	buildMu.Lock()
	defer buildMu.Unlock()
	if path, ok := built[name]; ok {
		return path
	}
	path := filepath.Join(scratch, name+".img")
	run(t, builder, append([]string{"build", "--out", path, "--quiet"}, args...)...)
	built[name] = path
	return path
}

// run executes a program and returns what it printed; a failure ends the test.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %s: %v (is it installed? run `make deps`)\n%s", name, strings.Join(args, " "), err, tail(out.String()))
	}
	return out.String()
}

func tail(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(0, len(lines)-25):], "\n")
}

// eachBoard runs a test for every board.
func eachBoard(t *testing.T, f func(t *testing.T, board, img string)) {
	for _, board := range boardNames {
		t.Run(board, func(t *testing.T) { f(t, board, image(t, board)) })
	}
}

// eachMachine is eachBoard for those that QEMU has.
func eachMachine(t *testing.T, f func(t *testing.T, board, img string)) {
	eachBoard(t, func(t *testing.T, board, img string) {
		if loadBoard(t, board).QEMU.Machine != "" {
			f(t, board, img)
		}
	})
}
