package apt

import (
	"bytes"
	"crypto"
	"embed"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	pgperrors "github.com/ProtonMail/go-crypto/openpgp/errors"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// debianKeys are the archive, security and release keys of bookworm and
// trixie, as debian-archive-keyring ships them in trusted.gpg.d. trixie and
// trixie-updates are signed with the automatic keys of both releases,
// trixie-security with their security keys; point releases carry the release
// key too. They expire from January 2031 on.
//
//go:embed keys/*.asc
var debianKeys embed.FS

// debianKeyring parses the embedded keys.
func debianKeyring() (openpgp.EntityList, error) {
	files, err := debianKeys.ReadDir("keys")
	if err != nil {
		return nil, err
	}
	var ring openpgp.EntityList
	for _, f := range files {
		b, err := debianKeys.ReadFile("keys/" + f.Name())
		if err != nil {
			return nil, err
		}
		keys, err := openpgp.ReadArmoredKeyRing(bytes.NewReader(b))
		if err != nil {
			return nil, fmt.Errorf("key %s: %w", f.Name(), err)
		}
		ring = append(ring, keys...)
	}
	return ring, nil
}

// keyring returns the keys to trust: own, armored or binary, or Debian's if own is nil.
func keyring(own []byte) (openpgp.EntityList, error) {
	if own == nil {
		return debianKeyring()
	}
	if bytes.HasPrefix(bytes.TrimSpace(own), []byte("-----BEGIN")) {
		return openpgp.ReadArmoredKeyRing(bytes.NewReader(own))
	}
	return openpgp.ReadKeyRing(bytes.NewReader(own))
}

// verified returns the text of a clear-signed message if a key of the ring signed it (RFC
// 9580, section 7). Only white space may surround the message: a parser that skips other
// text could be tricked into reading that text instead.
func verified(msg []byte, ring openpgp.EntityList, now time.Time) ([]byte, error) {
	if !bytes.HasPrefix(msg, []byte("-----BEGIN PGP SIGNED MESSAGE-----\n")) {
		return nil, errors.New("not a clear-signed message: it does not begin with its header")
	}
	block, rest := clearsign.Decode(msg)
	if block == nil {
		return nil, errors.New("not a clear-signed message: it is malformed or cut short")
	}
	if len(bytes.TrimSpace(rest)) > 0 {
		return nil, errors.New("unsigned text follows the signed message")
	}
	if err := checkSignatures(ring, block, now); err != nil {
		return nil, err
	}
	return block.Plaintext, nil
}

// checkSignatures accepts the message if at least one signature of a known key is good and
// none is wrong; expired ones do not count. Each signature is checked by itself: go-crypto
// stops at the first known key, which may have expired while the next one has not.
func checkSignatures(ring openpgp.EntityList, block *clearsign.Block, now time.Time) error {
	packets := packet.NewReader(block.ArmoredSignature.Body)
	good := false
	var unknown []string
	var stale error
	for {
		p, err := packets.Next()
		if err == io.EOF {
			break
		}
		sig, ok := p.(*packet.Signature)
		if err != nil || !ok || sig.IssuerKeyId == nil {
			return errors.New("malformed signature")
		}
		key := fmt.Sprintf("%016X", *sig.IssuerKeyId)
		switch err := checkOne(ring, block.Bytes, sig, now); {
		case err == nil:
			good = true
		case errors.Is(err, pgperrors.ErrUnknownIssuer):
			unknown = append(unknown, key)
		case errors.Is(err, pgperrors.ErrSignatureExpired) && sig.CreationTime.After(now): // go-crypto calls this expired, too
			stale = fmt.Errorf("signature of key %s is dated %s, which is in the future; is the clock right? It says %s",
				key, sig.CreationTime.UTC().Format(dateLayout), now.UTC().Format(dateLayout))
		case errors.Is(err, pgperrors.ErrKeyExpired), errors.Is(err, pgperrors.ErrSignatureExpired):
			stale = fmt.Errorf("signature of key %s: %w", key, err)
		default:
			return fmt.Errorf("signature of key %s is not good: %w", key, err)
		}
	}
	switch {
	case good:
		return nil
	case stale != nil:
		return stale
	case unknown != nil:
		return fmt.Errorf("signed only by unknown keys (%s)", strings.Join(unknown, ", "))
	}
	return errors.New("no signature")
}

// checkOne checks one signature. If it is dated up to clockSlack after now, it is checked
// at its own date, because clocks differ. That date is later than now, so a key that has
// expired by now is not accepted this way.
func checkOne(ring openpgp.EntityList, text []byte, sig *packet.Signature, now time.Time) error {
	// go-crypto 1.5 accepts SHA-1 through this API; it no longer supports MD5.
	if sig.Hash == crypto.SHA1 {
		return fmt.Errorf("made with %v, which can be forged", sig.Hash)
	}
	var b bytes.Buffer
	if err := sig.Serialize(&b); err != nil {
		return err
	}
	if made := sig.CreationTime; made.After(now) && !made.After(now.Add(clockSlack)) {
		now = made
	}
	config := &packet.Config{Time: func() time.Time { return now }}
	_, err := openpgp.CheckDetachedSignature(ring, bytes.NewReader(text), &b, config)
	return err
}
