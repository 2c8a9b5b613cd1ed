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

// The disk's share where the machine has a TPM 2.0: that keeps it, and gives it back while
// Secure Boot is as it was (package tpm). A firmware's update may change that, and a
// mainboard dies. So there is a spare: with what lies on the disk, it makes the share again.
// The holders have it, and give it on the owner's word alone ("imagebuilder unlock"), once
// each.

// sealedShare is the disk's share in storageFile.
type sealedShare struct {
	Sealed string        `yaml:"sealed"` // what the TPM opens, in base64
	Proof  string        `yaml:"proof"`  // the digest of the share's proof, as the holders know it
	Rest   secret.String `yaml:"rest"`   // of the share, without the spare
	Spare  string        `yaml:"spare"`  // the spare, by its digest
}

// seal returns s with its share kept by the TPM.
func (m *machine) seal(s *storage, k shares) (*storage, error) {
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

// unseal has the TPM give the share back.
func (h *Host) unseal(t *sealedShare) (secret.String, error) {
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

// checked passes on what is the share.
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

// diskShare is the share on the disk: in the clear, or from the TPM, or by the spare, which
// an open node has.
func (m *machine) diskShare(ctx context.Context, s *storage) (secret.String, error) {
	if s.TPM == nil {
		return s.Disk, nil
	}
	spare := cmp.Or(m.ownSpare(s), m.givenSpare(s))
	if spare.Empty() {
		share, fault := m.unseal(s.TPM)
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
func (h *Host) ownSpare(s *storage) secret.String { return h.kept(spareShare, s.TPM.Spare) }

// givenSpare is one that the owner's word has brought since this program started. The word
// is used up, and the other share may want one of its own: the node is at another place.
func (m *machine) givenSpare(s *storage) secret.String {
	if m.spare == nil || vault.Digest(*m.spare) != s.TPM.Spare {
		return ""
	}
	return *m.spare
}

// askSpare asks the holders for the spare, and says why the TPM does not do.
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

// tpmProblem says why a TPM does not give the share.
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

// mayLeave says whether the other slot's system may be the next to open the data: this one
// is on trial, or that one is about to be. It was asked whether it can as they are kept now.
func (m *machine) mayLeave(ctx context.Context) (bool, error) {
	trial, err := m.Slot.Trial(ctx)
	if err != nil || trial != nil {
		return true, err
	}
	return m.Slot.Leaving(ctx)
}

// resealed is how an open node's storage should be, with its shares: s itself where the TPM
// opens it, or there is none that works (the doctor says so). While there may be a change of
// slots it is left alone: the other one opens what it sealed itself, or knows of no TPM.
// The error says why the next start does without what the TPM keeps. A TPM that was changed
// gets the share where the owner's word let the node in, and from nobody else.
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
	if next, err := m.seal(s, k); err == nil {
		return next, k, nil
	}
	return s, k, refusal
}

// openShares finds an open node's share and spare, a new one for a share in the clear. The
// refusal is why the TPM does not give back what it sealed.
func (m *machine) openShares(s *storage) (k shares, refusal, err error) {
	if s.TPM == nil {
		k.disk = s.Disk
		k.spare, err = vault.NewShare(m.Random)
		return k, nil, err
	}
	if k.disk, refusal = m.unseal(s.TPM); refusal == nil {
		k.spare, err = vault.Combine(s.TPM.Rest, k.disk)
		return k, nil, err
	}
	k.spare = m.ownSpare(s)
	k.disk, err = s.TPM.checked(vault.Combine(s.TPM.Rest, k.spare))
	return k, refusal, err
}

// agreedFile has the spare by its digest, where the owner's word brought it in this boot.
const agreedFile = runDir + "/agreed"

func (h *Host) agreed(s *storage) bool {
	id, err := h.read(agreedFile)
	return err == nil && string(id) == s.TPM.Spare
}

// replaceStorage has the TPM keep the share from now on. A holder has the spare already.
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

// settleStorage puts storageNext in the place of storageFile, whose bytes are written over
// before: the share may be among them, or what the TPM opens for a firmware of before. For
// the same reason it is moved, not copied: what is sealed now is to be written over, too.
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

// storageText is nil where there is none. While one takes the place of the other, the first
// is nothing.
func (h *Host) storageText() ([]byte, error) {
	for _, name := range []string{storageNext, storageFile} {
		if text, err := h.read(name); !errors.Is(err, fs.ErrNotExist) {
			return text, err
		}
	}
	return nil, nil
}

// DiskShare says whether the data are encrypted and the TPM keeps the disk's share, and why
// it would not give that back at the next start, or cannot keep one.
func (h *Host) DiskShare() (encrypted, sealed bool, fault error) {
	s, err := h.readStorage()
	switch {
	case err != nil:
		return true, false, err
	case s == nil:
		return false, false, nil
	case s.TPM != nil:
		_, err := h.unseal(s.TPM)
		return true, true, err
	}
	_, err = h.TPM.Seal(make([]byte, vault.ShareSize))
	return true, false, err
}
