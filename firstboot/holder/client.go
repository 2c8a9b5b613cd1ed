//go:build linux

package holder

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/secret"
	"github.com/going-mobile/imagebuilder/firstboot/vault"
)

// Deposit delivers a share to the holder at an address of the tailnet. place is where the holder
// sees this node; it is invalid if the holder reaches this node only through a relay.
func (w Way) Deposit(ctx context.Context, at netip.Addr, d vault.Deposit) (place netip.Prefix, err error) {
	a, err := w.call(ctx, at, depositPath, depositBody{d.Share.Reveal(), d.Proof})
	return a.Place, err
}

// Ask asks the holder at an address of the tailnet for a share.
func (w Way) Ask(ctx context.Context, at netip.Addr, q vault.Question) (secret.String, error) {
	a, err := w.call(ctx, at, askPath, askBody{q.ID, q.Proof.Reveal()})
	return secret.String(a.Share), err
}

// callTime leaves time for the holder to find out where this node is.
const callTime = 30 * time.Second

func (w Way) call(ctx context.Context, at netip.Addr, path string, body any) (a answerBody, err error) {
	text, err := json.Marshal(body)
	if err != nil {
		return a, err
	}
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+netip.AddrPortFrom(at, w.Port).String()+path, bytes.NewReader(text))
	if err != nil {
		return a, err
	}
	dialer := net.Dialer{Timeout: callTime / 3, Control: w.bind}
	client := &http.Client{Transport: &http.Transport{DialContext: dialer.DialContext, DisableKeepAlives: true}} // no proxy
	resp, err := client.Do(req)
	if err != nil {
		return a, unreachable(err)
	}
	defer resp.Body.Close()
	if text, err = io.ReadAll(io.LimitReader(resp.Body, mostBody)); err != nil {
		return a, err
	}
	err = json.Unmarshal(text, &a)
	switch no := a.known(); {
	case resp.StatusCode == http.StatusOK && err == nil:
		return a, nil
	case err == nil && no != nil:
		return answerBody{}, no
	case err == nil && a.Fault != "":
		return answerBody{}, errors.New(contract.PlainLine(a.Fault))
	}
	if resp.StatusCode == http.StatusOK { // the text may be the share
		return answerBody{}, errors.New("its answer is no answer of ours")
	}
	return answerBody{}, fmt.Errorf("it answers %d: %s", resp.StatusCode, contract.PlainLine(string(text[:min(len(text), 100)])))
}

// unreachable strips the address, which is of no use to a layman.
func unreachable(err error) error {
	var n net.Error
	if errors.As(err, &n) && n.Timeout() {
		return errors.New("it does not answer")
	}
	for inner := err; inner != nil; inner = errors.Unwrap(inner) {
		err = inner
	}
	return err
}

// bind restricts a connection to the device.
func (w Way) bind(_, _ string, c syscall.RawConn) (err error) {
	if w.Device == "" {
		return nil
	}
	if fault := c.Control(func(fd uintptr) { err = unix.BindToDevice(int(fd), w.Device) }); fault != nil {
		return fault
	}
	return err
}
