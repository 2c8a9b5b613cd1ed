//go:build vm && linux

// Package vmtest starts nodes in QEMU next to a real Headscale and waits for them to join, to fail,
// to be mended and to lose their power. Run it with `make test-vm`; it needs bin/imagebuilder, the
// tools of `make deps`, a Debian mirror, and root for a time server on port 123.
//
// K3S=/path/to/k3s runs a real k3s of the host's architecture in place of the stand-in; nodes then
// get more memory and the tests more time, and a server has its token in three places instead of
// one. POWERCUTS=N is how often TestPowerCut cuts the power. SCREENS=DIR keeps screenshots of the
// nodes' screens.
package vmtest

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/going-mobile/imagebuilder/boards"
	"github.com/going-mobile/imagebuilder/image/board"
)

// builder is the real program, built by make.
const builder = "../../bin/imagebuilder"

// scratch is shared by all tests: images are built once.
var scratch string

func TestMain(m *testing.M) {
	if _, err := os.Stat(builder); err != nil {
		fmt.Fprintf(os.Stderr, "%v; run `make build` first\n", err)
		os.Exit(1)
	}
	var err error
	if scratch, err = os.MkdirTemp("", "vmtest"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(scratch)
	os.Exit(code)
}

func loadBoard(t testing.TB, name string) *board.Board {
	t.Helper()
	b, err := board.Load(name, boards.FS)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// once makes each thing a single time for all tests, under its name.
var once = struct {
	sync.Mutex
	made map[string]string
}{made: map[string]string{}}

func makeOnce(name string, build func(file string)) string {
	once.Lock()
	defer once.Unlock()
	if file, ok := once.made[name]; ok {
		return file
	}
	file := filepath.Join(scratch, name)
	build(file)
	once.made[name] = file
	return file
}

// realK3s reports whether nodes of an architecture run a real k3s.
func realK3s(arch string) bool { return os.Getenv("K3S") != "" && arch == runtime.GOARCH }

// k3s is the real k3s of the environment, where it fits, or the stand-in.
func k3s(t testing.TB, arch string) string {
	t.Helper()
	if realK3s(arch) {
		return os.Getenv("K3S")
	}
	return makeOnce("k3s-"+arch, func(file string) {
		cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", file, "../standin")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("the stand-in: %v\n%s", err, out)
		}
	})
}

// image returns the path of a board's image with k3s inside.
func image(t testing.TB, boardName string) string {
	t.Helper()
	program := k3s(t, loadBoard(t, boardName).Arch)
	return makeOnce(boardName+".img", func(file string) { build(t, boardName, file, "--component", "k3s="+program) })
}

func build(t testing.TB, boardName, out string, more ...string) {
	t.Helper()
	run(t, builder, append([]string{"build", "--quiet", "--board", boardName, "--out", out}, more...)...)
}

// run executes a program and returns what it printed; a failure ends the test.
func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "MTOOLS_SKIP_CHECK=1", "TZ=UTC")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %s: %v (is it installed? run `make deps`)\n%s", name, strings.Join(args, " "), err, out.String())
	}
	return out.String()
}
