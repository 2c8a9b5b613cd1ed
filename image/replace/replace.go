// Package replace prepares for the card that replaces a dead node. It removes the node from
// the cluster, with its vote in etcd and the password that keeps impostors out. Then it
// removes the node from the tailnet, as the new one would be called NAME-1 otherwise, and
// from Longhorn, which would refuse the new one's disk otherwise.
//
// It looks before it changes anything, and says what it will do. It refuses to treat a live
// node as dead, to guess whether a stranger of the same name is the node, and to work on a
// cluster that has lost its quorum. It can be repeated: what is gone already is skipped. It
// does not make cards or keys.
package replace

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/image/fleet"
	"github.com/going-mobile/imagebuilder/image/headscale"
	"github.com/going-mobile/imagebuilder/image/kube"
	"github.com/going-mobile/imagebuilder/image/mint"
)

// Options are what the owner knows better than the program.
type Options struct {
	// EvenIfOnline continues although Headscale calls the node online, or Kubernetes calls
	// it ready, as they do for some minutes after a power cut.
	EvenIfOnline bool
	// ByHand says that the owner has removed the node from the cluster with kubectl.
	ByHand bool
	// API is HOST:PORT of a server's API, "" for the servers' addresses in the tailnet.
	API string
	// Strangers leaves strangers with the node's name alone, rather than refusing: no new
	// node is to have the name.
	Strangers bool
}

// Server is what Headscale is asked for.
type Server interface {
	Nodes(context.Context) ([]headscale.Node, error)
	DeleteNode(context.Context, headscale.ID) error
}

// Leave is the removal of one node.
type Leave struct {
	fleet   *fleet.Fleet
	name    string
	node    fleet.Node
	server  Server
	options Options

	tailnet []headscale.Node // all nodes in it
	members []headscale.Node // those in tailnet that are this node
	cluster *kube.Client     // nil if the cluster is not to be asked
	knows   struct{ node, password bool }
	storage *kube.Storage // nil where Longhorn has nothing of it
}

const passwordSpace = "kube-system"

// password is the Secret by which k3s refuses another machine with that name (docs.k3s.io,
// "How Agent Node Registration Works").
func (l *Leave) password() string { return l.name + ".node-password.k3s" }

// Prepare looks for what a node has left behind, and changes nothing.
func Prepare(ctx context.Context, f *fleet.Fleet, server Server, name string, o Options) (*Leave, error) {
	n, err := f.Find(name)
	if err != nil {
		return nil, err
	}
	l := &Leave{fleet: f, name: name, node: n, server: server, options: o}
	if err := l.replaceable(); err != nil {
		return nil, err
	}
	if err := l.findMembers(ctx, o); err != nil {
		return nil, err
	}
	if o.ByHand || n.Role.In() == node.Control {
		return l, nil
	}
	return l, l.askCluster(ctx, o)
}

// replaceable refuses the only server: a replacement card does not create a cluster.
func (l *Leave) replaceable() error {
	if servers := l.fleet.Servers(); len(servers) == 1 && servers[0] == l.name {
		return fmt.Errorf("%s is the only server: with it the cluster is gone, and there is none that a new card could join. "+
			"'imagebuilder flash --node %s' makes a card that creates a new one, once the old one is deleted from the tailnet (headscale nodes delete)", l.name, l.name)
	}
	return nil
}

// findMembers finds the node among the members of the tailnet.
func (l *Leave) findMembers(ctx context.Context, o Options) (err error) {
	l.tailnet, err = l.server.Nodes(ctx)
	if l.node.Role.Controls() {
		return l.controlIsDead(err, o)
	}
	if err != nil {
		return err
	}
	if o.Strangers {
		l.members, _, err = Find(l.fleet, l.tailnet, l.name)
		return err
	}
	l.members, err = Members(l.fleet, l.tailnet, l.name, o.EvenIfOnline)
	return err
}

// Find looks for a node of the fleet in a tailnet. members are the entries of the node, now
// or in the past: by the keys that were made for it, or by its name and tags. strangers are
// others with its name.
func Find(f *fleet.Fleet, tailnet []headscale.Node, name string) (members, strangers []headscale.Node, err error) {
	n, err := f.Find(name)
	if err != nil {
		return nil, nil, err
	}
	made, err := mint.Keys(f)
	if err != nil {
		return nil, nil, err
	}
	for _, m := range tailnet {
		lacks := slices.ContainsFunc(n.Tags(), func(tag string) bool { return !slices.Contains(m.Tags, tag) })
		switch {
		case mint.Joined(made[name], name, m), m.GivenName == name && !lacks:
			members = append(members, m)
		case m.GivenName == name:
			strangers = append(strangers, m)
		}
	}
	return members, strangers, nil
}

// Members returns the members that Find finds. A member that is online is refused unless
// evenIfOnline is set, and so is a stranger.
func Members(f *fleet.Fleet, tailnet []headscale.Node, name string, evenIfOnline bool) ([]headscale.Node, error) {
	n, err := f.Find(name)
	if err != nil {
		return nil, err
	}
	all, strangers, err := Find(f, tailnet, name)
	if err != nil {
		return nil, err
	}
	if len(strangers) > 0 {
		return nil, fmt.Errorf("a device that is none of this fleet is called %s in the tailnet (number %s; it lacks the tags %v): the new node could not have that name. "+
			"Rename or delete it first (headscale nodes rename, headscale nodes delete)", name, strangers[0].ID, n.Tags())
	}
	if !evenIfOnline && slices.ContainsFunc(all, func(m headscale.Node) bool { return m.Online }) {
		return nil, &Alive{name}
	}
	return all, nil
}

// Alive says that a node lives, as Headscale sees it.
type Alive struct{ Node string }

func (a *Alive) Error() string {
	return fmt.Sprintf("%s is online: switch it off first, or it comes back into the cluster beside the new one. "+
		"If it is off, and Headscale has not noticed yet, say --even-if-online", a.Node)
}

// controlIsDead requires that the node that runs Headscale does not answer; a refusal is an
// answer, too. The node stays in the tailnet's list: "headscale init" replaces it there,
// once the database is restored.
func (l *Leave) controlIsDead(answer error, o Options) error {
	var refused *headscale.APIError
	lives := answer == nil || errors.As(answer, &refused) || errors.Is(answer, headscale.ErrUnauthorized) || errors.Is(answer, headscale.ErrNotFound) || speaksTLS(answer)
	if lives && !o.EvenIfOnline {
		return fmt.Errorf("%s is online: a server answers at %s. Switch it off first. If somebody else answers there now, say --even-if-online%s",
			l.name, l.fleet.Cluster.Headscale.URL, l.insteadOf(answer))
	}
	l.tailnet = nil
	return nil
}

// insteadOf says what to do instead if the node lacks only a certificate.
func (l *Leave) insteadOf(answer error) string {
	var bad *tls.CertificateVerificationError
	if !errors.As(answer, &bad) {
		return ""
	}
	return fmt.Sprintf(". If only its certificate is wrong (%v), it needs none of this: put a new one into fleet.yaml (headscale: server: cert:, key:), and say: imagebuilder apply %s --risky", bad.Err, l.name)
}

// speaksTLS says whether an error shows that a server answered: with an invalid certificate,
// such as an expired one, or with a TLS alert, as a Headscale without a certificate does.
func speaksTLS(err error) bool {
	var bad *tls.CertificateVerificationError
	var op *net.OpError
	return errors.As(err, &bad) || errors.As(err, &op) && op.Op == "remote error" // crypto/tls, Conn.in
}

// askCluster asks what the cluster knows about the node. A node that reports to the API is
// alive, whatever Headscale says, as Headscale itself may be at fault.
func (l *Leave) askCluster(ctx context.Context, o Options) error {
	id, err := l.fleet.Identity()
	if err != nil {
		return err
	}
	if id == nil {
		return l.byKubectl()
	}
	if l.cluster, err = kube.Open(ctx, id, l.ways(o)); err != nil {
		return l.silent(err)
	}
	n, err := l.cluster.Node(ctx, l.name)
	if err != nil {
		return err
	}
	if l.knows.node = n != nil; l.knows.node && n.Fault == "" && !o.EvenIfOnline {
		return fmt.Errorf("%s is ready, says Kubernetes: it lives, or was switched off within the last minute. Switch it off, and wait that long. "+
			"If you know better, say --even-if-online", l.name)
	}
	if l.knows.password, err = l.cluster.HasSecret(ctx, passwordSpace, l.password()); err != nil {
		return err
	}
	l.storage, err = l.cluster.Storage(ctx, l.name)
	return err
}

// ways are the connections to the other servers, at the addresses that Headscale gave them.
func (l *Leave) ways(o Options) (out []kube.Way) {
	if o.API != "" {
		return []kube.Way{{Server: "the server", Address: o.API}}
	}
	for _, name := range l.fleet.Servers() {
		if name == l.name {
			continue
		}
		var at []netip.Addr
		for _, m := range l.tailnet {
			if m.GivenName == name {
				at = append(at, m.Addresses...)
			}
		}
		out = append(out, kube.WaysTo(name, at...)...)
	}
	return out
}

// Steps describe what Do will do.
func (l *Leave) Steps() (out []string) {
	switch {
	case l.cluster == nil:
	case l.knows.node && l.node.Role.In().Votes():
		out = append(out, "delete Kubernetes' node "+l.name+", by which k3s takes it out of etcd, too")
	case l.knows.node:
		out = append(out, "delete Kubernetes' node "+l.name)
	}
	if l.cluster != nil && l.knows.password {
		out = append(out, "delete the Secret "+passwordSpace+"/"+l.password())
	}
	for _, m := range l.members {
		out = append(out, fmt.Sprintf("delete %s (number %s) from the tailnet", m.GivenName, m.ID))
	}
	if l.forgetsStorage() {
		out = append(out, "delete Longhorn's record of "+l.name+", with its replicas of volumes, of which other nodes have healthy ones")
	}
	return out
}

// Advice is what the person who inserts the card has to know besides, "" if nothing.
func (l *Leave) Advice() string {
	var all []string
	if d := l.node.DataDisk; d != (node.Disk{}) {
		all = append(all, fmt.Sprintf("its data disk (%s) must be an empty one: what is on the old one's is the old %s, which the cluster does not take back", d, l.name))
	}
	if d := l.node.Longhorn.Disk; d != (node.Disk{}) && l.fleet.Encrypts(l.name) {
		all = append(all, fmt.Sprintf("its disk for volumes (%s) must be an empty one: the old one's were encrypted by the old %s, whose key is gone with it", d, l.name))
	}
	if words := l.onlyReplicas(); words != "" {
		all = append(all, words)
	}
	return strings.Join(all, "\n")
}

// Do checks once more, as a person's answer and a build may lie between: meanwhile the node
// may have come back, and the certificate for the API may have expired. Then it removes the
// node. It does nothing that Steps did not list.
func (l *Leave) Do(ctx context.Context) error {
	now, err := Prepare(ctx, l.fleet, l.server, l.name, l.options)
	if err != nil {
		return err
	}
	for _, s := range now.Steps() {
		if !slices.Contains(l.Steps(), s) {
			return fmt.Errorf("since this was shown, there is more to be done: %s", s)
		}
	}
	return now.leave(ctx)
}

// leave removes the node from the cluster, then from the tailnet, and at last, as Longhorn
// may refuse, from Longhorn.
func (l *Leave) leave(ctx context.Context) error {
	if l.cluster != nil {
		if err := l.cluster.DeleteNode(ctx, l.name); err != nil {
			return err
		}
		if err := l.cluster.DeleteSecret(ctx, passwordSpace, l.password()); err != nil {
			return err
		}
	}
	if err := Forget(ctx, l.server, l.members); err != nil {
		return err
	}
	return l.forgetStorage(ctx)
}

// Forget removes members from the tailnet. A member that is gone already is no error.
func Forget(ctx context.Context, server Server, members []headscale.Node) error {
	for _, m := range members {
		if err := server.DeleteNode(ctx, m.ID); err != nil && !errors.Is(err, headscale.ErrNotFound) {
			return err
		}
	}
	return nil
}
