package firstboot

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"

	"gopkg.in/yaml.v3"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/firstboot/secret"
	"github.com/going-mobile/imagebuilder/firstboot/vault"
)

// storage: if node.yaml asks for it, everything that the cluster keeps on this node is
// encrypted before the first of it is written. The key is made of two shares. One is on
// this disk. The other is with holders at other sites, and on this node inside the
// encrypted data, so that holders that were away can get it later.
//
// If power fails before the disk's share is written, all that is left is a share at a
// holder that nobody uses. After that, the step goes on with the disk's share and what the
// holders have.

const (
	storageFile = stateDir + "/storage.yaml" // the disk's share; once it is there, the node is encrypted
	storageNext = stateDir + "/storage-next.yaml"
	vaultDir    = "/var/lib/imagebuilder/vault"
	peerShare   = vaultDir + "/share.yaml"
	spareShare  = vaultDir + "/spare.yaml"
	keptConfig  = vaultDir + "/k3s.yaml" // k3s' settings, which the own copy of node.yaml must not have
	etcRancher  = "/etc/rancher"         // has the token and k3s' settings
	rancherDir  = vaultDir + "/rancher"  // where an encrypted node has them instead
	holdFile    = "/" + contract.HoldFile
)

// storage is the content of storageFile: with the disk's share itself, or with it sealed by
// the TPM.
type storage struct {
	Version int           `yaml:"version"` // see contract.StorageNone
	Disk    secret.String `yaml:"disk,omitempty"`
	TPM     *sealedShare  `yaml:"tpm,omitempty"`
	ID      string        `yaml:"id"` // the digest of the peers' share
	// Holders is from the node.yaml that encryption began with, for a later one that names
	// none.
	Holders node.Storage `yaml:"holders"`
}

// holders returns those of today's node.yaml or, if it names none, those of s.
func (m *machine) holders(s *storage) node.Storage {
	if len(m.cfg.Storage.Holders) > 0 {
		return m.cfg.Storage
	}
	return s.Holders
}

func (s *storage) whole() bool {
	if s.TPM == nil {
		return s.Version == contract.StorageShares && !s.Disk.Empty() && s.ID != ""
	}
	return s.Version == contract.StorageSealed && s.Disk.Empty() && s.ID != ""
}

// encrypted reports whether this node's data are encrypted, whatever node.yaml says today.
func (h *Host) encrypted() (bool, error) { return h.exists(storageFile) }

// encrypts reports whether the data are encrypted, or are to be.
func (m *machine) encrypts() (bool, error) {
	is, err := m.encrypted()
	return is || m.cfg.Storage.Encrypt, err
}

func (h *Host) readStorage() (*storage, error) {
	text, err := h.storageText()
	if text == nil && err == nil {
		return nil, nil
	}
	if version, ok := storageVersion(text); ok && version > contract.Storage { // whoever takes the share for lost loses it
		return nil, problem("storage-newer", storageFile)
	}
	var s storage
	if err == nil {
		err = yaml.Unmarshal(text, &s)
	}
	if err == nil && !s.whole() {
		err = errors.New("it is damaged")
	}
	if err != nil { // yaml's own error may quote what is there
		return nil, problem("storage-lost", storageFile).because(fmt.Errorf("%s cannot be read", storageFile))
	}
	return &s, nil
}

// storageVersion returns the version in storageFile's text, whatever else is there. It is
// not ok if the text is damaged.
func storageVersion(text []byte) (version int, ok bool) {
	var s struct{ Version int }
	err := yaml.Unmarshal(text, &s) // an error that may quote what is there
	return s.Version, err == nil && s.Version >= contract.StorageShares
}

func (m *machine) storageDone(ctx context.Context) (bool, error) {
	if ok, err := m.storageLaid(); err != nil || !ok {
		return false, err
	}
	return m.converged(m.holdGroup())
}

// storageLaid reports whether all that is to be encrypted is, and is open.
func (m *machine) storageLaid() (bool, error) {
	wanted, err := m.encrypts()
	if err != nil || !wanted {
		return err == nil, err
	}
	if is, err := m.encrypted(); err != nil || !is {
		return false, err
	}
	if ok, err := m.storesOpen(); err != nil || !ok {
		return false, err
	}
	if ok, err := m.exists(peerShare); err != nil || !ok {
		return false, err
	}
	return m.rancherLaid()
}

// storesOpen reports whether the trees are open and hold what the running slot may work
// with.
func (m *machine) storesOpen() (bool, error) {
	if ok, err := m.treesOpen(); err != nil || !ok {
		return false, err
	}
	waits, err := m.Slot.Stores()
	return !waits, err
}

// volumesLaid reports whether a disk for Longhorn is as open as the rest. While the rest is
// locked, the disk can wait.
func (m *machine) volumesLaid() (bool, error) {
	s, err := m.readStorage()
	if err != nil || s == nil || m.ownPeerShare(s).Empty() {
		return err == nil, err
	}
	if foreign, err := m.foreignVolumes(); err != nil || foreign {
		return false, err
	}
	return m.treesOpen()
}

func (m *machine) storageDo(ctx context.Context) error {
	if laid, err := m.storageLaid(); err != nil {
		return err
	} else if !laid {
		if err := m.openStorage(ctx); err != nil {
			return err
		}
	}
	return m.converge(ctx, m.holdGroup())
}

// openStorage makes the key, or gets its shares back, and opens what it encrypts.
func (m *machine) openStorage(ctx context.Context) error {
	if err := m.settleStorage(); err != nil {
		return err
	}
	s, err := m.readStorage()
	if err != nil {
		return err
	}
	var k shares
	if s == nil {
		k, err = m.beginStorage(ctx)
	} else {
		k, err = m.bringShares(ctx, s)
	}
	if err != nil {
		return err
	}
	if err := m.encryptTrees(k); err != nil {
		return err
	}
	if waits, err := m.Slot.Stores(); err != nil {
		return err
	} else if waits { // k3s does not start before this: see storageShut
		if err := m.Slot.OpenStores(); err != nil {
			return err
		}
	}
	if err := m.layVault(k); err != nil {
		return err
	}
	now, err := load(m.Files) // k3s' settings can be read from here on
	if err == nil {
		now.notice = cmp.Or(now.notice, m.notice) // notices about the machine, which were found before
		*m.given = *now
	}
	return err
}

// beginStorage makes sure that nothing lies in the clear that should not. Then it makes the
// shares, and gives one of them to a holder before the other is written.
func (m *machine) beginStorage(ctx context.Context) (shares, error) {
	if err := errors.Join(m.checkFresh(), m.checkRoom(), m.checkStays(ctx)); err != nil {
		return shares{}, err
	}
	k, err := m.newShares()
	if err != nil {
		return shares{}, err
	}
	s := &storage{Version: contract.StorageShares, Disk: k.disk, ID: vault.Digest(k.peer), Holders: m.cfg.Storage}
	if sealed, err := m.sealShare(s, k); err == nil {
		s = sealed
	} else { // there is no TPM, or none that works: renew tries again
		k.spare = ""
	}
	if faults, err := m.deposit(ctx, s, k); err != nil {
		return shares{}, err
	} else if len(faults) == len(m.cfg.Storage.Holders) {
		return shares{}, problem("share-nobody", sentence(faults)).because(errors.Join(faults...))
	}
	text, err := yaml.Marshal(s)
	if err != nil {
		return shares{}, err
	}
	return k, m.write(file{path: storageFile, data: text, mode: 0o600})
}

// shares are those of an open node. disk and peer make the key; spare is set if a TPM is to
// keep the disk's share.
type shares struct{ disk, peer, spare secret.String }

func (m *machine) newShares() (k shares, err error) {
	for _, s := range []*secret.String{&k.peer, &k.disk, &k.spare} {
		if *s, err = vault.NewShare(m.Random); err != nil {
			return shares{}, err
		}
	}
	return k, nil
}

// bringShares finds the shares of a node that is encrypted already.
func (m *machine) bringShares(ctx context.Context, s *storage) (k shares, err error) {
	if k.disk, err = m.diskShare(ctx, s); err != nil {
		return shares{}, err
	}
	if k.peer, err = m.peerShare(ctx, s, k.disk); err != nil {
		return shares{}, err
	}
	if s.TPM != nil {
		k.spare, err = vault.Combine(k.disk, s.TPM.Rest)
	}
	return k, err
}

// checkFresh refuses a node with data: what was once written in the clear stays on a
// flash disk, whatever is done to its files.
func (m *machine) checkFresh() error {
	trees, err := m.trees()
	if err != nil {
		return err
	}
	if trees[0] == volumesDir { // a disk of its own, which may have been in use before
		trees = append(trees, longhornDir)
	}
	for _, dir := range append(trees, etcRancher) {
		id, err := m.Crypt.KeyOf(dir)
		if err != nil {
			return err
		}
		if id != "" {
			return problem("storage-lost", storageFile)
		}
		if err := m.checkEmpty(dir); err != nil {
			return err
		}
	}
	return nil
}

// checkStays refuses while a change of slots may roll storageFile back, with whatever else
// a trial wrote: the key would be gone, but the data would still be encrypted with it.
func (m *machine) checkStays(ctx context.Context) error {
	trial, err := m.Slot.Trial(ctx)
	if err != nil {
		return err
	}
	if trial != nil {
		return problem("storage-trial")
	}
	leaves, err := m.Slot.Leaving(ctx)
	if err == nil && leaves { // until somebody restarts the node
		err = problem("storage-waits")
	}
	return err
}

// checkEmpty ignores what every file system has, and what the step itself makes.
func (m *machine) checkEmpty(dir string) error {
	inside, err := m.Files.List(dir)
	for _, name := range inside {
		if name != "lost+found" && path.Join(dir, name) != volumesDir {
			return problem("storage-data", dir)
		}
	}
	return err
}

// peerShare returns the share that the holders have. An open node has it as well, and asks
// nobody.
func (m *machine) peerShare(ctx context.Context, s *storage, disk secret.String) (secret.String, error) {
	if peer := m.ownPeerShare(s); !peer.Empty() {
		return peer, nil
	}
	return m.askHolders(ctx, s, disk)
}

// ownPeerShare is empty while the node is locked.
func (h *Host) ownPeerShare(s *storage) secret.String { return h.ownShare(peerShare, s.ID) }

// ownShare returns a share from a file inside the encrypted data, "" if its digest is not id.
func (h *Host) ownShare(name, id string) (share secret.String) {
	text, err := h.read(name)
	if err != nil || yaml.Unmarshal(text, &share) != nil || vault.Digest(share) != id {
		return ""
	}
	return share
}

// holdGroup lets this node answer as a holder of other nodes' shares (package holder).
func (m *machine) holdGroup() group {
	f := file{path: holdFile, mode: 0o600, absent: !m.cfg.Storage.Hold}
	return group{"hold", []file{f}, func(context.Context) error { return nil }}
}

// storageShut returns why k3s must not start: what it writes would lie in the clear, or it
// would find nothing. It returns nil if k3s may start.
func (m *machine) storageShut() error {
	wanted, err := m.encrypts()
	if err != nil || !wanted {
		return err
	}
	if open, err := m.storesOpen(); err != nil || open {
		return err
	}
	return errors.New("the data are encrypted and not open yet")
}
