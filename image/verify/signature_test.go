package verify_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"aead.dev/minisign"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/image/compress"
	"github.com/going-mobile/imagebuilder/image/progress"
	"github.com/going-mobile/imagebuilder/image/verify"
)

// signer makes a key with minisign itself.
func signer(t *testing.T) (dir string, key minisign.PublicKey) {
	t.Helper()
	dir = t.TempDir()
	run(t, dir, "minisign", "-G", "-W", "-p", "key.pub", "-s", "key")
	key, err := verify.Key(filepath.Join(dir, "key.pub"))
	if err != nil {
		t.Fatal(err)
	}
	return dir, key
}

// release is a directory as the release workflow makes it.
func release(t *testing.T, keys string) string {
	dir := dist(t, contract.MBR, compress.Zstd)
	write(t, filepath.Join(dir, verify.SumsName), []byte(run(t, dir, "sh", "-c", "sha256sum *.zst *.json *.bmap")))
	run(t, dir, "minisign", "-S", "-s", keys+"/key", "-t", "imagebuilder v1.2.3", "-m", verify.SumsName)
	return dir
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
