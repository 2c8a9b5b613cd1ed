//go:build e2e

package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// TestSameLockSameBytes builds every board again from its lock as somebody
// else: other user, umask, time zone, locale, directory, processors, and a
// cache of its own.
func TestSameLockSameBytes(t *testing.T) {
	eachBoard(t, func(t *testing.T, board, img string) {
		dir := must(os.MkdirTemp("/var/tmp", "imagebuilder-repro-"))
		t.Cleanup(func() { os.RemoveAll(dir) })
		if err := os.Chmod(dir, 0o777); err != nil {
			t.Fatal(err)
		}
		// The other user may not be able to look into our directories.
		program, lock := filepath.Join(dir, "imagebuilder"), filepath.Join(dir, "lock.json")
		run(t, "cp", builder, program)
		run(t, "cp", img+".lock.json", lock)
		run(t, "chmod", "a+r", lock)
		out := filepath.Join(dir, "elsewhere", board+".img")
		cache := filepath.Join(dir, "cache")
		cmd := exec.Command("sh", "-c", `umask 077; exec "$@"`, "sh", program, "build", "--quiet",
			"--board", board, "--lock", lock, "--out", out, "--cache", cache)
		cmd.Dir = dir
		cmd.Env = []string{"HOME=" + dir, "PATH=" + filepath.Dir(must(exec.LookPath("go"))) + ":/usr/bin:/bin", "TZ=Pacific/Kiritimati", "LC_ALL=tr_TR.UTF-8", "GOMAXPROCS=" + otherProcessors()}
		if os.Getuid() == 0 {
			seedBuiltComponents(t, cache)
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		}
		if text, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		for _, suffix := range []string{"", ".bmap", ".provenance.json"} {
			if a, b := hashFile(t, img+suffix), hashFile(t, out+suffix); a != b {
				where, _ := exec.Command("cmp", img+suffix, out+suffix).CombinedOutput()
				t.Errorf("%s\n%s\n%s", a, b, where)
			}
		}
	})
}

func otherProcessors() string {
	if runtime.GOMAXPROCS(0) == 1 {
		return "3"
	}
	return "1"
}

// seedBuiltComponents spares the second builder the minutes that compiling
// tailscaled takes; that its bytes are the same is tested in image/component.
func seedBuiltComponents(t *testing.T, cache string) {
	user := must(os.UserCacheDir())
	entries, _ := filepath.Glob(filepath.Join(user, "imagebuilder", "derived", "component*"))
	if len(entries) == 0 {
		t.Fatal("the first build left no component in the cache")
	}
	derived := filepath.Join(cache, "derived")
	if err := os.MkdirAll(derived, 0o777); err != nil {
		t.Fatal(err)
	}
	run(t, "cp", append(append([]string{"-a"}, entries...), derived)...)
	run(t, "chown", "-R", "65534:65534", cache)
}

// TestSecondBuildIsUnchanged also shows that --json is JSON.
func TestSecondBuildIsUnchanged(t *testing.T) {
	img := image(t, "generic-amd64")
	before := hashFile(t, img)
	var out bytes.Buffer
	cmd := exec.Command(builder, "build", "--board", "generic-amd64", "--out", img, "--quiet", "--json")
	cmd.Stdout = &out
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), `"unchanged": true`) || hashFile(t, img) != before {
		t.Errorf("it was built again: %s", tail(out.String()))
	}
}
