//go:build e2e

package oci_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/image/oci"
	"github.com/going-mobile/imagebuilder/image/oci/registrytest"
)

// containerd starts Debian's, with a root and a socket of the test's own.
func containerd(t *testing.T) (ctr func(args ...string) string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("containerd wants root")
	}
	dir := t.TempDir()
	log := daemon(t, dir)
	run := func(args ...string) ([]byte, error) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		return exec.CommandContext(ctx, "ctr", append([]string{"--address", filepath.Join(dir, "s"), "-n", "k8s.io"}, args...)...).Output()
	}
	for began := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		out, err := run("images", "ls")
		if err == nil {
			break
		}
		if time.Since(began) > time.Minute {
			text, _ := os.ReadFile(log)
			t.Fatalf("containerd does not answer: %s\n%s", out, text)
		}
	}
	return func(args ...string) string {
		t.Helper()
		out, err := run(args...)
		if err != nil {
			var exit *exec.ExitError
			errors.As(err, &exit)
			t.Errorf("ctr %q: %v\n%s", args, err, exit.Stderr)
		}
		return string(out)
	}
}

// daemon runs it until the test ends, its socket at s. It returns the log's name.
func daemon(t *testing.T, dir string) string {
	t.Helper()
	config := filepath.Join(dir, "config.toml")
	text := "version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("containerd", "--config", config, "--address", filepath.Join(dir, "s"), "--root", filepath.Join(dir, "root"), "--state", filepath.Join(dir, "state"))
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v (is it installed? run `make deps`)", err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(os.Interrupt)
		cmd.Wait()
		log.Close()
	})
	return log.Name()
}

// TestContainerdTakesTheArchive: Debian's containerd imports what both
// architectures get, under the names of the references and the digests of the
// registry, and misses nothing of any image.
func TestContainerdTakesTheArchive(t *testing.T) {
	g := registrytest.Start(t, true)
	want := map[string]string{}
	var refs []string
	for i, name := range []string{"team/app:v1", "library/other:2", "third:3"} {
		ref, digest := g.Push(t, name, registrytest.Index(t, int64(i), 20_000, 3))
		refs, want[ref] = append(refs, ref), digest
	}
	byDigest := g.Host + "/third@" + want[refs[2]]
	want[g.Host+"/third:sha256-"+want[refs[2]][7:19]] = want[refs[2]]
	for _, arch := range []string{"amd64", "arm64"} {
		t.Run(arch, func(t *testing.T) {
			ctr := containerd(t)
			a, _, err := build(t, cache(t), oci.Options{Arch: arch}, append(refs, byDigest)...)
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(t.TempDir(), "images.tar")
			if err := os.WriteFile(file, read(t, a), 0o600); err != nil {
				t.Fatal(err)
			}
			platform := "linux/" + arch
			ctr("images", "import", "--no-unpack", "--platform", platform, file)
			have := map[string]string{}
			for line := range strings.Lines(ctr("images", "ls")) {
				if f := strings.Fields(line); len(f) > 2 && f[0] != "REF" {
					have[f[0]] = f[2]
				}
			}
			for name, digest := range want {
				if have[name] != digest {
					t.Errorf("%s is %q, want %s", name, have[name], digest)
				}
				if arch == runtime.GOARCH { // it checks what it could run
					if out := ctr("images", "check", "name=="+name); !strings.Contains(out, "complete (4/4)") { // config and layers
						t.Errorf("%s: %s", name, out)
					}
				}
				out := filepath.Join(t.TempDir(), "out.tar") // reads every blob, or fails
				ctr("images", "export", "--platform", platform, out, name)
			}
			if len(have) != len(want) {
				t.Errorf("%d images, want %d: %v", len(have), len(want), have)
			}
		})
	}
}
