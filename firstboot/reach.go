package firstboot

import (
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/node"
)

// reach: a member reaches the other nodes, but cannot see whether they reach it. So each
// node asks, once per boot, by an annotation on its Kubernetes Node. A server that has
// reached its kubelet over the tailnet answers there. A system on trial is not kept without
// that answer.

// Annotations of a Node.
const (
	bootNote    = "imagebuilder/boot"    // the ID of the boot in which the node asks
	reachedNote = "imagebuilder/reached" // that ID, and the server that reached the node
)

const bootID = "/proc/sys/kernel/random/boot_id"

// kubeletPort is reachable between a cluster's nodes under every tailnet policy with which
// k3s works.
const kubeletPort = 10250

// object is a Node, as far as it is needed here.
type object struct {
	Metadata struct {
		Name                string
		Labels, Annotations map[string]string
	}
	Status struct {
		Addresses  []struct{ Type, Address string }
		Conditions []struct{ Type, Status string }
	}
}

func (o *object) zone() string { return o.Metadata.Labels["topology.kubernetes.io/zone"] }

func (o *object) isServer() bool {
	_, ok := o.Metadata.Labels["node-role.kubernetes.io/control-plane"]
	return ok
}

// answers reports whether it is a server that the cluster calls Ready: one that is switched
// off, or cut off, reaches nobody.
func (o *object) answers() bool {
	if !o.isServer() {
		return false
	}
	for _, c := range o.Status.Conditions {
		if c.Type == "Ready" {
			return c.Status == "True"
		}
	}
	return false
}

// internal returns the address by which other nodes know it: the one in the tailnet.
func (o *object) internal() netip.Addr {
	for _, a := range o.Status.Addresses {
		if ip, err := netip.ParseAddr(a.Address); err == nil && a.Type == "InternalIP" {
			return ip
		}
	}
	return netip.Addr{}
}

// reachedBy returns the server that reached the node in the boot in which it asks, "" for
// none.
func (o *object) reachedBy() string {
	boot := o.Metadata.Annotations[bootNote]
	was, by, _ := strings.Cut(o.Metadata.Annotations[reachedNote], " ")
	if boot == "" || was != boot {
		return ""
	}
	return by
}

// reach asks and answers, if this node was seen Ready in this pass. What fails is repeated
// at the next look: only a trial needs it, and that waits.
func (k *keeping) reach(ctx context.Context, m *machine) {
	if m.object == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, othersTime)
	defer cancel()
	_ = m.askReach(ctx)
	k.next, _ = m.reachOthers(ctx, k.next)
}

// askReach asks with the kubelet's rights, which may change its own Node. It is the Node
// that verify saw.
func (m *machine) askReach(ctx context.Context) error {
	var own object
	if json.Unmarshal(m.object, &own) != nil {
		return nil
	}
	boot, err := m.boot()
	switch {
	case err != nil:
		return err
	case own.Metadata.Annotations[bootNote] != boot:
		return m.annotate(ctx, kubeletConf, m.cfg.Node, bootNote, boot)
	}
	return m.noteReached(own.reachedBy())
}

// reachedFile has the first server that reached this node. It counts for an update that comes
// while the cluster is silent, or before this node has asked in this boot.
const reachedFile = stateDir + "/reached"

func (m *machine) noteReached(by string) error {
	if was, err := m.exists(reachedFile); by == "" || was || err != nil {
		return err
	}
	return m.write(text644(reachedFile, by+"\n"))
}

// wasReached reports whether servers look whether they reach this node.
func (h *Host) wasReached(ctx context.Context, name string) (bool, error) {
	by, err := h.reached(ctx, name)
	if err != nil {
		return h.exists(reachedFile)
	}
	return by != "", nil
}

func (h *Host) boot() (string, error) {
	id, err := h.read(bootID)
	return strings.TrimSpace(string(id)), err
}

// reached returns the server that reached this node in this boot, "" if none has yet.
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
	if err == nil && own.Metadata.Annotations[bootNote] != boot {
		err = errors.New("it has not asked yet whether a server reaches it")
	}
	if err != nil {
		return "", err
	}
	return own.reachedBy(), nil
}

// nodes returns the nodes of the cluster, as its API tells them a server.
func (h *Host) nodes(ctx context.Context) ([]object, error) {
	out, err := h.Net.API(ctx, adminConf, "/api/v1/nodes")
	if err != nil {
		return nil, err
	}
	var all struct{ Items []object }
	err = json.Unmarshal(out, &all)
	return all.Items, err
}

// onlyServer reports whether this node is the only server that answers: then nobody can reach
// it from elsewhere. An agent has no access to the list of nodes, and is never the only one.
func (h *Host) onlyServer(ctx context.Context, name string) bool {
	all, err := h.nodes(ctx)
	others := slices.ContainsFunc(all, func(o object) bool { return o.answers() && o.Metadata.Name != name })
	return err == nil && !others
}

// reachTime is for one node: its first packet may go through a relay, and if the answer
// comes too late, a later look gets it.
const reachTime = 3 * time.Second

// othersTime is for all nodes together, including what is asked of the cluster. After half
// of it the remaining nodes are left to the next look, which begins with them.
const othersTime = 10 * time.Second

func (m *machine) reach(ctx context.Context, at netip.Addr) error {
	ctx, cancel := context.WithTimeout(ctx, reachTime)
	defer cancel()
	return m.Net.Reach(ctx, netip.AddrPortFrom(at, kubeletPort))
}

// reachOthers answers the nodes that ask, if this node is a server. It begins with the node
// called first, and returns the one to begin with at the next look.
func (m *machine) reachOthers(ctx context.Context, first string) (next string, err error) {
	if m.cfg.Role != node.Server {
		return "", nil
	}
	all, err := m.nodes(ctx)
	if err != nil {
		return first, err
	}
	begun := m.Clock.Now()
	for _, o := range m.asking(all, first) {
		if m.Clock.Now().Sub(begun) >= othersTime/2 {
			return o.Metadata.Name, nil
		}
		if m.reach(ctx, o.internal()) != nil {
			continue // not reached: it gets no answer
		}
		boot := o.Metadata.Annotations[bootNote]
		if err := m.annotate(ctx, adminConf, o.Metadata.Name, reachedNote, boot+" "+m.cfg.Node); err != nil {
			return o.Metadata.Name, err
		}
	}
	return "", nil
}

// asking returns the nodes that this server is to answer, beginning with the one called
// first.
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

// mayJudge leaves a node to the servers at other sites, if any is Ready: for its owner, a
// node that only its neighbours reach is as good as gone.
func (m *machine) mayJudge(o *object, all []object) bool {
	if o.zone() != m.cfg.Site {
		return true
	}
	for i := range all {
		if all[i].answers() && all[i].zone() != o.zone() {
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
