package host

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"tailscale.com/tailcfg"

	"github.com/going-mobile/imagebuilder/firstboot"
	"github.com/going-mobile/imagebuilder/firstboot/ctxio"
	"github.com/going-mobile/imagebuilder/firstboot/fscrypt"
	"github.com/going-mobile/imagebuilder/firstboot/holder"
	"github.com/going-mobile/imagebuilder/firstboot/tpm"
	"github.com/going-mobile/imagebuilder/firstboot/vault"
)

// Who asks tailscaled which member has an address, and who this node is; see holder.Tailnet.
func (t *Tailnet) Who(ctx context.Context, at netip.Addr) (peer, self holder.Peer, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	st, err := t.client().StatusWithoutPeers(ctx)
	if err != nil {
		return peer, self, err
	}
	if st.Self == nil {
		return peer, self, errors.New("this node is no member of the tailnet")
	}
	self = holder.Peer{Member: vault.Member{Node: name(st.Self), ID: string(st.Self.ID)}, Tags: tags(st.Self), Owner: int64(st.Self.UserID)}
	who, err := t.client().WhoIs(ctx, at.String())
	if err != nil || who.Node == nil {
		return peer, self, errors.Join(err, fmt.Errorf("%s is nobody's in the tailnet", at))
	}
	label, _, _ := strings.Cut(who.Node.Name, ".")
	return holder.Peer{Member: vault.Member{Node: label, ID: string(who.Node.StableID)}, Tags: who.Node.Tags, Owner: int64(who.Node.User)}, self, nil
}

// A direct path past the relay is found within a few of these pings.
const (
	mostPings = 10
	pingPause = 500 * time.Millisecond
)

// Where pings until the answer comes from an address outside the tailnet. Those packets are
// authenticated with keys of the tailnet (disco), so nobody can answer from elsewhere in the
// member's name. What a peer says of its own addresses is never used.
func (t *Tailnet) Where(ctx context.Context, at netip.Addr) (place netip.Addr) {
	ctx, cancel := context.WithTimeout(ctx, 2*mostPings*pingPause)
	defer cancel()
	for range mostPings {
		p, err := t.client().Ping(ctx, at, tailcfg.PingDisco)
		if err == nil && p.Err == "" && p.Endpoint != "" {
			if direct, err := netip.ParseAddrPort(p.Endpoint); err == nil {
				return direct.Addr()
			}
		}
		if ctxio.Sleep(ctx, pingPause) != nil {
			return place
		}
	}
	return place
}

// crypt encrypts directories by the kernel's fscrypt.
type crypt struct{ files Files }

func (c crypt) KeyOf(dir string) (string, error) { return fscrypt.KeyOf(c.files.at(dir)) }

func (c crypt) Open(dir string, key []byte) (string, error) {
	id, err := fscrypt.AddKey(c.files.at(dir), key)
	return id, noCrypt(err)
}

func (c crypt) IsOpen(dir, id string) (bool, error) { return fscrypt.HasKey(c.files.at(dir), id) }

func (c crypt) Encrypt(dir, id string) error {
	return noCrypt(fscrypt.Encrypt(c.files.at(dir), id, fscrypt.Best()))
}

func noCrypt(err error) error {
	if errors.Is(err, fscrypt.ErrUnsupported) {
		return fmt.Errorf("%w: %w", firstboot.ErrNoCrypt, err)
	}
	return err
}

// chip seals the disk's share of the key with the machine's TPM.
type chip struct{ tpm.Chip }

func (c chip) Seal(share []byte) ([]byte, error) {
	sealed, err := c.Chip.Seal(share)
	return sealed, staysSealed(err)
}

func (c chip) Unseal(sealed []byte) ([]byte, error) {
	share, err := c.Chip.Unseal(sealed)
	return share, staysSealed(err)
}

// staysSealed translates errors of package tpm into firstboot's.
func staysSealed(err error) error {
	for _, pair := range [][2]error{{tpm.ErrNone, firstboot.ErrNoTPM}, {tpm.ErrOther, firstboot.ErrOtherTPM}, {tpm.ErrChanged, firstboot.ErrTPMChanged}} {
		if errors.Is(err, pair[0]) {
			return pair[1]
		}
	}
	return err
}
