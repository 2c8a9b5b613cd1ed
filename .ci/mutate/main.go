// Command mutate breaks one guard after the other and demands that a test
// fails. The guards are the entries of .ci/mutants/*.yaml:
//
//   - guard: a bit-flipped image is refused   # what is promised
//     file: image/flash/check.go              # where it is kept
//     replace: 'if got != want {'             # exact text, once in the file
//     with: 'if false {'
//     test: ./image/flash                     # packages of which a test must fail
//     run: TestDamaged                        # optional: only these tests
//     tags: e2e                               # optional: build tags
//
// The tree is never touched: the go command reads the broken file through
// -overlay. A guard whose text is gone, whose mutant does not compile, or whose
// tests fail without it too, is an error: a check that cannot fail is none.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"

	"gopkg.in/yaml.v3"
)

type mutant struct {
	Guard   string `yaml:"guard"`
	File    string `yaml:"file"`
	Replace string `yaml:"replace"`
	With    string `yaml:"with"`
	Test    string `yaml:"test"`
	Run     string `yaml:"run"`
	Tags    string `yaml:"tags"`
}

func main() {
	check := flag.Bool("check", false, "only look whether the text of every guard is there, once")
	only := flag.String("only", "", "mutate only guards whose list or words match this regular expression")
	jobs := flag.Int("j", runtime.NumCPU(), "mutants at once")
	flag.Parse()
	if err := run(*only, *jobs, *check); err != nil {
		fmt.Fprintln(os.Stderr, "mutate:", err)
		os.Exit(1)
	}
}

func run(only string, jobs int, check bool) error {
	all, err := load(".ci/mutants", only)
	if err != nil {
		return err
	}
	if len(all) == 0 {
		return errors.New("no guard is listed")
	}
	if check {
		return present(all)
	}
	if err := baselines(all); err != nil {
		return err
	}
	faults := make([]error, len(all))
	var wg sync.WaitGroup
	slots := make(chan struct{}, jobs)
	for i, m := range all {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if faults[i] = m.kill(); faults[i] != nil {
				fmt.Printf("FAIL    %s: %v\n", m.Guard, faults[i])
				return
			}
			fmt.Printf("killed  %s\n", m.Guard)
		})
	}
	wg.Wait()
	failed := len(slices.DeleteFunc(faults, func(err error) bool { return err == nil }))
	fmt.Printf("%d passed, %d failed\n", len(all)-failed, failed)
	if failed > 0 {
		return errors.New("guards that no test watches")
	}
	return nil
}

func load(dir, only string) ([]mutant, error) {
	want, err := regexp.Compile(only)
	if err != nil {
		return nil, err
	}
	lists, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil {
		return nil, err
	}
	var out []mutant
	for _, name := range lists {
		list, err := read(name)
		if err != nil {
			return nil, err
		}
		for _, m := range list {
			if want.MatchString(filepath.Base(name) + " " + m.Guard) {
				out = append(out, m)
			}
		}
	}
	return out, nil
}

func read(name string) ([]mutant, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	var list []mutant
	if err := dec.Decode(&list); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	for _, m := range list {
		if m.Guard == "" || m.File == "" || m.Replace == "" || m.Test == "" || m.Replace == m.With {
			return nil, fmt.Errorf("%s: guard %q: guard, file, replace, with and test are needed, and a change", name, m.Guard)
		}
	}
	return list, nil
}

// baselines runs the tests of all mutants on the tree as it is: one that fails
// anyway, or runs nothing, proves nothing.
func baselines(all []mutant) error {
	done := map[[3]string]bool{}
	for _, m := range all {
		key := [3]string{m.Test, m.Run, m.Tags}
		if done[key] {
			continue
		}
		done[key] = true
		out, err := m.test()
		if err != nil {
			return fmt.Errorf("%s %s fails on the unbroken tree: %w\n%s", m.Test, m.Run, err, out)
		}
		// One package that runs something is enough.
		if !ranTest.MatchString(out) {
			return fmt.Errorf("%s %s: no test ran", m.Test, m.Run)
		}
	}
	return nil
}

var ranTest = regexp.MustCompile(`(?m)^ok\s+\S+\s+[0-9.]+s$`)

// present wants every guard to be where its list says: a change that rewrites one
// takes its entry along.
func present(all []mutant) error {
	var faults []error
	for _, m := range all {
		if _, err := m.broken(); err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", m.Guard, err))
		}
	}
	return errors.Join(faults...)
}

// broken is the file without the guard.
func (m mutant) broken() (string, error) {
	source, err := os.ReadFile(m.File)
	if err != nil {
		return "", err
	}
	if n := strings.Count(string(source), m.Replace); n != 1 {
		return "", fmt.Errorf("its text occurs %d times in %s, want once", n, m.File)
	}
	return strings.Replace(string(source), m.Replace, m.With, 1), nil
}

// kill breaks the guard and wants a failed test.
func (m mutant) kill() error {
	text, err := m.broken()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "mutant-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	overlay, err := m.overlay(dir, text)
	if err != nil {
		return err
	}
	out, err := m.test("-overlay", overlay)
	var exit *exec.ExitError
	switch {
	case err == nil:
		return fmt.Errorf("%s: all tests of %s pass without it", m.File, m.Test)
	case !errors.As(err, &exit):
		return err
	case strings.Contains(out, "[build failed]") || strings.Contains(out, "[setup failed]"):
		return fmt.Errorf("the mutant does not compile:\n%s", out)
	}
	return nil
}

// overlay writes what the go command's -overlay reads (go help build).
func (m mutant) overlay(dir, broken string) (string, error) {
	path, err := filepath.Abs(m.File)
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, filepath.Base(m.File))
	if err := os.WriteFile(file, []byte(broken), 0o644); err != nil {
		return "", err
	}
	list, err := json.Marshal(map[string]map[string]string{"Replace": {path: file}})
	if err != nil {
		return "", err
	}
	name := filepath.Join(dir, "overlay.json")
	return name, os.WriteFile(name, list, 0o644)
}

func (m mutant) test(more ...string) (string, error) {
	args := append([]string{"test", "-count=1", "-vet=off", "-failfast", "-timeout=5m"}, more...)
	if m.Run != "" {
		args = append(args, "-run", m.Run)
	}
	if m.Tags != "" {
		args = append(args, "-tags", m.Tags)
	}
	out, err := exec.Command("go", append(args, strings.Fields(m.Test)...)...).CombinedOutput()
	return string(out), err
}
