package firstboot

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/node"
)

// etcdFiles are the store of a cluster and what opens it. Snapshots beside it are none
// of it, and k3s writes the rest of its directory anew at every start.
var etcdFiles = []string{
	k3sServer + "/db/etcd", k3sServer + "/tls", k3sServer + "/cred", k3sServer + "/token", k3sServer + "/agent-token",
}

// Trial prepares the trial of an image with these components in a slot: what it may
// spoil for the running system, and what it cannot be blamed for.
func (r *Running) Trial(ctx context.Context, h Host, slot string, next map[string]string) (t contract.Trial, err error) {
	t = contract.Trial{Slot: slot, Keep: []string{"/" + contract.EtcUpper, stateDir}}
	if r.cfg.Control != nil && r.Components["headscale"] != next["headscale"] { // from 0.29 it does not go back
		t.Keep = append(t.Keep, contract.HeadscaleData)
	}
	if r.cfg.Role == node.Server && r.Components["k3s"] != next["k3s"] {
		alone, err := h.soleVoter(ctx)
		if err != nil {
			return t, fmt.Errorf("the update brings another k3s, and the cluster does not say whether its etcd has other members: %w", err)
		}
		locked, err := h.encrypted()
		if err != nil {
			return t, err
		}
		switch {
		case alone && locked:
			t.Locked = etcdFiles
		case alone:
			t.Keep = append(t.Keep, etcdFiles...)
		}
	}
	if t.Failed, err = h.Units.Failed(ctx); err != nil {
		return t, err
	}
	t.Login = h.Net.Reach(ctx, sshd) == nil
	by, err := h.reached(ctx, r.cfg.Node) // where the cluster cannot be asked nobody looks
	t.Reached = err == nil && by != ""
	return t, nil
}

// soleVoter says whether this server's etcd has no other members. With others its
// store must not go back: it has promised them what it would not know any more (Raft).
// Nor need it: etcd's schema goes forward when the last of them has.
func (h *Host) soleVoter(ctx context.Context) (bool, error) {
	out, err := h.Net.API(ctx, adminConf, "/api/v1/nodes?labelSelector=node-role.kubernetes.io/etcd")
	if err != nil {
		return false, err
	}
	var voters struct{ Items []object }
	if err := json.Unmarshal(out, &voters); err != nil {
		return false, err
	}
	return len(voters.Items) == 1, nil
}
