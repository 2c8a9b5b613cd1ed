// Package imagetest makes images for tests: as small as a FAT32 allows, but
// whole, with everything beside them that a build leaves there.
package imagetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"maps"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/codec"
	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/firstboot/slot"
	"github.com/going-mobile/imagebuilder/image/disk"
	"github.com/going-mobile/imagebuilder/image/fat"
	"github.com/going-mobile/imagebuilder/image/manifest"
	"github.com/going-mobile/imagebuilder/image/progress"
	"github.com/going-mobile/imagebuilder/image/provenance"
	"github.com/going-mobile/imagebuilder/image/squashfs"
	"github.com/going-mobile/imagebuilder/image/tree"
)

const mib = 1 << 20

// Version and Kernel are every image's.
const (
	Version = "2025.3"
	Kernel  = "6.12.57-test"
)

// Layout is that of every image: a boot partition at 1 MiB and a root at 34.
func Layout(scheme contract.Scheme) (disk.Layout, error) {
	l := disk.Layout{Scheme: scheme, ID: disk.Signature("test"), Partitions: []disk.Partition{
		{Size: 33 * mib, Type: scheme.BootType()}, {Size: 2 * mib, Type: contract.TypeLinux}}}
	if scheme == contract.GPT {
		l.ID = disk.GUID("test")
		l.Partitions[0].Name, l.Partitions[0].UUID = "esp", disk.GUID("esp")
		l.Partitions[1].Name, l.Partitions[1].UUID, l.Partitions[1].Type = contract.NameRootA, disk.GUID("root"), contract.TypeRootAMD64
	}
	return disk.Arrange(l, disk.Align)
}

// Write makes the image name for a board, and with beside its manifest, block
// map and provenance.
func Write(name, board string, scheme contract.Scheme, beside bool) error {
	l, err := Layout(scheme)
	if err != nil {
		return err
	}
	label, err := contract.Label{Version: 1, Board: board, Arch: "arm64", ImageVersion: Version, Kernel: Kernel, DiskID: l.ID, Storage: contract.Storage}.Encode()
	if err != nil {
		return err
	}
	content := startsSlotA(l)
	maps.Copy(content, map[string]string{
		contract.LabelFile: string(label), node.FileName: strings.Repeat("\n", node.ReservedSize), "config.txt": "arm_64bit=1\n",
		node.StatusFile:     string(node.PadStatus([]byte("This node was never started.\r\n"))),
		contract.StageFile:  string(contract.Stage{Reached: "It was never started."}.Encode()),
		contract.ReportFile: string(contract.PadReport([]byte("This node was never started.\r\n")))})
	boot, err := files(content)
	if err != nil {
		return err
	}
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer f.Close()
	w := disk.NewRecorder(f)
	if err := errors.Join(f.Truncate(l.Size), disk.Write(w, l), writeRoot(l.Partitions[1], w),
		fat.Write(l.Partitions[0].Writer(w), boot, fat.Options{Size: l.Partitions[0].Size, Label: "TEST"})); err != nil {
		return err
	}
	if beside {
		err = writeBeside(f, w.Extents(), board)
	}
	return errors.Join(err, f.Close())
}

// startsSlotA is what a boot loader starts: U-Boot or, from a GPT, systemd-boot.
func startsSlotA(l disk.Layout) map[string]string {
	args := contract.Args{Slot: "a", DiskID: l.ID, SlotSize: 64 * mib}.Encode() + " quiet\n"
	name, text := slot.Cmdline, "bootargs="+args
	if l.Scheme == contract.GPT {
		name, text = slot.Entry, "title Test (slot a)\nlinux /a/vmlinuz\ninitrd /a/initrd.img\noptions "+args
	}
	return map[string]string{
		slot.Place(slot.Kernel, "a", 1): "kernel", slot.Place(slot.Initrd, "a", 1): "initramfs", slot.Place(name, "a", 1): text,
	}
}

func files(content map[string]string) (*tree.Tree, error) {
	t := tree.New()
	for name, text := range content {
		if dir := path.Dir(name); dir != "." {
			if err := t.MkdirAll(dir, time.Unix(1, 0), "test"); err != nil {
				return nil, err
			}
		}
		if err := t.Add(&tree.Node{Path: name, Mode: 0o644, Content: tree.String(text), Source: "test"}); err != nil {
			return nil, err
		}
	}
	return t, nil
}

func writeRoot(p disk.Partition, w *disk.Recorder) error {
	var noise strings.Builder // of which compression leaves something
	for i := range 1 << 18 {
		noise.WriteByte(byte(i * i >> 7))
	}
	root, err := files(map[string]string{"noise": noise.String()})
	if err != nil {
		return err
	}
	var out inMemory
	size, err := squashfs.Write(context.Background(), &out, root, squashfs.Options{ModTime: time.Unix(1, 0)})
	if err != nil {
		return err
	}
	sum := contract.RootSum{Size: size, SHA256: sha256.Sum256(out.data)}
	_, err = p.Writer(w).WriteAt(append(out.data, sum.Encode()...), 0)
	return err
}

// inMemory is what was written.
type inMemory struct{ data []byte }

func (m *inMemory) WriteAt(b []byte, off int64) (int, error) {
	if end := off + int64(len(b)); end > int64(len(m.data)) {
		m.data = append(m.data, make([]byte, end-int64(len(m.data)))...)
	}
	return copy(m.data[off:], b), nil
}

func writeBeside(f *os.File, mapped []disk.Extent, board string) error {
	m, err := disk.Scan(context.Background(), f, mapped, progress.Discard.Start("", "", 0))
	if err != nil {
		return err
	}
	made := &manifest.Manifest{Version: 1, Builder: "test", Codec: codec.Name(), Timestamp: time.Unix(1, 0).UTC(), Image: manifest.Image{
		Board: board, Arch: "arm64", ID: contract.ImageID(board), Version: Version, Size: m.Size, SHA256: m.SHA256}}
	var bmap bytes.Buffer
	_, err = m.WriteTo(&bmap)
	text, err2 := made.Encode()
	statement, err3 := provenance.Encode(made, provenance.File("lock", m.SHA256), provenance.File(filepath.Base(f.Name()), m.SHA256))
	return errors.Join(err, err2, err3, os.WriteFile(f.Name()+disk.MapSuffix, bmap.Bytes(), 0o644),
		os.WriteFile(f.Name()+manifest.Suffix, text, 0o644), os.WriteFile(f.Name()+provenance.Suffix, statement, 0o644))
}
