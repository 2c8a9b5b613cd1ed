// Package inspect opens a finished image and reports what is in it, from the image alone:
// partition table, boot files, root file system, packages.
//
// It only reads. It does not trust the image: all the readers that it uses are bounded, and
// return errors rather than guess.
package inspect

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/image/compress"
	"github.com/going-mobile/imagebuilder/image/disk"
	"github.com/going-mobile/imagebuilder/image/fat"
	"github.com/going-mobile/imagebuilder/image/qcow2"
	"github.com/going-mobile/imagebuilder/image/squashfs"
	"github.com/going-mobile/imagebuilder/image/tree"
)

// Image is an open image.
type Image struct {
	r      io.ReaderAt
	close  func() error
	format compress.Format
	Layout disk.Layout
	boot   *fat.FS
	bootAt disk.Partition
}

// Open opens a raw image, one in QEMU's format (qcow2), or a device. For a compressed
// image, the error says how to unpack it.
func Open(name string) (*Image, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	img, err := open(file)
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return img, nil
}

func open(file *os.File) (*Image, error) {
	if info, err := file.Stat(); err == nil && info.IsDir() {
		return nil, errors.New("is a directory; name an image")
	}
	head := make([]byte, 16)
	if _, err := file.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	size, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, err
	}
	var raw io.ReaderAt = file
	format := compress.Detect(head)
	switch format {
	case compress.None:
	case compress.QCOW2:
		disk, err := qcow2.NewReader(file, size)
		if err != nil {
			return nil, err
		}
		raw, size = disk, disk.Size()
	default:
		return nil, fmt.Errorf("is compressed (%s); unpack it first", format)
	}
	img, err := New(raw, size)
	if err == nil {
		img.close, img.format = file.Close, format
	}
	return img, err
}

// New opens an image of size bytes. The caller closes r.
func New(r io.ReaderAt, size int64) (*Image, error) {
	layout, err := disk.Read(r, size)
	if err != nil {
		return nil, fmt.Errorf("is no disk image: %w", err)
	}
	for _, p := range layout.Partitions {
		if boot, err := fat.Open(p.Reader(r)); err == nil {
			return &Image{r: r, Layout: layout, boot: boot, bootAt: p}, nil
		}
	}
	return nil, errors.New("has no boot partition: none of its partitions is FAT32")
}

// Close ends the use of the image and of every tree that was read from it.
func (i *Image) Close() error { return i.close() }

// BootFile returns one file of the boot partition.
func (i *Image) BootFile(path string) ([]byte, error) { return i.boot.ReadFile(path, 256<<20) }

// Root returns the tree of the first squashfs partition, slot a.
func (i *Image) Root() (*tree.Tree, error) {
	var failed []error
	for _, p := range i.Layout.Partitions {
		if p.IsFAT() {
			continue
		}
		fsys, err := squashfs.Open(p.Reader(i.r))
		if err == nil {
			return fsys.Tree()
		}
		failed = append(failed, fmt.Errorf("partition %d: %w", p.Number, err))
	}
	return nil, errors.Join(append(failed, errors.New("no partition holds a squashfs root"))...)
}

// Identity reads the label of the image.
func (i *Image) Identity() (contract.Label, error) {
	data, err := i.boot.ReadFile(contract.LabelFile, contract.MaxLabel)
	if err != nil {
		return contract.Label{}, fmt.Errorf("is no imagebuilder image: %w", err)
	}
	return contract.ParseLabel(data)
}

// Identify is Identity for the name of a raw image. It refuses other formats, because its
// callers go on to use the file's bytes.
func Identify(name string) (contract.Label, error) {
	img, err := Open(name)
	if err != nil {
		return contract.Label{}, err
	}
	defer img.Close()
	if img.format != compress.None {
		return contract.Label{}, fmt.Errorf("%s: is of QEMU's format (%s); name the raw image, or make one: qemu-img convert -O raw", name, img.format)
	}
	id, err := img.Identity()
	if err != nil {
		return contract.Label{}, fmt.Errorf("%s: %w", name, err)
	}
	return id, nil
}
