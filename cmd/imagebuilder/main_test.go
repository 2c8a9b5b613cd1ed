package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"aead.dev/minisign"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/image/compress"
	"github.com/going-mobile/imagebuilder/image/fleet"
	"github.com/going-mobile/imagebuilder/image/imagetest"
	"github.com/going-mobile/imagebuilder/image/progress"
)

// programs are what this binary also is, by name, for the scripts and for os/exec.
var programs = map[string]func(){"imagebuilder": main}

func TestMain(m *testing.M) {
	testscript.Main(suite{m}, programs)
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
			switch cond {
			case "root":
				return os.Geteuid() == 0, nil
			case "old": // of a Headscale
				return strings.HasPrefix(t.Name(), "TestOlder"), nil
			}
			return false, fmt.Errorf("unknown condition %q", cond)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"fails": fails, "lines": lines, "smallimage": smallImage, "truncate": truncate, "patch": patch, "pack": pack, "mode": mode, "sign": sign, "nosecrets": nosecrets, "logged": logged, "tailnet": tailnet,
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

// progressLine is what a slow machine gets to see before the error.
var progressLine = regexp.MustCompile(`(?m)^[a-z]+: \d+ of \d+ done, .*\n`)

// badError says what is wrong with the format of an error, "" if nothing.
func badError(stderr string) string {
	stderr = progressLine.ReplaceAllString(stderr, "")
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

// smallImage FILE BOARD [beside] makes a whole small image, and beside it what
// a build leaves there.
func smallImage(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 || len(args) > 3 {
		ts.Fatalf("usage: smallimage FILE BOARD [beside]")
	}
	scheme := contract.GPT
	if strings.HasPrefix(args[1], "rpi") {
		scheme = contract.MBR
	}
	ts.Check(imagetest.Write(ts.MkAbs(args[0]), args[1], scheme, len(args) == 3))
}

// patch FILE OFFSET TEXT overwrites bytes of a file.
func patch(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: patch FILE OFFSET TEXT")
	}
	offset, err := strconv.ParseInt(args[1], 10, 64)
	ts.Check(err)
	f, err := os.OpenFile(ts.MkAbs(args[0]), os.O_RDWR, 0)
	ts.Check(err)
	defer f.Close()
	_, err = f.WriteAt([]byte(args[2]), offset)
	ts.Check(err)
}

// pack FILE FORMAT compresses a file beside it, with its .sha256.
func pack(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: pack FILE FORMAT")
	}
	data := ts.ReadFile(args[0])
	var packed bytes.Buffer
	ts.Check(compress.Write(context.Background(), &packed, compress.Format(args[1]), strings.NewReader(data), int64(len(data)), progress.Discard))
	name := args[0] + "." + args[1]
	ts.Check(os.WriteFile(ts.MkAbs(name), packed.Bytes(), 0o644))
	ts.Check(os.WriteFile(ts.MkAbs(name+".sha256"), fmt.Appendf(nil, "%x  %s\n", sha256.Sum256(packed.Bytes()), name), 0o644))
}

// sign LIST FILE... makes a list of checksums, signs it and leaves the key in
// signer.pub.
func sign(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: sign LIST FILE...")
	}
	public, private, err := minisign.GenerateKey(nil)
	ts.Check(err)
	var list []byte
	for _, name := range args[1:] {
		list = fmt.Appendf(list, "%x  %s\n", sha256.Sum256([]byte(ts.ReadFile(name))), name)
	}
	message := minisign.NewReader(bytes.NewReader(list))
	_, err = io.Copy(io.Discard, message)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), list, 0o644))
	ts.Check(os.WriteFile(ts.MkAbs(args[0]+".minisig"), message.Sign(private), 0o644))
	ts.Check(os.WriteFile(ts.MkAbs("signer.pub"), []byte(public.String()), 0o644))
}

// tailnet NODE... starts a fake Headscale, at $HEADSCALE, in whose tailnet these nodes of
// the example are.
func tailnet(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: tailnet NODE...")
	}
	var nodes []map[string]any
	for i, name := range args {
		site, kind, _ := strings.Cut(name, "-")
		tags := []string{fleet.RoleTag(map[string]node.Role{"pi": node.Server, "box": node.Agent}[kind]), fleet.SiteTag(site)}
		nodes = append(nodes, map[string]any{"id": strconv.Itoa(i + 7), "name": name, "givenName": name, "tags": tags, "online": true, "ipAddresses": []string{fmt.Sprintf("100.64.0.%d", i+1)}})
	}
	answer, err := json.Marshal(map[string]any{"nodes": nodes, "users": []any{}, "preAuthKeys": []any{}})
	ts.Check(err)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(answer) }))
	ts.Defer(server.Close)
	ts.Setenv("HEADSCALE", server.URL)
}

// mode FILE MODE checks who may read a file.
func mode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: mode FILE MODE")
	}
	info, err := os.Stat(ts.MkAbs(args[0]))
	ts.Check(err)
	if got := fmt.Sprintf("%o", info.Mode().Perm()); got != args[1] {
		ts.Fatalf("%s has mode %s, not %s", args[0], got, args[1])
	}
}
