package verify_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"aead.dev/minisign"
	"gopkg.in/yaml.v3"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/image/compress"
	"github.com/going-mobile/imagebuilder/image/progress"
	"github.com/going-mobile/imagebuilder/image/verify"
)

// signer makes a key with minisign itself.
func signer(t *testing.T) (dir string, key minisign.PublicKey) {
	t.Helper()
	dir = t.TempDir()
	run(t, dir, "minisign", "-G", "-W", "-p", "key.pub", "-s", "key") // a password costs seconds
	key, err := verify.Key(filepath.Join(dir, "key.pub"))
	if err != nil {
		t.Fatal(err)
	}
	return dir, key
}

// release is a directory as the release workflow makes it, and the raw image.
func release(t *testing.T, keys string) string {
	dir := dist(t, contract.MBR, compress.Zstd)
	raw := filepath.Join(t.TempDir(), "x.img")
	run(t, dir, "mv", "x.img", raw)
	if out, err := sign(t, keys, dir, "imagebuilder v1.2.3", keys+"/key.pub"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	run(t, dir, "mv", raw, ".")
	return dir
}

// sign runs what the release workflow does.
func sign(t *testing.T, keys string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.Command("../../.ci/sign", args...)
	cmd.Env = os.Environ()
	if keys != "" {
		cmd.Env = append(cmd.Env, "MINISIGN_KEY="+string(read(t, keys+"/key")))
	}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// TestNothingIsReleasedWithoutAKey, or with one that users do not know.
func TestNothingIsReleasedWithoutAKey(t *testing.T) {
	keys, _ := signer(t)
	others, _ := signer(t)
	nothing := filepath.Join(t.TempDir(), "key.pub")
	for want, try := range map[string]func(dir string) (string, error){
		"there is no public key":       func(dir string) (string, error) { return sign(t, keys, dir, "v1", nothing) },
		"MINISIGN_KEY holds no secret": func(dir string) (string, error) { return sign(t, "", dir, "v1", keys+"/key.pub") },
		"MINISIGN_KEY does not belong": func(dir string) (string, error) { return sign(t, keys, dir, "v1", others+"/key.pub") },
		"MINISIGN_PASSWORD does not open": func(dir string) (string, error) {
			dir2 := t.TempDir()
			run(t, dir2, "sh", "-c", "printf 'secret\nsecret\n' | minisign -G -p key.pub -s key")
			t.Setenv("MINISIGN_PASSWORD", "secret")
			if out, err := sign(t, dir2, "", "", dir2+"/key.pub"); err != nil {
				t.Error(out)
			}
			t.Setenv("MINISIGN_PASSWORD", "other")
			return sign(t, dir2, dir, "v1", dir2+"/key.pub")
		},
	} {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "x"), nil)
		if out, err := try(dir); err == nil || !strings.Contains(out, want) || !strings.Contains(out, "keys/README") {
			t.Errorf("got %v, %s; want %q", err, out, want)
		}
		if left, _ := os.ReadDir(dir); len(left) != 1 {
			t.Errorf("%s: left %v", want, left)
		}
	}
	if out, err := sign(t, keys, "", "", keys+"/key.pub"); err != nil {
		t.Error(out)
	}
}

// TestWorkflowsTakeNothingUnpinned, and give no job more than it needs.
func TestWorkflowsTakeNothingUnpinned(t *testing.T) {
	pinned := regexp.MustCompile(`^[a-z-]+/[a-z-]+@[0-9a-f]{40}$`)
	files, _ := filepath.Glob("../../.github/workflows/*.yml")
	if len(files) == 0 {
		t.Fatal("no workflow")
	}
	for _, name := range files {
		var w struct {
			Permissions map[string]string
			Jobs        map[string]struct {
				Permissions map[string]string
				Steps       []struct {
					Uses string
					With map[string]any
				}
			}
		}
		if err := yaml.Unmarshal(read(t, name), &w); err != nil {
			t.Fatal(err)
		}
		if w.Permissions == nil {
			t.Errorf("%s: without permissions, every job has those of the repository's settings", name)
		}
		for id, job := range w.Jobs {
			for what, level := range job.Permissions {
				if what != "contents" || level != "read" && (level != "write" || id != "release") {
					t.Errorf("%s: job %s has %s: %s", name, id, what, level)
				}
			}
			for _, step := range job.Steps {
				if step.Uses != "" && !pinned.MatchString(step.Uses) {
					t.Errorf("%s: job %s uses %s, which may be another tomorrow", name, id, step.Uses)
				}
				if strings.HasPrefix(step.Uses, "actions/checkout@") && step.With["persist-credentials"] != false {
					t.Errorf("%s: job %s leaves its token in .git", name, id)
				}
			}
		}
	}
}

func signature(t *testing.T, name string, keys ...minisign.PublicKey) (*verify.Signature, error) {
	t.Helper()
	r, err := verify.Image(t.Context(), name, false, progress.Discard)
	if err != nil {
		t.Fatal(err)
	}
	return r.Signature(keys)
}

func TestASignedListVouchesForImages(t *testing.T) {
	keys, key := signer(t)
	_, other := signer(t)
	dir := release(t, keys)
	for _, name := range []string{"x.img.zst", "x.img"} { // the raw one by its manifest
		s, err := signature(t, filepath.Join(dir, name), other, key)
		if err != nil || s.Comment != "imagebuilder v1.2.3" || s.Key != key.String() || filepath.Base(s.File) != "SHA256SUMS.minisig" {
			t.Errorf("%s: %+v, %v", name, s, err)
		}
	}
	for want, trusted := range map[string][]minisign.PublicKey{
		"this imagebuilder knows no release key": nil, "which is not to be trusted here": {other},
	} {
		if _, err := signature(t, filepath.Join(dir, "x.img.zst"), trusted...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	edit(t, dir, verify.SumsName, func(b []byte) []byte { return append(b, '\n') })
	if _, err := signature(t, filepath.Join(dir, "x.img.zst"), key); err == nil || !strings.Contains(err.Error(), "does not belong to its signature SHA256SUMS.minisig") {
		t.Error(err)
	}
	edit(t, dir, "SHA256SUMS.minisig", func(b []byte) []byte { return b[:20] })
	if _, err := signature(t, filepath.Join(dir, "x.img.zst"), key); err == nil || !strings.Contains(err.Error(), "is no signature of minisign") {
		t.Error(err)
	}
}

// TestWhatASignedListDoesNotNameIsUnsigned: an image may come to lie beside
// the list of a good release.
func TestWhatASignedListDoesNotNameIsUnsigned(t *testing.T) {
	keys, key := signer(t)
	dir := release(t, keys)
	run(t, dir, "cp", "x.img", "y.img")
	run(t, dir, "cp", "x.img.provenance.json", "y.img.provenance.json")
	if s, err := signature(t, filepath.Join(dir, "y.img"), key); !errors.Is(err, verify.ErrUnsigned) {
		t.Errorf("%+v, %v", s, err)
	}
	if err := os.Remove(filepath.Join(dir, "SHA256SUMS.minisig")); err != nil {
		t.Fatal(err)
	}
	if s, err := signature(t, filepath.Join(dir, "x.img.zst"), key); !errors.Is(err, verify.ErrUnsigned) {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestAnImageMayHaveItsOwnSignature(t *testing.T) {
	keys, key := signer(t)
	dir := dist(t, contract.MBR)
	run(t, dir, "minisign", "-S", "-s", keys+"/key", "-m", "x.img")
	if s, err := signature(t, filepath.Join(dir, "x.img"), key); err != nil || filepath.Base(s.File) != "x.img.minisig" {
		t.Errorf("%+v, %v", s, err)
	}
	for _, suffix := range []string{".bmap", ".manifest.json", ".provenance.json"} {
		os.Remove(filepath.Join(dir, "x.img"+suffix))
	}
	edit(t, dir, "x.img", flip(34<<20+1000))
	if _, err := signature(t, filepath.Join(dir, "x.img"), key); err == nil || !strings.Contains(err.Error(), "does not belong to its signature") {
		t.Error(err)
	}
}

func TestKeysAreFilesOrText(t *testing.T) {
	dir, key := signer(t)
	if k, err := verify.Key(key.String()); err != nil || !k.Equal(key) {
		t.Error(k, err)
	}
	for _, bad := range []string{"RWhello", filepath.Join(dir, "key"), filepath.Join(dir, "nonesuch"), ""} {
		if _, err := verify.Key(bad); err == nil {
			t.Errorf("%q is a key", bad)
		}
	}
	if _, err := verify.ReleaseKeys(); err != nil {
		t.Error(err)
	}
}
