package tpm

import (
	"bytes"
	"crypto/sha256"
	"errors"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
)

// pcr7 selects PCR 7 in the SHA-256 bank.
var pcr7 = tpm2.TPMLPCRSelection{PCRSelections: []tpm2.TPMSPCRSelection{{Hash: tpm2.TPMAlgSHA256, PCRSelect: tpm2.PCClientCompatible.PCRs(7)}}}

// seal creates an object without a password, so that it can be unsealed even while the TPM is
// locked after somebody's wrong passwords (noDA says the same). Its policy requires PCR 7 as it is
// now.
func (p *parent) seal(t transport.TPM, secret []byte) ([]byte, error) {
	policy, err := policyNow(t)
	if err != nil {
		return nil, err
	}
	made, err := tpm2.Create{
		ParentHandle: p.authorized(),
		InSensitive:  tpm2.TPM2BSensitiveCreate{Sensitive: &tpm2.TPMSSensitiveCreate{Data: tpm2.NewTPMUSensitiveCreate(&tpm2.TPM2BSensitiveData{Buffer: secret})}},
		InPublic: tpm2.New2B(tpm2.TPMTPublic{
			Type: tpm2.TPMAlgKeyedHash, NameAlg: tpm2.TPMAlgSHA256, AuthPolicy: tpm2.TPM2BDigest{Buffer: policy},
			ObjectAttributes: tpm2.TPMAObject{FixedTPM: true, FixedParent: true, NoDA: true},
		}),
	}.Execute(t)
	if err != nil {
		return nil, err
	}
	return bytes.Join([][]byte{tpm2.Marshal(p.name), tpm2.Marshal(made.OutPublic), tpm2.Marshal(made.OutPrivate)}, nil), nil
}

var errBank = errors.New("it has no SHA-256 bank of PCRs; the firmware's setup may have a switch for it")

// policyNow returns the digest of a policy that the present value of PCR 7 satisfies.
func policyNow(t transport.TPM) ([]byte, error) {
	read, err := tpm2.PCRRead{PCRSelectionIn: pcr7}.Execute(t)
	if err != nil {
		return nil, err
	}
	if d := read.PCRValues.Digests; len(d) != 1 || len(d[0].Buffer) != sha256.Size {
		return nil, errBank
	}
	values := sha256.Sum256(read.PCRValues.Digests[0].Buffer)
	policy, err := tpm2.NewPolicyCalculator(tpm2.TPMAlgSHA256)
	if err == nil {
		err = tpm2.PolicyPCR{PcrDigest: tpm2.TPM2BDigest{Buffer: values[:]}, Pcrs: pcr7}.Update(policy)
	}
	if err != nil {
		return nil, err
	}
	return policy.Hash().Digest, nil
}

// unseal refuses a different parent before it sends anything: see parent.
func (p *parent) unseal(t transport.TPM, sealed []byte) (secret []byte, err error) {
	all, err := parts(sealed)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(all[0], tpm2.Marshal(p.name)) {
		return nil, ErrOther
	}
	handle, name, err := p.load(t, all[1], all[2])
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, flush(t, handle)) }()
	session, end, err := tpm2.PolicySession(t, tpm2.TPMAlgSHA256, nonce, p.salted(), tpm2.AESEncryption(aesBits, tpm2.EncryptOut))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, end()) }()
	if _, err := (tpm2.PolicyPCR{PolicySession: session.Handle(), Pcrs: pcr7}).Execute(t); err != nil {
		return nil, err
	}
	opened, err := tpm2.Unseal{ItemHandle: tpm2.AuthHandle{Handle: handle, Name: name, Auth: session}}.Execute(t)
	if errors.Is(err, tpm2.TPMRCPolicyFail) {
		return nil, ErrChanged
	}
	if err != nil {
		return nil, err
	}
	return opened.OutData.Buffer, nil
}

// load loads a sealed object into the TPM.
func (p *parent) load(t transport.TPM, public, private []byte) (handle tpm2.TPMHandle, name tpm2.TPM2BName, err error) {
	in := tpm2.Load{ParentHandle: p.authorized()}
	pub, err := tpm2.Unmarshal[tpm2.TPM2BPublic](public)
	if err != nil {
		return 0, name, err
	}
	priv, err := tpm2.Unmarshal[tpm2.TPM2BPrivate](private)
	if err != nil {
		return 0, name, err
	}
	in.InPublic, in.InPrivate = *pub, *priv
	loaded, err := in.Execute(t)
	if err != nil {
		return 0, name, err
	}
	return loaded.ObjectHandle, loaded.Name, nil
}

// Parameters of sessions: the size of their nonces in bytes, and of their encryption key in bits.
const (
	nonce   = 16
	aesBits = 128
)

// authorized returns the parent, whose own password is empty, with a session that encrypts what
// goes to the TPM.
func (p *parent) authorized() tpm2.AuthHandle {
	return tpm2.AuthHandle{Handle: p.handle, Name: p.name, Auth: tpm2.HMAC(tpm2.TPMAlgSHA256, nonce, p.salted(), tpm2.AESEncryption(aesBits, tpm2.EncryptIn))}
}

// salted derives a session's key from a salt that only the parent can decrypt.
func (p *parent) salted() tpm2.AuthOption { return tpm2.Salted(p.handle, p.public) }
