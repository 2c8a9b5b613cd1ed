package firstboot_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/going-mobile/imagebuilder/firstboot"
	"github.com/going-mobile/imagebuilder/firstboot/secret"
	"github.com/going-mobile/imagebuilder/firstboot/vault"
)

// cryptWorld is a kernel that encrypts. All of a world is one file system.
type cryptWorld struct{ *world }

func (w cryptWorld) KeyOf(dir string) (id string, err error) {
	err = w.do("key of "+dir, func() error { id = w.policies[dir]; return nil })
	return id, err
}

func (w cryptWorld) Open(_ string, key []byte) (id string, err error) {
	err = w.do("add key", func() error {
		if w.plain != nil {
			return w.plain
		}
		id = fmt.Sprintf("%x", sha256.Sum256(key))
		if w.keys == nil {
			w.keys = map[string]bool{}
		}
		w.keys[id] = true
		return nil
	})
	return id, err
}

func (w cryptWorld) IsOpen(_, id string) (open bool, err error) {
	err = w.do("has key", func() error { open = w.keys[id]; return nil })
	return open, err
}

func (w cryptWorld) Encrypt(dir, id string) error {
	return w.do("encrypt "+dir, func() error {
		for name := range w.files {
			if strings.HasPrefix(name, dir+"/") {
				return errors.New("directory not empty")
			}
		}
		if w.policies == nil {
			w.policies = map[string]string{}
		}
		w.policies[dir] = id
		return nil
	})
}

// shareWorld are the holders, with the books that real ones have.
type shareWorld struct{ *world }

func (w shareWorld) Deposit(_ context.Context, at netip.Addr, d vault.Deposit) (place netip.Prefix, err error) {
	err = w.do("deposit", func() error {
		r := w.holders[at]
		if r == nil {
			return errors.New("no route to host")
		}
		place = vault.PlaceOf(w.place)
		_, err := r.Deposit(vault.Member{Node: w.givenName, ID: w.member}, w.place, d)
		return err
	})
	return place, err
}

func (w shareWorld) Ask(_ context.Context, at netip.Addr, q vault.Question) (s secret.String, err error) {
	err = w.do("ask", func() error {
		r := w.holders[at]
		if r == nil {
			return errors.New("no route to host")
		}
		s, _, err = r.Ask(vault.Member{Node: w.givenName, ID: w.member}, w.place, q, w.now)
		return err
	})
	return s, err
}

// chipWorld is a TPM called "name state", which seals by writing both before the share.
type chipWorld struct{ *world }

func (w chipWorld) answers() error {
	if w.chip == "" {
		return firstboot.ErrNoTPM
	}
	return w.chipErr
}

func (w chipWorld) Seal(share []byte) (sealed []byte, err error) {
	err = w.do("seal", func() error {
		sealed = []byte(w.chip + "\n" + hex.EncodeToString(share))
		return w.answers()
	})
	return sealed, err
}

func (w chipWorld) Unseal(sealed []byte) (share []byte, err error) {
	err = w.do("unseal", func() error {
		if err := w.answers(); err != nil {
			return err
		}
		by, inside, _ := strings.Cut(string(sealed), "\n")
		name, _, _ := strings.Cut(by, " ")
		switch {
		case !strings.HasPrefix(w.chip, name+" "):
			return firstboot.ErrOtherTPM
		case by != w.chip:
			return firstboot.ErrTPMChanged
		}
		share, err = hex.DecodeString(inside)
		return err
	})
	return share, err
}
