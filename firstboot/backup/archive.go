package backup

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
)

// largest bounds how much of an unpacked copy is read, in bytes: ten thousand nodes take some fifty
// million.
const largest = 1 << 30

// pack returns an archive of files of a directory, with a comment in its gzip header.
func pack(dir string, names []string, comment string) ([]byte, error) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	z.Comment = comment
	w := tar.NewWriter(z)
	for _, name := range names {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return nil, err
		}
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: int64(len(text))}); err != nil {
			return nil, err
		}
		if _, err := w.Write(text); err != nil {
			return nil, err
		}
	}
	err := errors.Join(w.Close(), z.Close())
	return b.Bytes(), err
}

// unpack writes the files of a copy into a directory. It accepts only the names of our own files: a
// bucket is somebody else's computer.
func unpack(data []byte, dir string) (names []string, err error) {
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	limited := io.LimitReader(z, largest)
	for t := tar.NewReader(limited); ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if h.Name != database && !slices.Contains(keys, h.Name) || h.Typeflag != tar.TypeReg || slices.Contains(names, h.Name) {
			return nil, fmt.Errorf("it holds %q, which is none of ours", h.Name)
		}
		if err := write(filepath.Join(dir, h.Name), t); err != nil {
			return nil, err
		}
		names = append(names, h.Name)
	}
	if _, err := io.Copy(io.Discard, limited); err != nil { // read to the end, where gzip's checksum is
		return nil, err
	}
	if !slices.Contains(names, database) {
		return nil, errors.New("it holds no database")
	}
	return names, nil
}

func write(name string, r io.Reader) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, f.Close())
}
