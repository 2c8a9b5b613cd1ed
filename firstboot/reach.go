package firstboot

import (
	"context"
	"encoding/json"
	"net/netip"
	"strings"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/node"
)

// reach: a node reaches the others, or it were no member. Whether they reach it, it
// cannot see. So each asks in its Kubernetes node, once a boot, and a server that
// reached its kubelet over the tailnet says so there. A system on trial is not kept
// without.

// Annotations of a Kubernetes node.
const (
	bootNote    = "imagebuilder/boot"    // the boot that asks
	reachedNote = "imagebuilder/reached" // that boot, and the server that reached it
)

const bootID = "/proc/sys/kernel/random/boot_id"

// kubeletPort is open between the nodes of a cluster in every tailnet policy that lets
// k3s work.
const kubeletPort = 10250

// object is a Kubernetes node, as far as reach needs it.
type object struct {
	Metadata struct {
		Name                string
		Labels, Annotations map[string]string
	}
	Status struct {
		Addresses []struct{ Type, Address string }
	}
}

func (o *object) zone() string { return o.Metadata.Labels["topology.kubernetes.io/zone"] }

func (o *object) isServer() bool {
	_, ok := o.Metadata.Labels["node-role.kubernetes.io/control-plane"]
	return ok
}

// internal is the address by which the others know it: that in the tailnet.
func (o *object) internal() netip.Addr {
	for _, a := range o.Status.Addresses {
		if ip, err := netip.ParseAddr(a.Address); err == nil && a.Type == "InternalIP" {
			return ip
		}
	}
	return netip.Addr{}
}

// reachedBy is the server that reached it in this boot of its.
func (o *object) reachedBy() string {
	boot := o.Metadata.Annotations[bootNote]
	was, by, _ := strings.Cut(o.Metadata.Annotations[reachedNote], " ")
	if boot == "" || was != boot {
		return ""
	}
	return by
}

// reach asks, and answers, where this node was seen Ready in this pass. What fails is done
// at the next look: it is nobody's business but a trial's, which waits.
func (k *keeping) reach(ctx context.Context, m *machine) {
	if m.object == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, othersTime)
	defer cancel()
	_ = m.askReach(ctx)
	k.next, _ = m.reachOthers(ctx, k.next)
}

// askReach asks as the kubelet, which may change its own node, as verify saw it.
func (m *machine) askReach(ctx context.Context) error {
	var own object
	if json.Unmarshal(m.object, &own) != nil {
		return nil
	}
	boot, err := m.boot()
	if err != nil || own.Metadata.Annotations[bootNote] == boot {
		return err
	}
	return m.annotate(ctx, kubeletConf, m.cfg.Node, bootNote, boot)
}

func (h *Host) boot() (string, error) {
	id, err := h.read(bootID)
	return strings.TrimSpace(string(id)), err
}

// reached is the server that reached this node in this boot.
func (h *Host) reached(ctx context.Context, name string) (by string, err error) {
	out, err := h.Net.API(ctx, kubeletConf, "/api/v1/nodes/"+name)
	if err != nil {
		return "", err
	}
	var own object
	if err := json.Unmarshal(out, &own); err != nil {
		return "", err
	}
	boot, err := h.boot()
	if err != nil || own.Metadata.Annotations[bootNote] != boot { // it has not asked yet
		return "", err
	}
	return own.reachedBy(), nil
}

// reachTime is for one who asks: the first packet may go through a relay, and one that
// comes too late is answered at a later look.
const reachTime = 3 * time.Second

// othersTime is for all of them, and what is asked of the cluster for that; those for whom
// half of it leaves nothing come first at the next look.
const othersTime = 10 * time.Second

func (m *machine) reach(ctx context.Context, at netip.Addr) error {
	ctx, cancel := context.WithTimeout(ctx, reachTime)
	defer cancel()
	return m.Net.Reach(ctx, netip.AddrPortFrom(at, kubeletPort))
}

// reachOthers answers those who ask, on a server, beginning with the first. It returns who
// comes first at the next look.
func (m *machine) reachOthers(ctx context.Context, first string) (next string, err error) {
	if m.cfg.Role != node.Server {
		return "", nil
	}
	out, err := m.Net.API(ctx, adminConf, "/api/v1/nodes")
	if err != nil {
		return first, err
	}
	var all struct{ Items []object }
	if err := json.Unmarshal(out, &all); err != nil {
		return first, err
	}
	begun := m.Clock.Now()
	for _, o := range m.asking(all.Items, first) {
		if m.Clock.Now().Sub(begun) >= othersTime/2 {
			return o.Metadata.Name, nil
		}
		if m.reach(ctx, o.internal()) != nil {
			continue // that is what is to be found out
		}
		boot := o.Metadata.Annotations[bootNote]
		if err := m.annotate(ctx, adminConf, o.Metadata.Name, reachedNote, boot+" "+m.cfg.Node); err != nil {
			return o.Metadata.Name, err
		}
	}
	return "", nil
}

// asking are those who ask this server, the first of them in front.
func (m *machine) asking(all []object, first string) (out []*object) {
	at := 0
	for i := range all {
		o := &all[i]
		if o.Metadata.Name == m.cfg.Node || o.Metadata.Annotations[bootNote] == "" || o.reachedBy() != "" || !m.mayJudge(o, all) {
			continue
		}
		if o.Metadata.Name == first {
			at = len(out)
		}
		out = append(out, o)
	}
	return append(out[at:], out[:at]...)
}

// mayJudge prefers the servers at other sites: a node that only its neighbours reach
// is as good as gone for its owner.
func (m *machine) mayJudge(o *object, all []object) bool {
	if o.zone() != m.cfg.Site {
		return true
	}
	for i := range all {
		if all[i].isServer() && all[i].zone() != o.zone() {
			return false
		}
	}
	return true
}

func (m *machine) annotate(ctx context.Context, conf, name, key, value string) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]string{key: value}}})
	if err != nil {
		return err
	}
	return m.Net.Patch(ctx, conf, "/api/v1/nodes/"+name, patch)
}
