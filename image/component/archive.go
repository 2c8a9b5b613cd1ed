package component

import (
	"bytes"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/image/tree"
)

// endings are the file name endings by which k3s chooses how to unpack an archive of
// container images (rancher/wharfie, pkg/tarfile), with the first bytes of each format: RFC
// 8878, RFC 1952, bzip2, the LZ4 frame format, POSIX ustar.
var endings = []struct {
	ending string
	offset int
	magic  string
}{
	{".tar.zst", 0, "\x28\xb5\x2f\xfd"},
	{".tar.gz", 0, "\x1f\x8b"},
	{".tar.bz2", 0, "BZh"},
	{".tar.lz4", 0, "\x04\x22\x4d\x18"},
	{".tar", 257, "ustar"},
}

// endingOf returns the ending for an archive by its content. A user's file may have any
// name, but k3s would skip one with the wrong ending at every start.
func endingOf(c tree.Content) (string, error) {
	f, err := c.Open()
	if err != nil {
		return "", err
	}
	defer f.Close()
	head, err := io.ReadAll(io.LimitReader(f, 512))
	if err != nil {
		return "", err
	}
	for _, e := range endings {
		if len(head) > e.offset && bytes.HasPrefix(head[e.offset:], []byte(e.magic)) {
			return e.ending, nil
		}
	}
	return "", fmt.Errorf("is no archive of container images that k3s reads: a tar, as it is or compressed by zstd, gzip, bzip2 or lz4")
}

// endingIn is endingOf for an archive that is not downloaded yet. It returns the ending of
// its address, or else the one that upstream's releases have.
func endingIn(address string) string {
	for _, e := range endings {
		if strings.HasSuffix(path.Base(address), e.ending) {
			return e.ending
		}
	}
	return endings[0].ending
}

// called returns the layout with the archives' full file names. sum is the component's
// digest.
func (l Layout) called(sum, ending string) Layout {
	files := make([]File, len(l.Files))
	for i, f := range l.Files {
		if f.Archive {
			f.Path = contract.ByDigest(f.Path, sum) + ending
		}
		files[i] = f
	}
	return Layout{files, l.Links}
}
