package firstboot

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/node"
)

// What is handed over on a node's page goes the way of a node.yaml that a
// person puts onto the boot partition: it is written there, and read from there
// in the next pass. Nobody needs the card in hand for it, so it takes more than
// a card does: the signature of the owner that the node knows already, for this
// very node, and later than all that it has.

const (
	offerFile  = "/" + contract.OfferDir + "/offer" // as it came through the page
	keyFile    = runDir + "/key"                    // as "firstboot key" had it
	takingFile = stateDir + "/taking"               // node.yaml on its way to the boot partition
	takenFile  = stateDir + "/taken"                // it is there, and takingFile may be torn
)

// Offer judges what was handed over and leaves it to Run, which takes it or
// tells on the screen why not. It returns a *Problem. It is for a process of
// its own beside Run and writes nothing else.
func Offer(h Host, data []byte) error {
	if len(data) > node.ReservedSize {
		return problem("offer-large")
	}
	_, verdict := h.judge(data)
	if verdict != nil && h.goodWaits() {
		return verdict
	}
	err := h.write(file{path: offerFile, data: data, mode: 0o600})
	return errors.Join(verdict, err)
}

// goodWaits says whether what was handed over before will be taken in a moment. Anybody
// in the LAN may hand something over that will not, and must not push it aside.
func (h *Host) goodWaits() bool {
	waiting, err := h.read(offerFile)
	if err == nil {
		_, err = h.judge(waiting)
	}
	return err == nil
}

// judge returns what follows the node.yaml in force where data may take its place.
func (h *Host) judge(data []byte) (*given, error) {
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
	if !sig.Time.After(now.last.time) {
		return nil, problem("offer-old", day(sig.Time), day(now.last.time))
	}
	return h.successor(now, data, signed{sig.Time, sig.Digest})
}

// successor is the node.yaml that follows the one in force: the file itself, or
// the one in force with the key of a key file. The boot partition's own rules
// judge it before it is there: a node that refuses its only file is lost.
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

// take puts what was handed over in node.yaml's place.
func (h *Host) take(data []byte) error {
	next, err := h.judge(data)
	if err != nil {
		return err
	}
	return h.replaceNode(next.text)
}

// replaceNode puts another node.yaml onto the boot partition. From the moment
// that it lies on the data partition, no power cut loses it or the old file:
// that is written over, so that none of its secrets is left behind.
func (h *Host) replaceNode(text []byte) error {
	text, err := node.PadTo(text, node.ReservedSize)
	if err != nil {
		return problem("offer-mistake", err.Error()).because(err)
	}
	if err := h.finishTaking(); err != nil { // else what is left of the last one stands for this one
		return err
	}
	if err := h.write(file{path: takingFile, data: text, mode: 0o600}); err != nil {
		return problem("offer-write", err.Error()).because(err)
	}
	return h.finishTaking()
}

// finishTaking does what replaceNode began, once more where power was cut.
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

// finishWriting says whether there was something to write.
func (h *Host) finishWriting() (bool, error) {
	text, err := h.read(takingFile)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err == nil {
		err = h.writeOver(text)
	}
	if err == nil { // nor is it torn any more
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

// forgetTaking leaves nothing of what has all secrets, and lies where nothing is
// encrypted.
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

// writeOver writes over node.yaml, or over what a person left of it.
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

// rememberSigned notes in the own copy what a key file's line says: on a sealed
// node the boot partition's word is not enough.
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
	kept, err := own.kept(apart) // k3s' settings stay as they are: they may be locked
	if err != nil {
		return err
	}
	return h.write(kept)
}

// heedLeft takes what processes beside this one left for it, which alone writes node.yaml:
// what was handed over, and a key.
func (r *runner) heedLeft(ctx context.Context) {
	r.heedFile(ctx, offerFile, r.host.take)
	r.heedFile(ctx, keyFile, r.host.takeKey)
}

// heedFile keeps why something is not taken for those who look at the node.
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

// noticed is what stands beside the status: of all that is wrong and not in the
// way, what was just refused is what somebody waits for.
func (r *runner) noticed() {
	r.status.Notice = cmp.Or(r.refused, r.pageFault, r.keeping.fault, r.notice, r.keeping.unseen)
}
