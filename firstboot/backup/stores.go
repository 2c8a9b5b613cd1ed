package backup

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/rhnvrm/simples3"

	"github.com/going-mobile/imagebuilder/firstboot/dirsync"
	"github.com/going-mobile/imagebuilder/firstboot/node"
)

// Dir is a store in a directory of this machine.
type Dir string

func (d Dir) String() string { return string(d) }

// List returns the names in the directory; none if it does not exist.
func (d Dir) List() ([]string, error) {
	entries, err := os.ReadDir(string(d))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, err
}

// Get reads a file.
func (d Dir) Get(name string) ([]byte, error) {
	return os.ReadFile(filepath.Join(string(d), name))
}

// Put writes a file that only root can read, atomically and durably.
func (d Dir) Put(name string, data []byte) error {
	if err := os.MkdirAll(string(d), 0o700); err != nil {
		return err
	}
	if err := sweep(string(d), "."+prefix); err != nil {
		return err
	}
	return dirsync.Replace(filepath.Join(string(d), "."+name), filepath.Join(string(d), name), func(f *os.File) error {
		_, err := f.Write(data)
		return err
	})
}

// sweep removes from a directory what was being written when the power went: its name begins
// so, and no later one is the same.
func sweep(dir, prefix string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), prefix) {
			err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
		}
	}
	return err
}

// Delete removes a file.
func (d Dir) Delete(name string) error {
	return os.Remove(filepath.Join(string(d), name))
}

// bucket is a store in an S3 bucket.
type bucket struct {
	*simples3.S3
	name, prefix string
}

// TransferTime bounds a request to S3 that may transfer a copy.
const TransferTime = 10 * time.Minute

// Bucket opens a bucket of S3, or of a service that speaks its protocol.
func Bucket(s *node.S3) Store { return bucketWithin(s, TransferTime) }

// bucketWithin takes the slash off a prefix: with two together simples3 signs another path
// than it asks for (sign.go, filepath.Clean), which S3 refuses.
func bucketWithin(s *node.S3, patience time.Duration) Store {
	c := simples3.New(s.Region, s.AccessKey, s.SecretKey.Reveal()).SetEndpoint(s.Endpoint).SetClient(&http.Client{Timeout: patience})
	return &bucket{c, s.Bucket, strings.TrimLeft(s.Prefix, "/")}
}

func (b *bucket) String() string { return "s3://" + b.name + "/" + b.prefix }

func (b *bucket) List() (names []string, err error) {
	objects, finish := b.ListAll(simples3.ListInput{Bucket: b.name, Prefix: b.prefix})
	for o := range objects {
		names = append(names, strings.TrimPrefix(o.Key, b.prefix))
	}
	return names, finish()
}

func (b *bucket) Get(name string) ([]byte, error) {
	r, err := b.FileDownload(simples3.DownloadInput{Bucket: b.name, ObjectKey: b.prefix + name})
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return readAll(r, largest)
}

// readAll refuses what is larger, as a part of it would pass for a damaged whole.
func readAll(r io.Reader, most int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, most+1))
	if err == nil && int64(len(data)) > most {
		return nil, fmt.Errorf("it is larger than %d bytes, which is more than is read of one file: if it does not belong there, delete it", most)
	}
	return data, err
}

func (b *bucket) Put(name string, data []byte) error {
	_, err := b.FilePut(simples3.UploadInput{Bucket: b.name, ObjectKey: b.prefix + name, Body: bytes.NewReader(data)})
	return err
}

func (b *bucket) Delete(name string) error {
	return b.FileDelete(simples3.DeleteInput{Bucket: b.name, ObjectKey: b.prefix + name})
}
