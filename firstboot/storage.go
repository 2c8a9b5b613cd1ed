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

// storage: where node.yaml wants it, all that the cluster keeps on this node is
// encrypted before the first of it is written. The key is of two shares: one is on
// this disk, the other with holders at other sites, and here in what it encrypts, so
// that holders who were away get it later.
//
// A power cut before the disk's share is written leaves nothing but a share at a holder
// that nobody uses; after it, the step goes on with what that share and the holders say.

const (
	storageFile = stateDir + "/storage.yaml" // the disk's share; the node is encrypted from then on
	storageNext = stateDir + "/storage-next.yaml"
	vaultDir    = "/var/lib/imagebuilder/vault"
	peerShare   = vaultDir + "/share.yaml"
	spareShare  = vaultDir + "/spare.yaml"
	keptConfig  = vaultDir + "/k3s.yaml" // what the own copy of node.yaml must not have
	etcRancher  = "/etc/rancher"         // the token and k3s' settings
	rancherDir  = vaultDir + "/rancher"  // where they are instead
	holdFile    = "/" + contract.HoldFile
)

// storage is the content of storageFile. It has the disk's share itself, or that sealed.
type storage struct {
	Version int           `yaml:"version"` // see contract.StorageNone
	Disk    secret.String `yaml:"disk,omitempty"`
	TPM     *sealedShare  `yaml:"tpm,omitempty"`
	ID      string        `yaml:"id"` // the peers' share, by its digest
	// Holders is of the node.yaml that began it, for one that says nothing of it any more.
	Holders node.Storage `yaml:"holders"`
}

// holders are those of today's node.yaml, if it has any.
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

// encrypted says whether this node's data are, whatever node.yaml says today.
func (h *Host) encrypted() (bool, error) { return h.exists(storageFile) }

// encrypts says whether they are, or are to be.
func (m *machine) encrypts() (bool, error) {
	is, err := m.encrypted()
	return is || m.cfg.Storage.Encrypt, err
}

func (h *Host) readStorage() (*storage, error) {
	text, err := h.storageText()
	if text == nil && err == nil {
		return nil, nil
	}
	if version, ok := storageVersion(text); ok && version > contract.Storage { // whoever takes it for lost loses it
		return nil, problem("storage-newer", storageFile)
	}
	var s storage
	if err == nil {
		err = yaml.Unmarshal(text, &s)
	}
	if err == nil && !s.whole() {
		err = errors.New("it is damaged")
	}
	if err != nil { // yaml's own words may repeat what is there
		return nil, problem("storage-lost", storageFile).because(fmt.Errorf("%s cannot be read", storageFile))
	}
	return &s, nil
}

// storageVersion is that of what storageFile has, whatever else is there.
func storageVersion(text []byte) (version int, ok bool) {
	var s struct{ Version int }
	err := yaml.Unmarshal(text, &s) // whose own words may repeat what is there
	return s.Version, err == nil && s.Version >= contract.StorageShares
}

func (m *machine) storageDone(ctx context.Context) (bool, error) {
	if ok, err := m.storageLaid(); err != nil || !ok {
		return false, err
	}
	return m.converged(m.holdGroup())
}

// storageLaid says whether all is encrypted that is to be, and open.
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

// storesOpen says whether the trees are, and hold what the running slot may work with.
func (m *machine) storesOpen() (bool, error) {
	if ok, err := m.treesOpen(); err != nil || !ok {
		return false, err
	}
	waits, err := m.Slot.Stores()
	return !waits, err
}

// volumesLaid says whether a disk of Longhorn's is as open as the rest. While that is
// locked it can wait.
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

// openStorage makes the key, or has it given back, and opens what it encrypts.
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
	} else if waits { // k3s does not start before: see storageShut
		if err := m.Slot.OpenStores(); err != nil {
			return err
		}
	}
	if err := m.layVault(k); err != nil {
		return err
	}
	now, err := load(m.Files) // k3s' settings can be read from here on
	if err == nil {
		now.notice = cmp.Or(now.notice, m.notice) // of the machine, which was asked before
		*m.given = *now
	}
	return err
}

// beginStorage wants nothing in the clear that should not be, makes the shares, and
// knows one of them with a holder before the other is written.
func (m *machine) beginStorage(ctx context.Context) (shares, error) {
	if err := errors.Join(m.checkFresh(), m.checkRoom(), m.checkStays(ctx)); err != nil {
		return shares{}, err
	}
	k, err := m.newShares()
	if err != nil {
		return shares{}, err
	}
	s := &storage{Version: contract.StorageShares, Disk: k.disk, ID: vault.Digest(k.peer), Holders: m.cfg.Storage}
	if sealed, err := m.seal(s, k); err == nil {
		s = sealed
	} else { // there is no TPM, or none that works: renew asks again
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

// shares are those of an open node: two make the key, and the spare is there where a TPM
// keeps the disk's.
type shares struct{ disk, peer, spare secret.String }

func (m *machine) newShares() (k shares, err error) {
	for _, s := range []*secret.String{&k.peer, &k.disk, &k.spare} {
		if *s, err = vault.NewShare(m.Random); err != nil {
			return shares{}, err
		}
	}
	return k, nil
}

// bringShares finds those of a node that was encrypted before.
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
	if trees[0] == volumesDir { // a disk that was somebody's, or this node's before
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

// checkStays refuses while a change of slots may roll storageFile away, with what else a
// trial wrote there: the key would be gone, and what it encrypted not.
func (m *machine) checkStays(ctx context.Context) error {
	trial, err := m.Slot.Trial(ctx)
	if err != nil {
		return err
	}
	if trial != nil {
		return problem("storage-trial")
	}
	leaves, err := m.Slot.Leaving(ctx)
	if err == nil && leaves { // which ends when somebody restarts the node
		err = problem("storage-waits")
	}
	return err
}

// checkEmpty passes over what every file system has, and what the step itself makes.
func (m *machine) checkEmpty(dir string) error {
	inside, err := m.Files.List(dir)
	for _, name := range inside {
		if name != "lost+found" && path.Join(dir, name) != volumesDir {
			return problem("storage-data", dir)
		}
	}
	return err
}

// peerShare is what the holders have. An open node has it as well.
func (m *machine) peerShare(ctx context.Context, s *storage, disk secret.String) (secret.String, error) {
	if peer := m.ownPeerShare(s); !peer.Empty() {
		return peer, nil
	}
	return m.askHolders(ctx, s, disk)
}

// ownPeerShare is empty while the node is locked.
func (h *Host) ownPeerShare(s *storage) secret.String { return h.kept(peerShare, s.ID) }

// kept is a share in what is encrypted, by its digest.
func (h *Host) kept(name, id string) (share secret.String) {
	text, err := h.read(name)
	if err != nil || yaml.Unmarshal(text, &share) != nil || vault.Digest(share) != id {
		return ""
	}
	return share
}

// holdGroup lets those answer who keep shares of others' keys (package holder).
func (m *machine) holdGroup() group {
	f := file{path: holdFile, mode: 0o600, absent: !m.cfg.Storage.Hold}
	return group{"hold", []file{f}, func(context.Context) error { return nil }}
}

// storageShut says why k3s must not start: what it writes would lie in the clear, or
// find nothing. nil where it may.
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
