package firstboot

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/node"
)

// What is handed over on a node's page goes the same way as a node.yaml that a person
// puts onto the boot partition: it is written there, and read from there in the next
// pass. But nobody needs to have the card in hand for that, so it is held to more: it
// must have the signature of the owner that the node already knows, for this very node,
// and be later than all that the node has taken.

const (
	offerFile  = "/" + contract.OfferDir + "/offer" // as received through the page
	keyFile    = runDir + "/key"                    // as received by "firstboot key"
	takingFile = stateDir + "/taking"               // node.yaml on its way to the boot partition
	takenFile  = stateDir + "/taken"                // marks that it is there; takingFile may be torn from here on
)

// Offer judges what was handed over and leaves it to Run, which takes it or tells on the
// screen why not. A refused one does not push aside a good one that waits. If data are
// refused, the error holds a *Problem. Offer runs in another process than Run, and writes
// nothing but the offer.
func Offer(h Host, data []byte) error {
	if len(data) > node.ReservedSize {
		return problem("offer-large")
	}
	_, verdict := h.judgeOffer(data)
	if verdict != nil && h.goodWaits() {
		return verdict
	}
	err := h.write(file{path: offerFile, data: data, mode: 0o600})
	return errors.Join(verdict, err)
}

// goodWaits reports whether what was handed over before will be taken in a moment.
// Anybody in the LAN may hand over what will not be taken, and must not push a good one
// aside.
func (h *Host) goodWaits() bool {
	waiting, err := h.read(offerFile)
	if err == nil {
		_, err = h.judgeOffer(waiting)
	}
	return err == nil
}

// judgeOffer returns the configuration that data would put in place of the one in force, or
// why it must not.
func (h *Host) judgeOffer(data []byte) (*given, error) {
	now, err := load(h.Files)
	if err != nil || now.cfg.OwnerKey == "" {
		return nil, problem("offer-owner").because(err)
	}
	sig, err := node.ReadSignature(data)
	switch {
	case err != nil:
		return nil, problem("offer-wrong").because(err)
	case sig == nil:
		return nil, problem("offer-unsigned")
	}
	if err := sig.By(now.cfg.OwnerKey); err != nil {
		return nil, problem("offer-wrong").because(err)
	}
	if sig.Node != now.cfg.Node {
		return nil, problem("offer-node", sig.Node, now.cfg.Node)
	}
	if h.ahead(sig.Time) {
		return nil, problem("offer-ahead", utcTime(sig.Time), utcTime(h.Clock.Now()))
	}
	if !sig.Time.After(now.last.time) {
		return nil, problem("offer-old", utcTime(sig.Time), utcTime(now.last.time))
	}
	return h.successor(now, data, signed{sig.Time, sig.Digest})
}

// ahead reports whether a signature was made with a clock that is fast. If it were taken, all later
// ones would be too old until that time. Only a clock that a time server has set can tell.
func (h *Host) ahead(signed time.Time) bool {
	synced, err := h.Clock.Synced()
	return err == nil && synced && signed.After(h.Clock.Now().Add(builderSlack))
}

// successor returns the configuration that follows the one in force: a node.yaml as it is
// or, if data are a key file, the one in force with that key. The boot partition's own
// rules are applied before the file is there: a node that refuses its only file is lost.
func (h *Host) successor(now *given, data []byte, last signed) (*given, error) {
	next, name := &given{text: data}, ""
	key, err := node.LoadKey("what was handed over", data)
	if err == nil && key != nil {
		name = key.Node
		next, err = now.withKey(key.AuthKey, last)
	} else if err == nil {
		if next.cfg, err = node.Load("what was handed over", data); err == nil {
			name = next.cfg.Node
		}
	}
	if err != nil {
		return nil, problem("offer-mistake", err.Error()).because(err)
	}
	if name != now.cfg.Node {
		return nil, problem("offer-node", name, now.cfg.Node)
	}
	own, err := h.ownCopy()
	if err != nil {
		return nil, err
	}
	next.complete(own)
	return next, h.accept(next, own)
}

// take replaces node.yaml by what was handed over, if judgeOffer lets it.
func (h *Host) take(data []byte) error {
	next, err := h.judgeOffer(data)
	if err != nil {
		return err
	}
	return h.replaceNode(next.text)
}

// replaceNode puts another node.yaml onto the boot partition. Once the text is on the
// data partition, a power cut loses nothing: finishTaking goes on from there. The old
// file is written over, so that none of its secrets is left behind.
func (h *Host) replaceNode(text []byte) error {
	text, err := node.PadTo(text, node.ReservedSize)
	if err != nil {
		return problem("offer-mistake", err.Error()).because(err)
	}
	if err := h.finishTaking(); err != nil { // else the rest of an earlier one would be taken for this one
		return err
	}
	if err := h.write(file{path: takingFile, data: text, mode: 0o600}); err != nil {
		return problem("offer-write", err.Error()).because(err)
	}
	return h.finishTaking()
}

// finishTaking does what replaceNode began, and completes it after a power cut.
func (h *Host) finishTaking() error {
	taken, err := h.exists(takenFile)
	if err == nil && !taken {
		taken, err = h.finishWriting()
	}
	if err == nil && taken {
		err = h.forgetTaking()
	}
	if err != nil {
		return problem("offer-write", err.Error()).because(err)
	}
	return nil
}

// finishWriting puts takingFile's text into node.yaml, and reports whether there was any.
func (h *Host) finishWriting() (bool, error) {
	text, err := h.read(takingFile)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err == nil {
		err = h.writeOver(text)
	}
	if err == nil { // node.yaml is whole now, also if an interrupted seal had torn it
		err = h.Files.Remove(sealingFile)
	}
	if err == nil {
		err = h.rememberSigned(readLast(text))
	}
	if err == nil {
		err = h.write(file{path: takenFile, mode: 0o600})
	}
	return true, err
}

// forgetTaking leaves nothing of takingFile: it has all secrets, and lies where nothing
// is encrypted.
func (h *Host) forgetTaking() error {
	fi, err := h.Files.Stat(takingFile)
	if err == nil {
		err = h.Files.Overwrite(takingFile, bytes.Repeat([]byte("\n"), int(fi.Size())))
	}
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		err = h.Files.Remove(takingFile)
	}
	if err != nil {
		return err
	}
	return h.Files.Remove(takenFile)
}

// writeOver puts text into node.yaml, over the bytes of the old one or of what a person
// left of it.
func (h *Host) writeOver(text []byte) error {
	fi, err := h.Files.Stat(bootFile)
	switch {
	case err == nil && fi.Size() == int64(len(text)):
		return h.overwrite(text)
	case err == nil:
		err = h.Files.Overwrite(bootFile, bytes.Repeat([]byte("\n"), int(fi.Size())))
	case errors.Is(err, fs.ErrNotExist):
		err = nil
	}
	return errors.Join(err, h.Files.Put(bootFile, bytes.NewReader(text), Attr{Mode: 0o600}))
}

// rememberSigned copies the "last signed" line that a node.yaml with a new key has into
// the own copy: a sealed node does not rely on what the boot partition says about that.
func (h *Host) rememberSigned(last signed) error {
	own, err := h.ownCopy()
	if err != nil || own == nil || !last.time.After(own.last.time) {
		return err
	}
	own.last = last
	apart, err := h.encrypted()
	if err != nil {
		return err
	}
	kept, err := own.asCopy(apart) // k3s' settings stay as they are: they may be locked away
	if err != nil {
		return err
	}
	return h.write(kept)
}

// heedLeft takes what other processes have left for this one: what was handed over, and a
// key. No other process writes node.yaml.
func (r *runner) heedLeft(ctx context.Context) {
	r.heedFile(ctx, offerFile, r.host.take)
	r.heedFile(ctx, keyFile, r.host.takeKey)
}

// heedFile has take judge the file, if there is one, and removes it. If it is refused,
// the reason is kept for those who look at the node.
func (r *runner) heedFile(ctx context.Context, name string, take func([]byte) error) {
	data, err := r.host.read(name)
	if err != nil { // nothing was left
		return
	}
	r.refused = nil
	err = take(data)
	if !errors.As(err, &r.refused) && err != nil {
		r.refused = problem("offer-write", err.Error()).because(err)
	}
	if err := r.host.Files.Remove(name); err != nil && r.refused == nil {
		r.refused = problem("offer-write", err.Error()).because(fmt.Errorf("%s: %w", name, err))
	}
	r.noticed()
	r.refresh(ctx)
}

// noticed picks the notice beside the status, out of all that is wrong but does not stop
// the node. What was just refused comes first: somebody waits for the answer.
func (r *runner) noticed() {
	r.status.Notice = cmp.Or(r.refused, r.pageFault, r.keeping.fault, r.notice, r.keeping.unseen)
}
