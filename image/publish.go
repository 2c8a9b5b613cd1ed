package image

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/going-mobile/imagebuilder/image/atomicfile"
	"github.com/going-mobile/imagebuilder/image/compress"
	"github.com/going-mobile/imagebuilder/image/disk"
	"github.com/going-mobile/imagebuilder/image/lock"
	"github.com/going-mobile/imagebuilder/image/manifest"
	"github.com/going-mobile/imagebuilder/image/provenance"
	"github.com/going-mobile/imagebuilder/image/sbom"
	"github.com/going-mobile/imagebuilder/image/verify"
)

// publish puts all files in place, the image first and the manifest last: a manifest that
// is there vouches for all the others. No file gets its final name before all are written
// and synced to the disk.
func (p *plan) publish(ctx context.Context, v *volume, m *manifest.Manifest, l *lock.Lock) error {
	b := batch{v.file}
	defer b.close()
	subjects, err := p.pack(ctx, &b, v, provenance.File(filepath.Base(p.opt.Out), m.Image.SHA256))
	if err != nil {
		return err
	}
	list, err := p.documents(v, m, l, subjects)
	if err != nil {
		return err
	}
	for _, d := range list {
		f, err := b.create(d.name)
		if err != nil {
			return err
		}
		if _, err := f.Write(d.data); err != nil {
			return err
		}
	}
	return b.commit()
}

// batch is a list of files that get their final names together.
type batch []*atomicfile.File

func (b *batch) create(name string) (*atomicfile.File, error) {
	f, err := atomicfile.Create(name, 0o644)
	if err == nil {
		*b = append(*b, f)
	}
	return f, err
}

// commit renames the files in order. An old manifest stays until the last rename; beside a
// new image, it does not match and so vouches for nothing.
func (b *batch) commit() error {
	for _, f := range *b {
		if err := f.Ready(); err != nil {
			return err
		}
	}
	var named []string
	for _, f := range *b {
		err := f.Commit()
		if err != nil && named != nil {
			return fmt.Errorf("only %s is new, what else lies beside it is of an earlier build; build again: %w", strings.Join(named, ", "), err)
		}
		if err != nil {
			return err
		}
		named = append(named, f.Target())
	}
	return nil
}

func (b *batch) close() {
	for _, f := range *b {
		f.Close()
	}
}

// variant is the image in another format.
type variant struct {
	name   string
	format compress.Format
}

// variants lists the formats that the options ask for in addition to the raw image.
func (p *plan) variants() []variant {
	var list []variant
	if p.opt.Compress != "" {
		list = append(list, p.variant(compress.Format(p.opt.Compress)))
	}
	if p.opt.QCOW2 {
		list = append(list, p.variant(compress.QCOW2))
	}
	return list
}

func (p *plan) variant(f compress.Format) variant { return variant{p.opt.Out + "." + string(f), f} }

// pack writes the variants. It returns everything that a user may download: the raw image
// and the variants.
func (p *plan) pack(ctx context.Context, b *batch, v *volume, image provenance.Resource) ([]provenance.Resource, error) {
	all := []provenance.Resource{image}
	for _, form := range p.variants() {
		f, err := b.create(form.name)
		if err != nil {
			return nil, err
		}
		h := sha256.New()
		if err := compress.Write(ctx, io.MultiWriter(f, h), form.format, v.file, v.layout.Size, p.opt.Progress); err != nil {
			return nil, fmt.Errorf("write %s: %w", form.name, err)
		}
		all = append(all, provenance.File(filepath.Base(form.name), hex.EncodeToString(h.Sum(nil))))
	}
	return all, nil
}

// document is a file beside the image.
type document struct {
	name string
	data []byte
}

// documents returns the other files beside the image, the manifest last. subjects are the
// image and its variants.
func (p *plan) documents(v *volume, m *manifest.Manifest, l *lock.Lock, subjects []provenance.Resource) ([]document, error) {
	var bmap bytes.Buffer
	if _, err := v.bmap.WriteTo(&bmap); err != nil {
		return nil, err
	}
	locked, err := l.Marshal()
	if err != nil {
		return nil, err
	}
	out := p.opt.Out
	list := []document{{out + disk.MapSuffix, bmap.Bytes()}, {out + LockSuffix, locked}}
	for _, s := range subjects[1:] { // in the format of sha256sum(1)
		list = append(list, document{filepath.Join(filepath.Dir(out), s.Name) + verify.SumSuffix, fmt.Appendf(nil, "%s  %s\n", s.Digest["sha256"], s.Name)})
	}
	add := func(suffix string, encode func() ([]byte, error)) error {
		data, err := encode()
		list = append(list, document{out + suffix, data})
		return err
	}
	if p.opt.SBOM {
		err = errors.Join(
			add(spdxSuffix, func() ([]byte, error) { return sbom.SPDX(m) }),
			add(cycloneDXSuffix, func() ([]byte, error) { return sbom.CycloneDX(m) }))
	}
	sum := sha256.Sum256(locked)
	from := provenance.File(filepath.Base(out)+LockSuffix, hex.EncodeToString(sum[:]))
	return list, errors.Join(err,
		add(provenance.Suffix, func() ([]byte, error) { return provenance.Encode(m, from, subjects...) }),
		add(manifest.Suffix, m.Encode))
}
