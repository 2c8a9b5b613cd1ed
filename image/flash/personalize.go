package flash

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/image/atomicfile"
	"github.com/going-mobile/imagebuilder/image/fat"
)

// ErrNotOurs is returned, wrapped, for anything without a boot partition made by
// imagebuilder.
var ErrNotOurs = errors.New("no boot partition of imagebuilder")

// Personalize writes n.YAML over the node.yaml of target: an image file, a disk, a
// partition, or the directory at which a boot partition is mounted. The content is padded
// with newlines to the reserved size and synced to the medium. On an image or a device
// nothing else changes; an image file gets mode 0600 before the secrets are written.
func Personalize(ctx context.Context, target string, n Node) (contract.Label, error) {
	id, err := personalize(ctx, target, n)
	if err != nil {
		return contract.Label{}, fmt.Errorf("personalize %s: %w", target, err)
	}
	return id, nil
}

func personalize(ctx context.Context, target string, n Node) (contract.Label, error) {
	if err := checkLength(n.YAML); err != nil {
		return contract.Label{}, err
	}
	b, err := openBoot(ctx, target, true)
	if err != nil {
		return contract.Label{}, err
	}
	defer b.Close()
	id := b.identity()
	if err := n.isFor(id); err != nil {
		return contract.Label{}, err
	}
	if err := notSpent(b); err != nil {
		return contract.Label{}, err
	}
	return id, b.writeNode(n.YAML)
}

// notSpent refuses an installer stick that has been used: installing removes its boot
// loader.
func notSpent(b boot) error {
	have, err := b.readFile(node.FileName)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if spent, ok := node.ParseInstalled(have); ok {
		return fmt.Errorf("this stick has installed node %s, and no computer starts from it any more: write the image onto it again", spent.Node)
	}
	return nil
}

func (v *volume) writeNode(data []byte) error {
	if !v.t.device {
		if err := atomicfile.Chmod(v.t.f, 0o600); err != nil {
			return fmt.Errorf("keep the node's secrets from other users: %w", err)
		}
	}
	err := fat.Overwrite(v.rw, node.FileName, data)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is gone, as from a node that has joined: write the image again, or mount the boot partition and name that directory", node.FileName)
	}
	if err != nil {
		return err
	}
	return v.t.m.Sync()
}

// writeNode overwrites the existing file, so that it keeps its clusters. A file that an
// editor shortened or firstboot removed gets its full size again.
func (d *directory) writeNode(data []byte) error {
	padded, err := node.PadTo(data, node.ReservedSize)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(d.path, node.FileName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(padded, 0)
	return errors.Join(err, f.Truncate(node.ReservedSize), f.Sync(), f.Close())
}
