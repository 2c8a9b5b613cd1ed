// Package update makes updates from images, signs them with the fleet's key, and sends them
// to nodes over ssh. If the image that the nodes run is given as a base, only changed
// content is sent, and the rest is copied on the node.
//
// It refuses an image that does not match the files beside it, and an image without a
// manifest: everything that goes into a node is known by its digest. Whether an update fits
// a node is decided by the node. This package restarts no node.
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

// Image is a built image that passed verification.
type Image struct {
	*verify.Report
	raw  verify.Raw
	open *inspect.Image
	root *io.SectionReader
	dir  string   // for large temporary files
	temp *os.File // the unpacked root, once it was needed
}

// Open verifies an image, raw or compressed, against the files beside it. Large temporary
// files are made in dir.
func Open(ctx context.Context, name, dir string, p progress.Reporter) (*Image, error) {
	report, err := verify.Image(ctx, name, false, p)
	if err != nil {
		return nil, err
	}
	if report.Manifest == nil {
		return nil, fmt.Errorf("%s: its manifest must lie beside it, which says what is in it", name)
	}
	i := &Image{Report: report, dir: dir}
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

// Close releases the image's files.
func (i *Image) Close() error {
	err := i.raw.Close()
	if i.temp != nil {
		err = errors.Join(err, i.temp.Close(), os.Remove(i.temp.Name()))
	}
	return err
}

// Options for Write.
type Options struct {
	// Base is what the nodes run, nil for anything. Content that the image shares with it is
	// not sent: nodes copy it.
	Base *Image
	// Key is the fleet's, which signs the update.
	Key minisign.PrivateKey
	// Signer signed the image's boot files that the firmware checks, and signs slot b's; nil
	// for an image that was built without one.
	Signer   *authenticode.Signer
	Progress progress.Reporter
}

// Write makes a signed update to an image.
func Write(ctx context.Context, out io.Writer, i *Image, o Options) (*artifact.Manifest, error) {
	parts, err := os.CreateTemp(i.dir, "parts-")
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
	if err := i.pack(ctx, m, packer, o); err != nil {
		return nil, fmt.Errorf("%s: %w", i.File, err)
	}
	if _, err := parts.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	return m, artifact.Write(out, m, o.Key, parts)
}

func (i *Image) manifest() *artifact.Manifest {
	m := &artifact.Manifest{
		Board: i.Label.Board, Arch: i.Label.Arch, Version: i.Label.ImageVersion, DiskID: i.Label.DiskID,
		Made:       i.Manifest.Timestamp.UTC().Truncate(time.Second), // as the manifest file has it
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

// vouch records whose signature the firmware will find; nil is nobody's.
func vouch(m *artifact.Manifest, files []boot.SlotFile, signer *authenticode.Signer) {
	isUnified := func(f boot.SlotFile) bool { return f.Name == slot.Unified }
	if signer != nil && slices.ContainsFunc(files, isUnified) { // otherwise --sign was meant for other images
		m.Components[contract.CertificateComponent] = contract.EncodeCertificate(signer.Certificate())
	}
}

// pack packs the root and, after it, the boot files. The boot files are read first, as they
// come first in the image.
func (i *Image) pack(ctx context.Context, m *artifact.Manifest, packer *artifact.Packer, o Options) (err error) {
	files, err := boot.SlotFiles(i.open.BootFile, o.Signer)
	if err != nil {
		return err
	}
	old, err := o.Base.startsAs(files)
	if err != nil {
		return err
	}
	vouch(m, files, o.Signer)
	r := &root{packer: packer}
	pieces := []run{{size: i.root.Size(), from: travels}}
	if o.Base != nil {
		if pieces, m.Base, err = r.against(i, o.Base); err != nil {
			return err
		}
	}
	r.SectionReader = i.root
	task := o.Progress.Start("pack", i.File, i.root.Size())
	m.Root, err = r.pack(ctx, pieces, task)
	task.Done(err)
	if err != nil {
		return err
	}
	for _, f := range files {
		packed, err := packFile(packer, f, old[f.Name], o.Base.patches())
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

// patches says whether nodes that run the image compress data exactly as this program does,
// so that patches can be used.
func (i *Image) patches() bool { return i != nil && i.Manifest.Codec == codec.Name() }

func packFile(packer *artifact.Packer, f boot.SlotFile, old []byte, patch bool) (artifact.File, error) {
	unified := f.Name == slot.Unified // this file differs between the two slots
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

// repack packs a compressed file by its uncompressed content. ok is false if that is not
// possible.
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

// whole describes a file that is compressed as a whole, if it is compressed at all.
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

// startsAs reads the image's boot files from which a node can make those of the update. A
// nil image has none.
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
