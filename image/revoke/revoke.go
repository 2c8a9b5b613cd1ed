// Package revoke shuts out a node that is in the wrong hands. Holders refuse its share of
// the key for ever, its unused keys are expired, and it is removed from the tailnet, then
// from the cluster.
//
// It does as much as it can, the most effective step first, and says what is left, also if
// Headscale does not answer. A repeated call does only what is left, and only to the machine
// of the first call: one that has taken its name since is left alone. The package refuses
// the machine that runs Headscale, without which nobody can be shut out. It cannot undo what
// the thief may have read: Advice says what to change.
package revoke

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/image/fleet"
	"github.com/going-mobile/imagebuilder/image/headscale"
	"github.com/going-mobile/imagebuilder/image/mint"
	"github.com/going-mobile/imagebuilder/image/replace"
)

// Holders are the nodes that keep shares of the node's key.
type Holders interface {
	// Revoke makes the holders in names refuse the node: its numbers in Headscale and all
	// its shares or, with only, just the shares of these numbers. told are the holders that
	// did so; the error is about the others.
	Revoke(ctx context.Context, names, numbers []string, only bool) (told []string, err error)
}

// Server is what Headscale is asked for.
type Server interface {
	replace.Server
	mint.Keyring
}

// Silent is a Server for a Headscale that cannot be asked. All methods return Why.
type Silent struct{ Why error }

// Nodes returns Why.
func (s Silent) Nodes(context.Context) ([]headscale.Node, error) { return nil, s.Why }

// DeleteNode returns Why.
func (s Silent) DeleteNode(context.Context, headscale.ID) error { return s.Why }

// ListKeys returns Why.
func (s Silent) ListKeys(context.Context) ([]headscale.Key, error) { return nil, s.Why }

// ExpireKey returns Why.
func (s Silent) ExpireKey(context.Context, headscale.Key) error { return s.Why }

// Options are what the owner knows better than the program.
type Options struct {
	Cluster replace.Options
	// Again says that the machine that has the name now is in the wrong hands, too.
	Again bool
}

// Order is the shutting out of one node.
type Order struct {
	fleet   *fleet.Fleet
	name    string
	node    fleet.Node
	server  Server
	holders Holders
	options replace.Options

	note    *note
	silent  error            // why Headscale does not tell which members there are
	members []headscale.Node // of the machine to shut out
	later   []headscale.Node // of a machine that has taken its name since
	others  []headscale.Node // with the name, but not of the fleet
	only    bool             // holders may have shares of another machine with the name

	keys     []headscale.Key // unused keys of the node, with which a thief of its card could join
	unknown  []headscale.Key // unused keys with its tags that are not in the book here
	fresh    []headscale.Key // unused keys of a card made since, for another machine
	unlisted error           // why these lists may be incomplete
}

// Prepare finds out which machine the node is, and changes nothing.
func Prepare(ctx context.Context, f *fleet.Fleet, server Server, h Holders, name string, o Options) (*Order, error) {
	n, err := f.Find(name)
	if err != nil {
		return nil, err
	}
	if n.Role.Controls() {
		return nil, fmt.Errorf("%s runs Headscale, which shuts others out: make a new one elsewhere (imagebuilder replace %s), and let the name of its address lead there", name, name)
	}
	o.Cluster.EvenIfOnline, o.Cluster.Strangers = true, true
	order := &Order{fleet: f, name: name, node: n, server: server, holders: h, options: o.Cluster}
	before, err := readNote(f, name)
	if err != nil {
		return nil, err
	}
	order.note = &note{Version: 1, At: time.Now().UTC()}
	switch {
	case before != nil && o.Again:
		order.note.Numbers = before.Numbers
	case before != nil:
		order.note = before
	}
	if err := order.find(ctx, before != nil && !o.Again); err != nil {
		return nil, err
	}
	return order, order.refuse()
}

// find asks Headscale for the node's members. If a revocation is repeated (again), some may
// be another machine's.
func (o *Order) find(ctx context.Context, again bool) error {
	tailnet, err := o.server.Nodes(ctx)
	if o.silent = err; err != nil {
		o.only = again
		return nil
	}
	all, others, err := replace.Find(o.fleet, tailnet, o.name)
	if err != nil {
		return err
	}
	o.others = others
	for _, m := range all {
		if again && o.note.isLater(m) {
			o.later = append(o.later, m)
			continue
		}
		o.members = append(o.members, m)
	}
	for _, m := range o.members {
		o.note.add(m)
	}
	o.note.Listed, o.only = true, len(o.later) > 0
	// A key made since the revocation is the new card's.
	o.keys, o.unknown, o.fresh, o.unlisted = mint.Unused(ctx, o.fleet, o.server, o.name, o.note.At)
	return nil
}

// refuse returns an error if only a later machine or its card is left, of which nobody said
// that it is in the wrong hands.
func (o *Order) refuse() error {
	switch {
	case len(o.members) > 0 || len(o.missing()) > 0 || len(o.keys)+len(o.unknown) > 0 || o.unlisted != nil:
		return nil
	case len(o.later) == 0 && len(o.fresh) > 0 && o.note.Left:
		return fmt.Errorf("the %s that was revoked on %s is shut out everywhere. A card made since has a key (number %s) that is good until %s: if that card is in other hands, too, say --again",
			o.name, o.note.At.Format(time.DateOnly), o.fresh[0].ID, o.fresh[0].Expiration.Format(time.DateOnly))
	case len(o.later) == 0:
		return nil
	}
	return fmt.Errorf("the %s that was revoked on %s is shut out everywhere. The one of today (number %s) has joined since: if that is in other hands, too, say --again",
		o.name, o.note.At.Format(time.DateOnly), o.later[0].ID)
}

// missing are the holders that do not know about the revocation yet.
func (o *Order) missing() []string {
	if !o.fleet.Encrypts(o.name) {
		return nil
	}
	return slices.DeleteFunc(o.fleet.Holders(o.name), func(name string) bool { return slices.Contains(o.note.Told, name) })
}

// Steps describe what Do will do.
func (o *Order) Steps() (out []string) {
	if missing := o.missing(); len(missing) > 0 && !o.nameless() {
		out = append(out, "have "+strings.Join(missing, ", ")+" refuse its share of the key for its data, for ever")
	}
	for _, k := range o.keys {
		out = append(out, fmt.Sprintf("expire the key on its card that was not used (number %s), with which it could join until %s", k.ID, k.Expiration.Format(time.DateOnly)))
	}
	for _, k := range o.unknown {
		out = append(out, fmt.Sprintf("expire a key with just its tags (number %s), which secrets/keys.json does not know, as where that was brought back from before: somebody could join with it until %s%s", k.ID, k.Expiration.Format(time.DateOnly), o.orOf()))
	}
	for _, k := range o.fresh {
		out = append(out, fmt.Sprintf("leave the key alone that a card made since has (number %s), with which its machine can join until %s: if that card is in other hands, too, say --again", k.ID, k.Expiration.Format(time.DateOnly)))
	}
	for _, m := range o.members {
		out = append(out, fmt.Sprintf("delete %s (number %s) from the tailnet", m.GivenName, m.ID))
	}
	for _, m := range o.others {
		out = append(out, fmt.Sprintf("leave the device alone that is called %s in the tailnet and is none of this fleet's (number %s; it lacks the tags %v): if that is in other hands, delete it there (headscale nodes delete -i %s)", o.name, m.ID, o.node.Tags(), m.ID))
	}
	switch {
	case o.silent != nil:
		out = append(out, "leave its unused keys, tailnet and cluster for another time: Headscale does not say who is who")
	case len(o.later) > 0:
		out = append(out, fmt.Sprintf("leave the %s of today alone (number %s), in the cluster, too: it has joined since the other was revoked", o.name, o.later[0].ID))
	case !o.alone():
		out = append(out, "delete it from the cluster, with its vote and its password, if it is there")
	}
	return out
}

// orOf names the nodes whose cards have the same tags, so that their keys cannot be told
// apart. Having to give a card another key is a small price for keeping a thief out.
func (o *Order) orOf() string {
	same := slices.DeleteFunc(slices.Clone(o.fleet.Nodes.Names), func(name string) bool {
		n, _ := o.fleet.Nodes.Get(name)
		return name == o.name || !slices.Equal(n.Tags(), o.node.Tags())
	})
	if len(same) == 0 {
		return ""
	}
	return fmt.Sprintf("; it may be that of %s, whose card then needs another: imagebuilder key %s", strings.Join(same, " or "), strings.Join(same, ", imagebuilder key "))
}

// nameless says that the revoked machine's number was not recorded, and another machine has
// its name.
func (o *Order) nameless() bool { return len(o.later) > 0 && len(o.note.Numbers) == 0 }

// alone says that the node is the cluster's only server.
func (o *Order) alone() bool {
	servers := o.fleet.Servers()
	return len(servers) == 1 && servers[0] == o.name
}

// Do does as much as it can. The error says what is left.
func (o *Order) Do(ctx context.Context) error {
	noted := o.note.write(o.fleet, o.name) // first, as Headscale cannot be asked for the numbers afterwards
	var left []error
	if err := o.tell(ctx); err != nil {
		left = append(left, fmt.Errorf("not all who keep its share know: %w", err))
	}
	if noted == nil {
		noted = o.note.write(o.fleet, o.name)
	}
	if noted != nil {
		left = append(left, fmt.Errorf("who is shut out could not be noted, so do it again only before a new machine is called %s: %w", o.name, noted))
	}
	if o.silent != nil {
		return errors.Join(append(left, fmt.Errorf("its keys that were not used, tailnet and cluster: %w", o.silent))...)
	}
	if err := errors.Join(o.unlisted, mint.ExpireAll(ctx, o.server, slices.Concat(o.keys, o.unknown))); err != nil {
		left = append(left, fmt.Errorf("its keys that were not used: %w", err))
	}
	if err := replace.Forget(ctx, o.server, o.members); err != nil {
		left = append(left, fmt.Errorf("the tailnet: %w", err))
	}
	if err := o.leaveCluster(ctx); err != nil {
		left = append(left, fmt.Errorf("the cluster: %w", err))
	} else if len(o.later) == 0 {
		o.note.Left = true
		_ = o.note.write(o.fleet, o.name) // without this, it is asked to leave once more
	}
	return errors.Join(left...)
}

// tell informs the holders that do not know yet.
func (o *Order) tell(ctx context.Context) error {
	missing := o.missing()
	switch {
	case len(missing) == 0:
		return nil
	case o.nameless():
		return fmt.Errorf("nobody noted the number that the %s had which was revoked, and another machine has the name. On %s say 'firstboot revoke --only %s NUMBER', with the old one's number in Headscale",
			o.name, strings.Join(missing, ", "), o.name)
	case o.only && len(o.note.Numbers) == 0:
		return fmt.Errorf("%w: so nobody knows which of its machines was revoked; if no new one is called %s yet, say --again", o.silent, o.name)
	}
	told, err := o.holders.Revoke(ctx, missing, o.note.Numbers, o.only)
	o.note.Told = append(o.note.Told, told...)
	return err
}

// leaveCluster removes the node from the cluster, unless its name is another machine's now.
func (o *Order) leaveCluster(ctx context.Context) error {
	if o.alone() || len(o.later) > 0 {
		return nil
	}
	leave, err := replace.Prepare(ctx, o.fleet, o.server, o.name, o.options)
	if err != nil {
		return err
	}
	return leave.Do(ctx)
}

// Advice says what else the owner has to do, as a thief could read the disk.
func (o *Order) Advice() []string {
	locked := ""
	if o.fleet.Encrypts(o.name) {
		locked = ", if it was taken while it ran (switched off, they are locked)"
	}
	how := "a new agent's token ('imagebuilder fleet token', then 'imagebuilder apply --all --risky'), and new values of the Secrets of what ran there"
	if o.node.Role.In() != node.Agent {
		how = "'k3s token rotate' on a server, the new one for all (cluster: k3s: token, agentToken; 'imagebuilder apply --all --risky'), and new values of all Secrets; its certificate authorities are known as well: k3s certificate rotate-ca, or better a new cluster"
	}
	out := []string{
		"the tailnet's, Wi-Fi's and proxy's keys, and what node.yaml's files held: change those passwords",
		"the cluster's tokens and Secrets that it had" + locked + ": " + how,
	}
	if wards := o.wards(); len(wards) > 0 {
		out = append(out, fmt.Sprintf("the second share of the keys of %s, which it kept%s: with the disk of one of them it opens what is on that. Make them anew, one after the other ('imagebuilder replace NODE')", strings.Join(wards, ", "), locked))
	}
	return out
}

// wards are the encrypted nodes of whose keys this node kept a share.
func (o *Order) wards() []string {
	return slices.DeleteFunc(o.fleet.Encrypted(), func(name string) bool { return !slices.Contains(o.fleet.Holders(name), o.name) })
}
