package firstboot

import (
	"context"
	"errors"
	"fmt"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/node"
)

// etcdFiles are a cluster's store and what opens it. The snapshots beside it are not part
// of it, and k3s writes the rest of its directory anew at every start.
var etcdFiles = []string{
	k3sServer + "/db/etcd", k3sServer + "/tls", k3sServer + "/cred", k3sServer + "/token", k3sServer + "/agent-token",
}

// Trial prepares the trial of an image in a slot; next has the versions of its components.
// It lists what the trial may spoil for the running system, and what the trial cannot be
// blamed for.
func (r *Running) Trial(ctx context.Context, h Host, slot string, next map[string]string) (t contract.Trial, err error) {
	t = contract.Trial{Slot: slot, Keep: []string{"/" + contract.EtcUpper, stateDir}}
	if r.cfg.Control != nil && r.Components["headscale"] != next["headscale"] { // from 0.29 on, Headscale does not go back
		t.Keep = append(t.Keep, contract.HeadscaleData)
	}
	if r.cfg.Role == node.Server && r.Components["k3s"] != next["k3s"] {
		if t, err = r.withStore(ctx, h, t, next["k3s"]); err != nil {
			return t, err
		}
	}
	if t.Failed, err = h.Units.Failed(ctx); err != nil {
		return t, err
	}
	t.Login = h.Net.Reach(ctx, sshd) == nil
	t.Reached, err = h.wasReached(ctx, r.cfg.Node)
	return t, err
}

// withStore has the trial keep the store if this server's etcd has no other members. With
// others it must not go back: it would have forgotten what it has promised them (Raft). Nor
// need it: etcd raises the cluster's version, and the schema, only once the last member has the
// new one. If that last member then falls back, its older etcd does not start any more
// (k3s-behind). No store that was kept would help: the version is the whole cluster's.
func (r *Running) withStore(ctx context.Context, h Host, t contract.Trial, next string) (contract.Trial, error) {
	alone, err := r.votesAlone(ctx, h, next)
	if err != nil {
		return t, err
	}
	at, err := h.storePlace(alone)
	t.Store = etcdFiles
	return t.KeepStore(at), err
}

// votesAlone asks the cluster whether this server's etcd has no other members. If the
// cluster is silent, the update, or the way back from it, may be just what it needs. Then
// the store is not kept within a minor version of k3s, as its schema stays the same; for
// another minor version, what firstboot saw last counts.
func (r *Running) votesAlone(ctx context.Context, h Host, next string) (bool, error) {
	voters, silent := h.voters(ctx)
	switch {
	case silent == nil:
		return voters == 1, nil
	case contract.SameSeries(r.Components["k3s"], next):
		return false, nil
	}
	voters, err := h.knownVoters()
	if err != nil || voters == 0 {
		return false, errors.Join(fmt.Errorf("the update brings another minor version of k3s, and the cluster does not say whether its etcd has other members, nor did it before: %w", silent), err)
	}
	return voters == 1, nil
}
