package imagetest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
)

// Chart returns the archive of a Helm chart that has nothing but its name.
func Chart(name string) ([]byte, error) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	text := []byte("apiVersion: v2\nname: " + name + "\nversion: 0.0.1\n")
	err := w.WriteHeader(&tar.Header{Name: name + "/Chart.yaml", Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(text))})
	_, written := w.Write(text)
	err = errors.Join(err, written, w.Close(), z.Close())
	return b.Bytes(), err
}
