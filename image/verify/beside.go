package verify

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/going-mobile/imagebuilder/image/compress"
	"github.com/going-mobile/imagebuilder/image/disk"
	"github.com/going-mobile/imagebuilder/image/manifest"
	"github.com/going-mobile/imagebuilder/image/provenance"
)

// beside is the files beside an image that say something about its bytes.
type beside struct {
	base     string // name of the raw image, whether it exists or not
	manifest *manifest.Manifest
	bmap     *disk.Map
	subjects []provenance.Resource
	sums     *sums
}

// load reads all of these files that exist. One that cannot be parsed is an error: it may
// be the very file that would reveal the damage.
func (b *beside) load(name string, format compress.Format) (err error) {
	b.base = strings.TrimSuffix(name, "."+string(format))
	if b.sums, err = loadSums(name); err != nil {
		return err
	}
	err = cmp.Or(
		b.read(manifest.Suffix, func(name string, data []byte) (err error) { b.manifest, err = manifest.Decode(name, data); return err }),
		b.read(disk.MapSuffix, func(name string, data []byte) (err error) { b.bmap, err = disk.ParseMap(name, data); return err }),
		b.read(provenance.Suffix, func(name string, data []byte) (err error) {
			b.subjects, err = provenance.Subjects(name, data)
			return err
		}),
	)
	if err != nil {
		return fmt.Errorf("%w; get or build it again together with the image, or remove it", err)
	}
	return nil
}

func (b *beside) read(suffix string, parse func(string, []byte) error) error {
	name := b.base + suffix
	data, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	sum := sha256.Sum256(data)
	if want, ok := b.sums.listed(name); ok && want != hex.EncodeToString(sum[:]) {
		return fmt.Errorf("%s is not what %s says: its sha256 is %x instead of %s", name, b.sums.file, sum, want)
	}
	return parse(name, data)
}

// fileSum is the sha256 of the compressed file itself, or "" if no file beside it has one
// to compare.
func (c *checker) fileSum(ctx context.Context) (string, error) {
	if len(c.beside.sums.about)+len(c.beside.subjects) == 0 {
		return "", nil
	}
	f, err := os.Open(c.name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	m, err := c.read(ctx, f, nil)
	if err != nil {
		return "", err
	}
	return m.SHA256, nil
}

// comparePacked compares the compressed file itself.
func (c *checker) comparePacked(ctx context.Context) error {
	sum, err := c.fileSum(ctx)
	if err != nil {
		return err
	}
	for _, s := range c.beside.subjects {
		if s.Digest["sha256"] == sum {
			c.good(c.beside.base+provenance.Suffix, "sha256 of the file itself")
		}
	}
	return c.compareSums(sum)
}

// compare compares the raw image with everything beside it: as it is, and as it was before
// somebody filled in its node.yaml.
func (c *checker) compare(is, was *disk.Map) error {
	err := c.compareMap(is, was)
	if err == nil {
		err = c.compareManifest(is.Size, is.SHA256, was.SHA256)
	}
	if err == nil {
		err = c.compareSubjects(is.SHA256, was.SHA256)
	}
	if err == nil && c.format == compress.None {
		err = c.compareSums(is.SHA256, was.SHA256)
	}
	return err
}

func (c *checker) compareMap(is, was *disk.Map) error {
	m, file := c.beside.bmap, c.beside.base+disk.MapSuffix
	if m == nil {
		return nil
	}
	if m.Size != is.Size {
		return c.wrongSize(file, is.Size, m.Size)
	}
	if r := m.Differs(was); r != nil && m.Differs(is) != nil {
		return c.differs(file, fmt.Sprintf("something between bytes %d and %d is damaged", r.First*disk.BlockSize, (r.Last+1)*disk.BlockSize-1))
	}
	c.good(file, fmt.Sprintf("sha256 of %d ranges, %.1f MB of %.1f MB", len(m.Ranges), float64(m.MappedBytes())/1e6, float64(m.Size)/1e6))
	return nil
}

func (c *checker) compareManifest(size int64, sums ...string) error {
	m, file := c.beside.manifest, c.beside.base+manifest.Suffix
	if m == nil {
		return nil
	}
	label := c.report.Label
	switch {
	case m.Image.Size != size:
		return c.wrongSize(file, size, m.Image.Size)
	case label != nil && (label.Board != m.Image.Board || label.ImageVersion != m.Image.Version):
		return c.differs(file, fmt.Sprintf("it is for board %s, version %s, that tells of board %s, version %s",
			label.Board, label.ImageVersion, m.Image.Board, m.Image.Version))
	case !slices.Contains(sums, m.Image.SHA256):
		return c.differs(file, fmt.Sprintf("its sha256 is %s instead of %s", sums[0], m.Image.SHA256))
	}
	c.good(file, "sha256, size, board and version of the image")
	return nil
}

// compareSubjects compares digests only, as in-toto does for subjects.
func (c *checker) compareSubjects(sums ...string) error {
	file := c.beside.base + provenance.Suffix
	for _, s := range c.beside.subjects {
		if slices.Contains(sums, s.Digest["sha256"]) {
			c.good(file, "sha256 of the image")
			return nil
		}
	}
	if c.beside.subjects == nil {
		return nil
	}
	return c.differs(file, "its sha256 "+sums[0]+" is not among the subjects")
}

// compareSums compares the file with every list of checksums that names it.
func (c *checker) compareSums(sums ...string) error {
	for _, claim := range c.beside.sums.about {
		if !slices.Contains(sums, claim.sum) {
			return c.differs(claim.file, fmt.Sprintf("its sha256 is %s instead of %s", sums[0], claim.sum))
		}
		c.good(claim.file, "sha256 of the file")
	}
	return nil
}

func (c *checker) good(against, what string) {
	c.report.Checks = append(c.report.Checks, Check{Against: against, What: what})
}

func (c *checker) wrongSize(against string, is, want int64) error {
	what := fmt.Sprintf("it has %d bytes instead of %d", is, want)
	if is < want {
		what += ", as if it was cut short"
	}
	return c.differs(against, what)
}

func (c *checker) differs(against, what string) error {
	return fmt.Errorf("%s is not what %s says: %s; get or build both again, or remove %s if that is of another image",
		c.name, against, what, filepath.Base(against))
}
