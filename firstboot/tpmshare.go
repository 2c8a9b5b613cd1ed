package firstboot

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"

	"gopkg.in/yaml.v3"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/secret"
	"github.com/going-mobile/imagebuilder/firstboot/vault"
)

// If the machine has a TPM 2.0, the TPM seals the disk's share, and gives it back while
// Secure Boot is as it was (package tpm). A firmware update may change that, and a
// mainboard may die. So there is a spare: combined with what lies on the disk, it gives the
// share again. The holders have the spare, and give it only on the owner's word
// ("imagebuilder unlock"), once per word.

// sealedShare is the disk's share in storageFile, sealed by the TPM.
type sealedShare struct {
	Sealed string        `yaml:"sealed"` // what the TPM unseals, in base64
	Proof  string        `yaml:"proof"`  // digest of the share's proof, as the holders know it
	Rest   secret.String `yaml:"rest"`   // combined with the spare it gives the share
	Spare  string        `yaml:"spare"`  // digest of the spare
}

// sealShare returns s with its share sealed by the TPM.
func (m *machine) sealShare(s *storage, k shares) (*storage, error) {
	sealed, err := m.TPM.Seal([]byte(k.disk.Reveal()))
	if err != nil {
		return nil, err
	}
	proof, err := vault.Proof(k.disk)
	if err != nil {
		return nil, err
	}
	rest, err := vault.Combine(k.disk, k.spare)
	if err != nil {
		return nil, err
	}
	return &storage{
		Version: contract.StorageSealed, ID: s.ID, Holders: s.Holders,
		TPM: &sealedShare{Sealed: base64.StdEncoding.EncodeToString(sealed), Proof: vault.Digest(proof), Rest: rest, Spare: vault.Digest(k.spare)},
	}, nil
}

// unsealShare has the TPM give back the share.
func (h *Host) unsealShare(t *sealedShare) (secret.String, error) {
	sealed, err := base64.StdEncoding.DecodeString(t.Sealed)
	if err != nil {
		return "", errors.New("what it sealed is damaged")
	}
	share, err := h.TPM.Unseal(sealed)
	if err != nil {
		return "", err
	}
	return t.checked(secret.String(share), nil)
}

// checked returns the share if it is the right one, by its proof, and else an error.
func (t *sealedShare) checked(share secret.String, err error) (secret.String, error) {
	if err != nil {
		return "", err
	}
	proof, err := vault.Proof(share)
	if err == nil && vault.Digest(proof) != t.Proof {
		err = errOther
	}
	if err != nil {
		return "", err
	}
	return share, nil
}

// diskShare returns the disk's share: as it lies on the disk, or unsealed by the TPM, or
// made with the spare. An open node has the spare; otherwise the holders are asked for it.
func (m *machine) diskShare(ctx context.Context, s *storage) (secret.String, error) {
	if s.TPM == nil {
		return s.Disk, nil
	}
	spare := cmp.Or(m.ownSpare(s), m.givenSpare(s))
	if spare.Empty() {
		share, fault := m.unsealShare(s.TPM)
		if fault == nil {
			return share, nil
		}
		var err error
		if spare, err = m.askSpare(ctx, s, fault); err != nil {
			return "", err
		}
		if m.spare != nil {
			*m.spare = spare
		}
		if err := m.write(file{path: agreedFile, data: []byte(s.TPM.Spare), mode: 0o600}); err != nil {
			return "", err
		}
	}
	share, err := s.TPM.checked(vault.Combine(s.TPM.Rest, spare))
	if err != nil {
		return "", problem("storage-lost", storageFile).because(err)
	}
	return share, nil
}

// ownSpare is empty while the node is locked.
func (h *Host) ownSpare(s *storage) secret.String { return h.ownShare(spareShare, s.TPM.Spare) }

// givenSpare returns the spare that the owner's word has brought since this program
// started. It must be remembered: the word is used up, and the other share may need a word
// as well, if the node is at another place.
func (m *machine) givenSpare(s *storage) secret.String {
	if m.spare == nil || vault.Digest(*m.spare) != s.TPM.Spare {
		return ""
	}
	return *m.spare
}

// askSpare asks the holders for the spare. If none gives it, the error also says why the
// TPM does not give the share.
func (m *machine) askSpare(ctx context.Context, s *storage, fault error) (secret.String, error) {
	spare, faults, err := m.askEach(ctx, s, s.TPM.Spare, s.TPM.Rest)
	if err != nil || !spare.Empty() {
		return spare, err
	}
	waits := false
	for _, err := range faults {
		var no *vault.Refusal
		if errors.As(err, &no) && no.Why == vault.Revoked {
			return "", problem("share-revoked").because(err)
		}
		waits = waits || no != nil && no.Waits()
	}
	all := append([]error{fmt.Errorf("this machine's TPM: %w", fault)}, faults...)
	if !waits {
		return "", problem("share-nobody", sentence(all)).because(errors.Join(all...))
	}
	return "", m.tpmProblem(fault).because(errors.Join(all...))
}

// tpmProblem returns the Problem of a TPM that does not give the share.
func (m *machine) tpmProblem(fault error) *Problem {
	switch {
	case errors.Is(fault, ErrTPMChanged):
		return problem("tpm-changed", m.cfg.Node)
	case errors.Is(fault, ErrOtherTPM):
		return problem("tpm-other", m.cfg.Node)
	case errors.Is(fault, ErrNoTPM):
		return problem("tpm-none", m.cfg.Node)
	}
	return problem("tpm-failed", fault.Error(), m.cfg.Node)
}

// mayLeave reports whether the other slot's system may be the next to open the data: this
// one is on trial, or that one is about to be. It was checked that it can open them as they
// are kept now, so that must not change.
func (m *machine) mayLeave(ctx context.Context) (bool, error) {
	trial, err := m.Slot.Trial(ctx)
	if err != nil || trial != nil {
		return true, err
	}
	return m.Slot.Leaving(ctx)
}

// resealed returns how an open node's storage should be, and its shares. It returns s
// itself if the TPM opens it, or if there is no TPM that works (the doctor says so). It
// also does while there may be a change of slots: the other system opens what it sealed
// itself, or knows of no TPM. The error says why the TPM will not give back the share at
// the next start. A TPM whose state was changed gets the share only if the owner's word has
// let the node in.
func (m *machine) resealed(ctx context.Context, s *storage, peer secret.String) (*storage, shares, error) {
	k, refusal, err := m.openShares(s)
	k.peer = peer
	if err != nil {
		return s, k, err
	}
	if s.TPM != nil && (refusal == nil || !m.agreed(s)) {
		return s, k, refusal
	}
	if other, err := m.mayLeave(ctx); err != nil || other {
		return s, k, errors.Join(refusal, err)
	}
	if next, err := m.sealShare(s, k); err == nil {
		return next, k, nil
	}
	return s, k, refusal
}

// openShares finds an open node's disk share and spare; it makes a spare if the share is
// not sealed. refusal is why the TPM does not give back what it sealed.
func (m *machine) openShares(s *storage) (k shares, refusal, err error) {
	if s.TPM == nil {
		k.disk = s.Disk
		k.spare, err = vault.NewShare(m.Random)
		return k, nil, err
	}
	if k.disk, refusal = m.unsealShare(s.TPM); refusal == nil {
		k.spare, err = vault.Combine(s.TPM.Rest, k.disk)
		return k, nil, err
	}
	k.spare = m.ownSpare(s)
	k.disk, err = s.TPM.checked(vault.Combine(s.TPM.Rest, k.spare))
	return k, refusal, err
}

// agreedFile has the digest of the spare, if the owner's word brought it in this boot.
const agreedFile = runDir + "/agreed"

func (h *Host) agreed(s *storage) bool {
	id, err := h.read(agreedFile)
	return err == nil && string(id) == s.TPM.Spare
}

// replaceStorage replaces storageFile by one that the TPM has sealed. A holder has the
// spare already.
func (m *machine) replaceStorage(next *storage, k shares) error {
	text, err := yaml.Marshal(next)
	if err != nil {
		return err
	}
	if err := m.keep(spareShare, k.spare); err != nil {
		return err
	}
	if err := m.write(file{path: storageNext, data: text, mode: 0o600}); err != nil {
		return err
	}
	return m.settleStorage()
}

// settleStorage moves storageNext into the place of storageFile. First it overwrites the
// bytes of storageFile: they may have the share, or what the TPM unseals under an older
// firmware. It moves the file and does not copy it, so that its bytes can be overwritten
// later, too.
func (m *machine) settleStorage() error {
	if next, err := m.exists(storageNext); err != nil || !next {
		return err
	}
	old, err := m.Files.Stat(storageFile)
	if err != nil {
		return err
	}
	if err := m.Files.Overwrite(storageFile, bytes.Repeat([]byte("#"), int(old.Size()))); err != nil {
		return err
	}
	return m.Files.Rename(storageNext, storageFile)
}

// storageText returns nil if there is neither file. storageNext counts first: while it
// replaces storageFile, that one may be overwritten already.
func (h *Host) storageText() ([]byte, error) {
	for _, name := range []string{storageNext, storageFile} {
		if text, err := h.read(name); !errors.Is(err, fs.ErrNotExist) {
			return text, err
		}
	}
	return nil, nil
}

// DiskShare reports whether the data are encrypted, and whether the TPM has sealed the
// disk's share. fault is why it would not give that back at the next start or, if it has
// not sealed it, why it cannot.
func (h *Host) DiskShare() (encrypted, sealed bool, fault error) {
	s, err := h.readStorage()
	switch {
	case err != nil:
		return true, false, err
	case s == nil:
		return false, false, nil
	case s.TPM != nil:
		_, err := h.unsealShare(s.TPM)
		return true, true, err
	}
	_, err = h.TPM.Seal(make([]byte, vault.ShareSize))
	return true, false, err
}
