package component

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	goversion "go/version"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/going-mobile/imagebuilder/image/fetch"
)

// build compiles the component's module for the image, once per architecture and toolchain.
// It takes minutes if Go's build cache is empty.
func (q *request) build(ctx context.Context) (*Resolved, error) {
	dir, remove, err := q.moduleDir()
	if err != nil {
		return nil, err
	}
	defer remove()
	gocmd, version, err := q.toolchain(ctx, dir)
	if err != nil {
		return nil, err
	}
	key, err := q.buildKey(version)
	if err != nil {
		return nil, err
	}
	content, err := q.cache.Derive(ctx, kind, key, func(w io.Writer) error {
		task := q.opt.Progress.Start("compile", q.ModuleVersion()+" for "+q.arch, -1)
		err := q.compile(ctx, gocmd, dir, w)
		task.Done(err)
		return err
	})
	if err != nil {
		return nil, err
	}
	d := download{version: q.Releases[0].Version, sha256: content.SHA256(), size: content.Size()}
	r := q.resolved(d, FromModule, "binary")
	r.BuiltFrom, r.Toolchain, r.urls = q.ModuleVersion(), version, nil
	for _, f := range r.layout.Files {
		n := q.link(Link{Path: f.Path}, r)
		n.Mode, n.Content = f.mode(), content
		r.Nodes = append(r.Nodes, n)
	}
	q.addLinks(r)
	return r, nil
}

// rebuild is build for a lock: it uses the toolchain of the lock, which the go command
// downloads if it has another one, and refuses any result with another digest.
func (q *request) rebuild(ctx context.Context, p Pin) (*Resolved, error) {
	if q.Module == nil || p.Module != q.ModuleVersion() {
		return nil, fmt.Errorf("the lock wants a build of %s, which this program does not know", p.Module)
	}
	var err error
	if q.goVersion, err = q.compiledBy(p.Toolchain); err != nil {
		return nil, err
	}
	r, err := q.build(ctx)
	if err != nil {
		return nil, fmt.Errorf("the lock wants a build of %s with %s: %w", p.Module, p.Toolchain, err)
	}
	if r.SHA256 != p.SHA256 {
		return nil, fmt.Errorf("built from %s with %s, sha256 is %s, the lock wants %s of a build with %s", r.BuiltFrom, r.Toolchain, r.SHA256, p.SHA256, p.Toolchain)
	}
	return r, nil
}

// compiledBy returns the toolchain that built what a lock pins. If the lock names one that
// is older than the module's go line, that cannot be right: earlier versions recorded the
// toolchain of the user's working directory. Then it is the oldest one that the module
// allows; the digest is checked in any case.
func (q *request) compiledBy(noted string) (string, error) {
	mod, _, err := q.ModuleFiles()
	if err != nil {
		return "", err
	}
	if least := goLine.FindSubmatch(mod); least != nil && goversion.IsValid(noted) && goversion.Compare(noted, "go"+string(least[1])) < 0 {
		return "go" + string(least[1]), nil
	}
	return noted, nil
}

// goLine matches the line of a go.mod with the oldest toolchain that may compile the
// module.
var goLine = regexp.MustCompile(`(?m)^go ([0-9]\S*)`)

// moduleDir makes a temporary directory with the component's go.mod and go.sum, and one for the
// go command inside it.
func (q *request) moduleDir() (dir string, remove func(), err error) {
	mod, sum, err := q.ModuleFiles()
	if err != nil {
		return "", nil, err
	}
	if dir, remove, err = q.cache.Scratch(q.Name); err != nil {
		return "", nil, err
	}
	err = os.Mkdir(goTmp(dir), 0o700)
	for name, data := range map[string][]byte{"go.mod": mod, "go.sum": sum} {
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), data, 0o600)
		}
	}
	if err != nil {
		remove()
		return "", nil, err
	}
	return dir, remove, nil
}

func goTmp(dir string) string { return filepath.Join(dir, "tmp") }

// toolchain finds the go command and the version that it runs in dir: the go.mod there may
// need a newer toolchain than the user's, and in another directory it could be any version.
func (q *request) toolchain(ctx context.Context, dir string) (name, version string, err error) {
	if q.opt.Go == "-" {
		return "", "", errors.New("building from source is switched off")
	}
	name = q.opt.Go
	if name == "" {
		name = "go"
	}
	if name, err = exec.LookPath(name); err != nil {
		return "", "", errors.New("there is no Go toolchain to build it from source")
	}
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, name, "env", "GOVERSION")
	cmd.Dir, cmd.Env, cmd.Stdout = dir, q.buildEnv(dir), &out
	task := q.opt.Progress.Start("compile", "Go for "+q.ModuleVersion(), -1) // the go command may download a toolchain for this
	err = run(cmd)
	task.Done(err)
	if err != nil {
		return "", "", fmt.Errorf("go env GOVERSION: %w", err)
	}
	return name, strings.TrimSpace(out.String()), nil
}

// run runs cmd; its error includes the last line that the go command printed.
func run(cmd *exec.Cmd) error {
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	cmd.WaitDelay = time.Second // a compiler outlives a killed go command
	err := cmd.Run()
	switch {
	case err == nil:
		return nil
	case fetch.Local(err): // it cannot be started: treat this as if there were no toolchain
		return errors.New(err.Error())
	}
	for line := range strings.Lines(stderr.String()) {
		if strings.Contains(line, syscall.ENOSPC.Error()) {
			return &FullError{Said: strings.TrimSpace(line), Tmp: cmd.Dir}
		}
	}
	return fmt.Errorf("%w: %s", err, lastLine(stderr.String()))
}

// FullError means that a disk is full where the go command writes. What it says does not always
// tell which.
type FullError struct {
	Said string // the line that the go command printed
	Tmp  string // where its unfinished files are
}

func (e *FullError) Error() string {
	return fmt.Sprintf("the go command has no space: %s; it writes to %s, and to the directories that 'go env GOCACHE GOMODCACHE' prints", e.Said, e.Tmp)
}

func (e *FullError) Unwrap() error { return syscall.ENOSPC }

// buildKey is a cache key of everything that determines the bytes of the program.
func (q *request) buildKey(goVersion string) (string, error) {
	mod, sum, err := q.ModuleFiles()
	h := sha256.New()
	for _, s := range append([]string{goVersion, q.arch, string(mod), string(sum)}, q.buildArgs("")...) {
		fmt.Fprintf(h, "%d:%s\n", len(s), s)
	}
	return q.Name + "-" + q.Releases[0].Version + "-" + q.arch + "-" + hex.EncodeToString(h.Sum(nil))[:24], err
}

// buildArgs gives the same result in any directory: -trimpath, no build id, no VCS stamp.
// buildEnv fixes the processor baseline.
func (q *request) buildArgs(out string) []string {
	tags := append([]string(nil), q.Module.Tags...)
	for _, o := range q.Module.Omit {
		tags = append(tags, "ts_omit_"+o)
	}
	return []string{
		"build", "-mod=readonly", "-buildvcs=false", "-trimpath", "-tags", strings.Join(tags, ","),
		"-ldflags", strings.ReplaceAll(q.Module.LDFlags, "{version}", q.Releases[0].Version), "-o", out, q.Module.Package,
	}
}

func (q *request) compile(ctx context.Context, gocmd, dir string, w io.Writer) error {
	out := filepath.Join(dir, "program")
	cmd := exec.CommandContext(ctx, gocmd, q.buildArgs(out)...)
	cmd.Dir, cmd.Env = dir, q.buildEnv(dir)
	if err := run(cmd); err != nil {
		return fmt.Errorf("go build %s: %w", q.Module.Package, err)
	}
	f, err := os.Open(out)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(w, f)
	return err
}

// buildEnv is the user's environment without what would change the result. The user still
// decides where modules come from and which toolchains may be downloaded. GOFLAGS is set,
// because an empty one would let the value of "go env -w" through.
func (q *request) buildEnv(dir string) []string {
	var env []string
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		switch name {
		case "GOFLAGS", "GOWORK", "GOEXPERIMENT", "GOOS", "GOARCH", "GOAMD64", "GOARM64", "GODEBUG", "GO111MODULE", "GOFIPS140":
			continue
		}
		if strings.HasPrefix(name, "CGO_") {
			continue
		}
		env = append(env, kv)
	}
	if goRelease.MatchString(q.goVersion) { // the last value of a variable counts
		env = append(env, "GOTOOLCHAIN="+q.goVersion)
	}
	return append(env, "GOTMPDIR="+goTmp(dir), "GOFLAGS=-mod=readonly", "GOWORK=off", "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+q.arch, "GOAMD64=v1", "GOARM64=v8.0")
}

// goRelease matches versions that GOTOOLCHAIN accepts (go.dev/doc/toolchain).
var goRelease = regexp.MustCompile(`^go1\.[0-9]+(\.[0-9]+|rc[0-9]+)?$`)

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return lines[len(lines)-1]
}
