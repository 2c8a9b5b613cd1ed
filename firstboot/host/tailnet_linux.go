package host

import (
	"cmp"
	"context"
	"errors"
	"os"
	"strings"
	"time"

	"tailscale.com/client/local"
	"tailscale.com/health"
	"tailscale.com/ipn"
	"tailscale.com/ipn/ipnstate"
	"tailscale.com/tsconst"
	"tailscale.com/types/opt"

	"github.com/going-mobile/imagebuilder/firstboot"
	"github.com/going-mobile/imagebuilder/firstboot/ctxio"
)

// Tailnet talks to tailscaled's LocalAPI. Keys travel over its socket and never in the arguments of
// a process.
type Tailnet struct {
	// Socket is tailscaled's socket; empty means its usual place.
	Socket string
	// State is tailscaled's state directory; empty means its usual place.
	State string

	last attempt
}

func (t *Tailnet) client() *local.Client {
	return &local.Client{Socket: t.Socket, UseSocketOnly: t.Socket != ""}
}

// Status asks tailscaled for its state and its peers.
func (t *Tailnet) Status(ctx context.Context) (firstboot.TailnetStatus, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	st, err := t.client().Status(ctx)
	if err != nil {
		return firstboot.TailnetStatus{}, err
	}
	return convert(st), nil
}

func convert(st *ipnstate.Status) firstboot.TailnetStatus {
	out := firstboot.TailnetStatus{State: st.BackendState, HaveKey: st.HaveNodeKey, Asked: st.AuthURL != "", IPs: st.TailscaleIPs, Health: st.Health}
	if st.Self != nil {
		out.Name, out.Tags, out.Owner = name(st.Self), tags(st.Self), int64(st.Self.UserID)
	}
	for _, p := range st.Peer {
		out.Peers = append(out.Peers, firstboot.Peer{Name: name(p), IPs: p.TailscaleIPs, Tags: tags(p), Owner: int64(p.UserID), Online: p.Online})
	}
	return out
}

func tags(p *ipnstate.PeerStatus) []string {
	if p.Tags == nil {
		return nil
	}
	return p.Tags.AsSlice()
}

// name returns the server's name for a node, which is unique; the name that a node gives itself is
// not.
func name(p *ipnstate.PeerStatus) string {
	if label, _, _ := strings.Cut(p.DNSName, "."); label != "" {
		return label
	}
	return strings.ToLower(p.HostName)
}

// Up brings the node up; see firstboot.Tailnet.
func (t *Tailnet) Up(ctx context.Context, j firstboot.Join) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if j.Key.Empty() {
		_, err := t.client().EditPrefs(ctx, &ipn.MaskedPrefs{Prefs: ipn.Prefs{WantRunning: true}, WantRunningSet: true})
		if err != nil {
			return err
		}
		return t.await(ctx)
	}
	return t.login(ctx, j)
}

// await waits until a node that is already a member runs again.
func (t *Tailnet) await(ctx context.Context) error {
	var last string
	for {
		st, err := t.client().StatusWithoutPeers(ctx)
		switch {
		case err != nil:
			return errors.Join(err, ctx.Err())
		case st.AuthURL != "":
			return &firstboot.RefusedError{Message: "it does not know this node any more"}
		case st.BackendState == "Running" && len(st.TailscaleIPs) > 0:
			return nil
		case st.BackendState == "NeedsLogin" && last == "NeedsLogin":
			return &firstboot.RefusedError{Message: "it does not know this node any more"}
		}
		last = st.BackendState
		if ctxio.Sleep(ctx, time.Second) != nil {
			return waiting(ctx, st.Health)
		}
	}
}

// waiting is the error of a wait that ended, with the health warnings of tailscaled.
func waiting(ctx context.Context, health []string) error {
	if len(health) == 0 {
		return ctx.Err()
	}
	return errors.Join(ctx.Err(), errors.New(strings.Join(health, "; ")))
}

// login follows "tailscale up" (cmd/tailscale/cli/up.go, 1.102): it watches first, then starts with
// the key, and takes the first answer. The bus repeats an error of an earlier try in its first
// message, which is not about this key.
func (t *Tailnet) login(ctx context.Context, j firstboot.Join) error {
	lc := t.client()
	w, err := lc.WatchIPNBus(ctx, ipn.NotifyInitialState|ipn.NotifyInitialHealthState)
	if err != nil {
		return err
	}
	defer w.Close()
	first, err := w.Next()
	if err != nil {
		return errors.Join(err, ctx.Err())
	}
	now, err := t.attempt(j)
	switch {
	case err != nil:
		return err
	case !t.trying(ctx, now):
		if err := t.begin(ctx, now); err != nil {
			return scrub(err, j)
		}
	case first.State != nil && *first.State == ipn.Running:
		return t.keepState()
	}
	return scrub(t.follow(ctx, w, lc), j)
}

// attempt is what a tailscaled process was told to try. It keeps trying until it has joined.
type attempt struct {
	firstboot.Join
	daemon time.Time // when the process made its socket
}

func (t *Tailnet) attempt(j firstboot.Join) (attempt, error) {
	fi, err := os.Stat(cmp.Or(t.Socket, "/run/tailscale/tailscaled.sock"))
	if err != nil {
		return attempt{}, err
	}
	return attempt{j, fi.ModTime()}, nil
}

// trying reports whether tailscaled is still at what it was told before. Telling it again would
// break off a request that the server may be about to grant: the key would be spent, and the node
// would still not be in.
func (t *Tailnet) trying(ctx context.Context, now attempt) bool {
	p, err := t.client().GetPrefs(ctx)
	return err == nil && p.WantRunning && !p.LoggedOut && t.last == now
}

func (t *Tailnet) begin(ctx context.Context, now attempt) error {
	if err := t.client().Start(ctx, ipn.Options{AuthKey: now.Key.Reveal(), UpdatePrefs: prefs(now.Join)}); err != nil {
		return err
	}
	if err := t.keepState(); err != nil { // for the machine key
		return err
	}
	t.last = now
	return t.client().StartLoginInteractive(ctx)
}

// Forget starts tailscaled's backend without the key; see firstboot.Tailnet.
func (t *Tailnet) Forget(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	last := t.last
	t.last = attempt{}
	return t.client().Start(ctx, ipn.Options{UpdatePrefs: prefs(last.Join)})
}

// keepState makes tailscaled's state durable: tailscaled renames it into place without syncing the
// directory (atomicfile, 1.102). A node that loses power after the server has spent the key must
// come back as the same machine, or its next key makes it a second node under another name. It must
// also remember what it got for the key, or it needs another one.
func (t *Tailnet) keepState() error {
	return Files{}.Sync(cmp.Or(t.State, "/var/lib/tailscale"))
}

func (t *Tailnet) follow(ctx context.Context, w *local.IPNBusWatcher, lc *local.Client) error {
	var last error
	for {
		n, err := w.Next()
		if err != nil {
			return errors.Join(last, err, ctx.Err())
		}
		last = cmp.Or(loginError(n), last)
		if n.ErrMessage != nil {
			return &firstboot.RefusedError{Message: *n.ErrMessage}
		}
		if n.Prefs != nil || n.State != nil { // the node key was written before this message
			if err := t.keepState(); err != nil {
				return err
			}
		}
		if n.State != nil && *n.State == ipn.Running {
			st, err := lc.StatusWithoutPeers(ctx)
			if err != nil || len(st.TailscaleIPs) > 0 {
				return err
			}
		}
	}
}

// loginError returns why tailscaled has not joined yet, while it is still trying. An answer that is
// not Headscale's own, such as a proxy's page, shows only in tailscaled's health
// (control/controlclient/direct.go, 1.102).
func loginError(n ipn.Notify) error {
	if n.Health == nil {
		return nil
	}
	w, ok := n.Health.Warnings[tsconst.HealthWarnableLoginState]
	if text := w.Args[health.ArgError]; ok && text != "" {
		return &firstboot.RefusedError{Message: text}
	}
	return nil
}

// prefs are the preferences of a node that carries k3s' traffic: no DNS settings of the tailnet,
// which would end up in pods (tailscale/tailscale#1003), and no routes of other nodes. Tags come
// from the key; asking for them makes the server refuse.
func prefs(j firstboot.Join) *ipn.Prefs {
	p := ipn.NewPrefs()
	p.ControlURL = j.URL
	p.WantRunning = true
	p.Hostname = j.Hostname
	p.CorpDNS = false
	p.RouteAll = false
	p.NoStatefulFiltering = opt.NewBool(true)
	p.AutoUpdate = ipn.AutoUpdatePrefs{Check: false, Apply: opt.NewBool(false)}
	return p
}

// scrub removes a key that an error message repeats.
func scrub(err error, j firstboot.Join) error {
	if err == nil || !strings.Contains(err.Error(), j.Key.Reveal()) {
		return err
	}
	clean := strings.ReplaceAll(err.Error(), j.Key.Reveal(), j.Key.String())
	var no *firstboot.RefusedError
	if errors.As(err, &no) {
		return &firstboot.RefusedError{Message: clean}
	}
	return errors.New(clean)
}
