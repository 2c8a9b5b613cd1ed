//go:build e2e

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/image/lock"
)

// changed saves the reference's lock with a change.
func changed(t *testing.T, change func(l *lock.Lock)) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "changed.lock.json")
	l, err := lock.Load(setUp(t).image + ".lock.json")
	if err != nil {
		t.Fatal(err)
	}
	change(l)
	b, err := l.Marshal()
	if err == nil {
		err = os.WriteFile(name, b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return name
}

func lockedPackage(t *testing.T, l *lock.Lock, name string) *lock.Package {
	for i := range l.Packages {
		if l.Packages[i].Name == name {
			return &l.Packages[i]
		}
	}
	t.Fatalf("the lock has no %s", name)
	return nil
}

// TestALockIsHeldAgainstItsIndex puts one package of the archive in another's place: every
// digest belongs to something that Debian once signed.
func TestALockIsHeldAgainstItsIndex(t *testing.T) {
	good := changed(t, func(*lock.Lock) {})
	r := imagebuilder(t, buildArgs(cacheCopy(t), filepath.Join(outDir(t), "x.img"), "--lock", good)...)
	if r.code != 0 || strings.Contains(r.stdout, "warning") {
		t.Errorf("exit code %d, %s%s", r.code, r.stdout, r.stderr)
	}
	swapped := changed(t, func(l *lock.Lock) {
		zstd, bash := lockedPackage(t, l, "zstd"), lockedPackage(t, l, "bash")
		zstd.Size, zstd.SHA256, zstd.Filename = bash.Size, bash.SHA256, bash.Filename
	})
	zstd := packageNamed(t, "zstd")
	words := []string{"the lock does not hold: suite " + zstd.Suite + ": zstd " + zstd.Version, "is not in the index"}
	refuses(t, cacheCopy(t), filepath.Join(outDir(t), "x.img"), words, "--lock", swapped)

	// If an index is gone for good, only the lock is left to check against.
	lost := changed(t, func(l *lock.Lock) { l.Suites[0].InReleaseSHA256 = strings.Repeat("0", 64) })
	r = imagebuilder(t, buildArgs(cacheCopy(t), filepath.Join(outDir(t), "x.img"), "--lock", lost)...)
	if r.code != 0 || !strings.Contains(r.stdout, "packages of trixie are taken on the lock's word") {
		t.Errorf("exit code %d, %s%s", r.code, r.stdout, r.stderr)
	}
}
