package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/image/disk"
	"github.com/going-mobile/imagebuilder/image/fat"
	"github.com/going-mobile/imagebuilder/image/tree"
)

// TestMain makes this binary the program "imagebuilder", for the scripts and
// for os/exec.
func TestMain(m *testing.M) {
	testscript.Main(suite{m}, map[string]func(){"imagebuilder": main})
}

// suite runs the tests between what the build tags have to set up.
type suite struct{ m *testing.M }

func (s suite) Run() int { return runMain(s.m) }

// TestScripts tells what a person at a terminal sees, without a network.
func TestScripts(t *testing.T) { scripts(t, "testdata/script") }

// scripts runs the stories in dir. more prepares each one's surroundings.
func scripts(t *testing.T, dir string, more ...func(*testscript.Env) error) {
	testscript.Run(t, testscript.Params{
		Dir:                 dir,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			home := filepath.Join(env.WorkDir, "home")
			env.Setenv("HOME", home)
			env.Setenv("XDG_CACHE_HOME", filepath.Join(home, "cache"))
			if err := os.MkdirAll(home, 0o755); err != nil {
				return err
			}
			for _, prepare := range more {
				if err := prepare(env); err != nil {
					return err
				}
			}
			return nil
		},
		Condition: func(cond string) (bool, error) {
			if cond == "root" {
				return os.Geteuid() == 0, nil
			}
			return false, fmt.Errorf("unknown condition %q", cond)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"fails": fails, "lines": lines, "smallimage": smallImage, "truncate": truncate,
		},
	})
}

// fails CODE ARGUMENT... runs imagebuilder, which must end with that exit code
// and one well-formed error.
func fails(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: fails CODE ARGUMENT...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec("imagebuilder", args[1:]...)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != want {
		ts.Fatalf("imagebuilder %q: %v, want exit code %d", args[1:], err, want)
	}
	if out := ts.ReadFile("stdout"); out != "" {
		ts.Fatalf("a failure printed on standard output: %q", out)
	}
	if problem := badError(ts.ReadFile("stderr")); problem != "" {
		ts.Fatalf("%s", problem)
	}
}

// badError tells what is wrong with how an error was told, or "".
func badError(stderr string) string {
	if n := strings.Count(stderr, "imagebuilder: "); n != 1 || !strings.HasPrefix(stderr, "imagebuilder: ") {
		return fmt.Sprintf("standard error must be one message after %q:\n%s", "imagebuilder: ", stderr)
	}
	if !strings.HasSuffix(stderr, "\n") || strings.HasSuffix(stderr, "\n\n") {
		return fmt.Sprintf("the message must end with one newline: %q", stderr)
	}
	for _, ism := range []string{"panic", "goroutine ", "%!", "<nil>", "0x", "&{", "map[", "runtime error", "context canceled", "strconv.", "invalid argument", "unexpected EOF"} {
		if strings.Contains(stderr, ism) {
			return fmt.Sprintf("%q is nothing for a person to read:\n%s", ism, stderr)
		}
	}
	return ""
}

// lines FILE N checks how many lines a file, stdout or stderr has.
func lines(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: lines FILE N")
	}
	if text := ts.ReadFile(args[0]); strconv.Itoa(strings.Count(text, "\n")) != args[1] {
		ts.Fatalf("%s has not %s lines:\n%s", args[0], args[1], text)
	}
}

// truncate FILE N cuts a file to N bytes.
func truncate(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: truncate FILE N")
	}
	n, err := strconv.ParseInt(args[1], 10, 64)
	ts.Check(err)
	ts.Check(os.Truncate(ts.MkAbs(args[0]), n))
}

// smallImage FILE BOARD makes an image whose boot partition is real and whose
// root is noise.
func smallImage(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: smallimage FILE BOARD")
	}
	const mib = 1 << 20
	l, err := disk.Arrange(disk.Layout{Scheme: contract.MBR, ID: "0badcafe", Partitions: []disk.Partition{
		{Size: 33 * mib, Type: contract.TypeFAT32, Active: true}, {Size: mib, Type: contract.TypeLinux}}}, disk.Align)
	ts.Check(err)
	boot := tree.New()
	for name, text := range map[string]string{
		"imagebuilder.json": fmt.Sprintf(`{"board": %q, "imageVersion": "1", "arch": "arm64"}`, args[1]),
		"node.yaml":         strings.Repeat("\n", 32<<10),
	} {
		ts.Check(boot.Add(&tree.Node{Path: name, Mode: 0o644, Content: tree.String(text), Source: "test"}))
	}
	f, err := os.Create(ts.MkAbs(args[0]))
	ts.Check(err)
	defer f.Close()
	ts.Check(f.Truncate(l.Size))
	ts.Check(disk.Write(f, l))
	ts.Check(fat.Write(l.Partitions[0].Writer(f), boot, fat.Options{Size: l.Partitions[0].Size, Label: "BOOT"}))
	_, err = l.Partitions[1].Writer(f).WriteAt([]byte("noise"), 0)
	ts.Check(err)
}
