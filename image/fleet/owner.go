package fleet

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"aead.dev/minisign"

	"github.com/going-mobile/imagebuilder/image/owner"
)

// ownerKeyFile is the secret half of the owner's key in SecretsDir.
const ownerKeyFile = "owner.key"

// Signer reads the owner's key, as "fleet init" made it. It signs what nodes accept from
// their owner.
func (f *Fleet) Signer() (minisign.PrivateKey, error) {
	if f.Cluster.OwnerKey == "" {
		return minisign.PrivateKey{}, errors.New("cluster.ownerKey is missing: nodes without it take nothing that is signed")
	}
	r := Ref{File: filepath.Join(SecretsDir, ownerKeyFile)}
	if f.lacks(r) {
		r = Ref{Age: r.File + ".age"}
	}
	if f.lacks(r) {
		return minisign.PrivateKey{}, fmt.Errorf("the owner's key: %s is missing, and no other file has it: Git does not keep %s. Copy that directory from the computer where the fleet was made, or from your copy of it",
			filepath.Join(SecretsDir, ownerKeyFile), SecretsDir)
	}
	text, err := r.read(f.dir)
	if err != nil {
		return minisign.PrivateKey{}, fmt.Errorf("the owner's key: %w", err)
	}
	key, err := owner.Parse([]byte(text.Reveal()))
	if err != nil {
		return key, fmt.Errorf("the owner's key: %s %w", r, err)
	}
	if public, ok := key.Public().(minisign.PublicKey); !ok || public.String() != f.Cluster.OwnerKey {
		return key, fmt.Errorf("the owner's key: %s is not the one of cluster.ownerKey, which nodes know", r)
	}
	return key, nil
}

// lacks says whether the file of a reference is missing.
func (f *Fleet) lacks(r Ref) bool {
	_, err := os.Stat(within(f.dir, r.String()))
	return errors.Is(err, fs.ErrNotExist)
}
