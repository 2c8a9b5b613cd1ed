// Package update makes updates of images, signs them with the fleet's key, and
// hands them to nodes over ssh. Against the image that nodes run, what changed in files
// travels, and the rest is copied there.
//
// It refuses an image that is not what lies beside it says, and one without a
// manifest: what goes into a node is known by digest. Whether an update fits a
// node, that node decides. It restarts none.
package update

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"time"

	"aead.dev/minisign"

	"github.com/going-mobile/imagebuilder/firstboot/artifact"
	"github.com/going-mobile/imagebuilder/firstboot/codec"
	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/slot"
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
	if i.Label.Storage > contract.StorageNone {
		m.Components[contract.StorageComponent] = contract.EncodeStorage(i.Label.Storage)
	}
	return m
}

// vouch states whose signature firmware finds.
func (i *Image) vouch(m *artifact.Manifest, files []boot.SlotFile) {
	isUnified := func(f boot.SlotFile) bool { return f.Name == slot.Unified }
	if i.Signer != nil && slices.ContainsFunc(files, isUnified) { // else --sign is for other images
		m.Components[contract.CertificateComponent] = contract.EncodeCertificate(i.Signer.Certificate())
	}
}

// pack packs the root and, behind it, the boot files. Those are read first: they
// come first in the image.
func (i *Image) pack(ctx context.Context, m *artifact.Manifest, base *Image, packer *artifact.Packer, p progress.Reporter) (err error) {
	files, err := boot.SlotFiles(i.open.BootFile, i.Signer)
	if err != nil {
		return err
	}
	old, err := base.startsAs(files)
	if err != nil {
		return err
	}
	i.vouch(m, files)
	r := &root{packer: packer}
	pieces := []run{{size: i.root.Size(), from: travels}}
	if base != nil {
		if pieces, m.Base, err = r.against(i, base); err != nil {
			return err
		}
	}
	r.SectionReader = i.root
	task := p.Start("pack", i.File, i.root.Size())
	m.Root, err = r.pack(ctx, pieces, task)
	task.Done(err)
	if err != nil {
		return err
	}
	for _, f := range files {
		packed, err := packFile(packer, f, old[f.Name], base.patches())
		if err != nil {
			return err
		}
		m.Boot = append(m.Boot, packed)
	}
	if m.Patches() {
		m.Codec = codec.Name()
	}
	return nil
}

// patches says whether nodes that run the image compress as this builder does.
func (i *Image) patches() bool { return i != nil && i.Manifest.Codec == codec.Name() }

func packFile(packer *artifact.Packer, f boot.SlotFile, old []byte, patch bool) (artifact.File, error) {
	unified := f.Name == slot.Unified // of which each slot has another
	if patch && (unified || !bytes.Equal(f.A, old)) {
		if packed, ok, err := repack(packer, f, old); ok || err != nil {
			return packed, err
		}
	}
	if unified {
		old = nil
	}
	return packer.File(f.Name, f.A, f.B, old)
}

// repack packs a file by what is in it, if it is such a one.
func repack(packer *artifact.Packer, f boot.SlotFile, old []byte) (packed artifact.File, ok bool, err error) {
	next, former := whole(f.A), whole(old)
	if f.Name == slot.Unified && old != nil {
		if next, err = unified(f.A); err != nil {
			return packed, false, err
		}
		if former, err = unified(old); err != nil {
			return packed, false, err
		}
	}
	return packer.Repack(f.Name, f.A, f.B, next.Packed, former)
}

// whole is a file all of which is compressed, if it is.
func whole(b []byte) artifact.Former {
	return artifact.Former{File: b, Packed: artifact.Span{Size: int64(len(b))}}
}

func unified(b []byte) (f artifact.Former, err error) {
	initrd, own, err := boot.UnifiedParts(b)
	if err != nil {
		return f, err
	}
	f = artifact.Former{File: b, Packed: artifact.Span(initrd)}
	for _, s := range own {
		f.Own = append(f.Own, artifact.Span(s))
	}
	return f, nil
}

// startsAs reads what the image starts with, of files by which a node may make the next;
// of no image, nothing.
func (i *Image) startsAs(files []boot.SlotFile) (map[string][]byte, error) {
	old := map[string][]byte{}
	for _, f := range files {
		if i == nil || !slices.Contains([]string{slot.Kernel, slot.Initrd, slot.Unified}, f.Name) {
			continue
		}
		data, err := i.open.BootFile(slot.Place(f.Name, "a", 1))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		old[f.Name] = data
	}
	return old, nil
}
