// Package update makes updates of images, signs them with the fleet's key, and
// hands them to nodes over ssh.
//
// It refuses an image that is not what lies beside it says, and one without a
// manifest: what goes into a node is known by digest. Whether an update fits a
// node, that node decides. It restarts none.
package update

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"aead.dev/minisign"

	"github.com/going-mobile/imagebuilder/firstboot/artifact"
	"github.com/going-mobile/imagebuilder/image/authenticode"
	"github.com/going-mobile/imagebuilder/image/boot"
	"github.com/going-mobile/imagebuilder/image/inspect"
	"github.com/going-mobile/imagebuilder/image/progress"
	"github.com/going-mobile/imagebuilder/image/verify"
)

// Image is a built image that was found whole.
type Image struct {
	*verify.Report
	raw  verify.Raw
	open *inspect.Image
	root *io.SectionReader
	temp *os.File // has the root, once it was unpacked
	// Signer signed what firmware starts of it, nil for nobody.
	Signer *authenticode.Signer
}

// Open checks an image, raw or compressed, against what lies beside it.
func Open(ctx context.Context, name string, p progress.Reporter) (*Image, error) {
	report, err := verify.Image(ctx, name, false, p)
	if err != nil {
		return nil, err
	}
	if report.Manifest == nil {
		return nil, fmt.Errorf("%s: its manifest must lie beside it, which says what is in it", name)
	}
	i := &Image{Report: report}
	if i.raw, err = report.Open(); err != nil {
		return nil, err
	}
	if i.open, err = inspect.New(i.raw, report.Size); err == nil {
		i.root, err = i.open.SlotA()
	}
	if err != nil {
		return nil, errors.Join(err, i.raw.Close())
	}
	return i, nil
}

// Close ends the use of the image.
func (i *Image) Close() error {
	err := i.raw.Close()
	if i.temp != nil {
		err = errors.Join(err, i.temp.Close(), os.Remove(i.temp.Name()))
	}
	return err
}

// Write makes an update to the image and signs it. What it shares with base, nil for
// none, nodes copy from what they run: that must be base then.
func Write(ctx context.Context, out io.Writer, i, base *Image, key minisign.PrivateKey, p progress.Reporter) (*artifact.Manifest, error) {
	parts, err := os.CreateTemp("", "imagebuilder-update-")
	if err != nil {
		return nil, err
	}
	defer os.Remove(parts.Name())
	defer parts.Close()
	packer, err := artifact.NewPacker(parts)
	if err != nil {
		return nil, err
	}
	m := i.manifest()
	if err := i.pack(ctx, m, base, packer, p); err != nil {
		return nil, fmt.Errorf("%s: %w", i.File, err)
	}
	if _, err := parts.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	return m, artifact.Write(out, m, key, parts)
}

func (i *Image) manifest() *artifact.Manifest {
	m := &artifact.Manifest{
		Board: i.Label.Board, Arch: i.Label.Arch, Version: i.Label.ImageVersion, DiskID: i.Label.DiskID,
		Made:       i.Manifest.Timestamp.UTC().Truncate(time.Second), // as files have it
		Components: map[string]string{}, Deferred: map[string]string{},
	}
	for _, c := range i.Manifest.Components {
		m.Components[c.Name] = c.Version
		if c.Deferred {
			m.Deferred[c.Name] = c.SHA256
		}
	}
	return m
}

// pack packs the root and, behind it, the boot files. Those are read first: they
// come first in the image.
func (i *Image) pack(ctx context.Context, m *artifact.Manifest, base *Image, packer *artifact.Packer, p progress.Reporter) (err error) {
	files, err := boot.SlotFiles(i.open.BootFile, i.Signer)
	if err != nil {
		return err
	}
	pieces := []run{{0, i.root.Size(), travels}}
	if base != nil {
		if pieces, m.Base, err = i.against(base); err != nil {
			return err
		}
	}
	task := p.Start("pack", i.File, i.root.Size())
	m.Root, err = packRoot(ctx, i.root, pieces, packer, task)
	task.Done(err)
	if err != nil {
		return err
	}
	for _, f := range files {
		packed, err := packer.File(f.Name, f.A, f.B)
		if err != nil {
			return err
		}
		m.Boot = append(m.Boot, packed)
	}
	return nil
}

// against compares the image with the one that nodes run.
func (i *Image) against(base *Image) ([]run, *artifact.Base, error) {
	if err := errors.Join(i.unpack(), base.unpack()); err != nil {
		return nil, nil, err
	}
	whole := sha256.New()
	size, err := io.Copy(whole, io.NewSectionReader(base.root, 0, base.root.Size()))
	if err != nil {
		return nil, nil, err
	}
	pieces, err := runs(i.root, base.root)
	return pieces, &artifact.Base{Size: size, SHA256: hex.EncodeToString(whole.Sum(nil))}, err
}

func packRoot(ctx context.Context, root io.ReaderAt, pieces []run, packer *artifact.Packer, task progress.Task) (c artifact.Content, err error) {
	whole, buf := sha256.New(), make([]byte, artifact.MaxPart)
	for _, r := range pieces {
		for done := int64(0); done < r.size; {
			b := buf[:min(artifact.MaxPart, r.size-done)]
			if _, err := root.ReadAt(b, r.at+done); err != nil {
				return c, err
			}
			part := artifact.Copy(b, r.from+done)
			if r.from == travels {
				part, err = packer.Data(b)
			}
			if err = errors.Join(ctx.Err(), err); err != nil {
				return c, err
			}
			whole.Write(b)
			c.Parts = append(c.Parts, part)
			c.Size += part.Size
			done += part.Size
			task.Add(part.Size)
		}
	}
	c.SHA256 = hex.EncodeToString(whole.Sum(nil))
	return c, nil
}
