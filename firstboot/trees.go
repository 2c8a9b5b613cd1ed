package firstboot

import (
	"errors"
	"path"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/firstboot/vault"
)

// The directories that the step storage encrypts, all with one key.

// trees are the directories to encrypt. The one on Longhorn's disk comes first: as soon as
// those on /var are open, systemd may start k3s.
func (m *machine) trees() ([]string, error) {
	all := []string{vaultDir, "/" + contract.SharesDir, "/var/lib/rancher", "/var/lib/kubelet", "/var/log/pods"}
	if m.cfg.Longhorn.Disk == (node.Disk{}) {
		return append(all, longhornDir), nil
	}
	on, err := m.Disks.Mounted(longhornDir)
	if err != nil || on == nil || on.Lost {
		return all, err
	}
	if foreign, err := m.foreignVolumes(); err != nil || foreign { // the step longhorn reports it
		return all, err
	}
	return append([]string{volumesDir}, all...), nil
}

// volumesDir is where Longhorn keeps volumes on its own disk if that is encrypted: the root
// of a file system cannot be encrypted (ext4_set_context).
const volumesDir = longhornDir + "/encrypted"

// foreignVolumes reports whether Longhorn's disk was encrypted with another key than this
// node's, as by an earlier installation. Nothing can open that, and nothing else waits for
// it.
func (h *Host) foreignVolumes() (bool, error) {
	theirs, err := h.Crypt.KeyOf(volumesDir)
	if err != nil || theirs == "" {
		return false, err
	}
	own, err := h.Crypt.KeyOf(vaultDir)
	return own != theirs, err
}

func (m *machine) treesOpen() (bool, error) {
	trees, err := m.trees()
	if err != nil {
		return false, err
	}
	for _, dir := range trees {
		if open, err := m.isOpen(dir); err != nil || !open {
			return false, err
		}
	}
	return true, nil
}

// isOpen reports whether a directory is encrypted and its key is there.
func (h *Host) isOpen(dir string) (bool, error) {
	id, err := h.Crypt.KeyOf(dir)
	if err != nil || id == "" {
		return false, err
	}
	return h.Crypt.IsOpen(dir, id)
}

func (m *machine) encryptTrees(k shares) error {
	key, err := vault.Key(k.disk, k.peer)
	if err != nil {
		return problem("storage-lost", storageFile).because(err)
	}
	trees, err := m.trees()
	if err != nil {
		return err
	}
	for _, dir := range trees {
		if err := m.encryptTree(dir, key); err != nil {
			return err
		}
	}
	return nil
}

func (m *machine) encryptTree(dir string, key []byte) error {
	id, err := m.Crypt.Open(path.Dir(dir), key)
	if errors.Is(err, ErrNoCrypt) {
		return problem("storage-none", dir).because(err)
	}
	if err != nil {
		return err
	}
	have, err := m.Crypt.KeyOf(dir)
	switch {
	case err != nil || have == id:
		return err
	case have != "":
		return problem("storage-lost", dir)
	}
	if err := m.checkEmpty(dir); err != nil {
		return err
	}
	return m.Crypt.Encrypt(dir, id)
}
