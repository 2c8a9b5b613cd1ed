//go:build e2e

package e2e

import (
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/image/oci/registrytest"
)

// The payload of the benchmark: what Longhorn, Argo CD and k3s' own images are
// together, compressed.
const (
	payloadImages = 12
	payloadLayers = 4
	layerBytes    = 32 << 20
)

// BenchmarkPayload builds an image with 1.5 GB of container images that no cache has,
// from a registry on loopback, against the same build without and against copying
// that many bytes twice, into a cache and into an image, and hashing them once.
func BenchmarkPayload(b *testing.B) {
	g := registrytest.Start(b, false) // TLS at both of its ends would be measured, too
	list := filepath.Join(b.TempDir(), "images.txt")
	// By time(1): who is started from here begins with the peak of this process, which
	// has the registry in it.
	memory := filepath.Join(b.TempDir(), "kilobytes")
	timed := func(args ...string) (took time.Duration, kib float64) {
		b.Helper()
		cmd := exec.Command("/usr/bin/time", append([]string{"-f", "%M", "-o", memory, builder, "build", "--quiet", "--force", "--board", "optiplex-7050", "--out", filepath.Join(scratch, "payload.img")}, args...)...)
		begin := time.Now()
		if out, err := cmd.CombinedOutput(); err != nil {
			b.Fatalf("%v\n%s", err, tail(string(out)))
		}
		took = time.Since(begin)
		text, err := os.ReadFile(memory)
		if err == nil {
			kib, err = strconv.ParseFloat(strings.TrimSpace(string(text)), 64)
		}
		if err != nil {
			b.Fatal(err)
		}
		return took, kib
	}
	timed() // its packages
	for range b.N {
		var refs strings.Builder
		seed := time.Now().UnixNano() / 1e9 // others than those of any build before
		for i := range payloadImages {
			ref, _ := g.Push(b, fmt.Sprintf("bench/image:%d", i), registrytest.Image(b, seed+int64(i), layerBytes, payloadLayers, "amd64"))
			fmt.Fprintln(&refs, ref)
		}
		if err := os.WriteFile(list, []byte(refs.String()), 0o600); err != nil {
			b.Fatal(err)
		}
		ideal := copyTwice(b, payloadImages*payloadLayers*layerBytes)
		without, _ := timed()
		with, peak := timed("--images", list)
		b.ReportMetric(0, "ns/op")
		b.ReportMetric((with - without).Seconds(), "s-payload")
		b.ReportMetric((with-without).Seconds()/ideal.Seconds(), "of-the-ideal")
		b.ReportMetric(without.Seconds(), "s-without")
		b.ReportMetric(peak*1024/1e6, "MB-peak")
	}
}

// copyTwice is how long it takes to write so many bytes to a file, to copy that one,
// safely, and to hash it.
func copyTwice(b *testing.B, size int64) time.Duration {
	b.Helper()
	first, second := filepath.Join(b.TempDir(), "a"), filepath.Join(b.TempDir(), "b")
	chunk := make([]byte, 1<<20)
	begin := time.Now()
	write(b, first, io.LimitReader(repeat{chunk}, size))
	in, err := os.Open(first)
	if err != nil {
		b.Fatal(err)
	}
	defer in.Close()
	write(b, second, io.TeeReader(in, sha256.New()))
	return time.Since(begin)
}

func write(b *testing.B, name string, r io.Reader) {
	b.Helper()
	out, err := os.Create(name)
	if err != nil {
		b.Fatal(err)
	}
	defer out.Close()
	if _, err = io.Copy(out, r); err == nil {
		err = out.Sync()
	}
	if err != nil {
		b.Fatal(err)
	}
}

// repeat is a reader without an end.
type repeat struct{ chunk []byte }

func (r repeat) Read(p []byte) (int, error) { return copy(p, r.chunk), nil }
