package main

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/going-mobile/imagebuilder/image/fleet"
	"github.com/going-mobile/imagebuilder/image/rollout"
	"github.com/going-mobile/imagebuilder/image/roster"
)

const updateHelp = `Write a newer image into the slot that a node does not run, and put it on trial: at
its next boot the node tries the image, keeps it if it proves itself, and otherwise
falls back to what it runs now.

The image is checked as by 'imagebuilder verify', and needs its manifest beside it.
The update is signed with the owner's key, and sent over ssh, as root, to the nodes'
addresses in the tailnet. One node comes after the other; the first that fails ends
the command. Before a node writes anything, it checks the signature, the board, the
version, the free space and what it runs. So the same update can be sent again.

Which nodes and images:

  - Name the nodes, or say --site or --all.
  - Each board has an image of its own: say --image for each.
  - --sign is for all images. Boards with other keys need a run of their own.
  - --site and --all leave out nodes of other boards and nodes that are offline, and
    list them. If such a node is named, nothing is done.
  - With --wait, nodes that are offline are waited for. The others come first.

With --reboot the nodes also restart, one at a time, and the cluster stays up. For
each node:

  1. The command waits, for as long as --heal says, until the other nodes that are
     online are ready, and no volume of Longhorn lacks a replica. Before a server or
     witness restarts, all nodes that vote in etcd must be ready, online or not.
  2. A server saves a snapshot of etcd.
  3. The node is cordoned, and its pods are evicted. PodDisruptionBudgets are
     respected for as long as --drain says. If pods are left then, the node is
     uncordoned again, and the command stops.
  4. The node restarts, its trial must be blessed, and it is uncordoned.
  5. When Longhorn has healed, the next node has its turn.

The order with --reboot:

  - The agents of one site come first, then its servers. When they have run the
    update for as long as --soak says, the other sites follow.
  - With a new minor version of k3s all servers come before the first agent, because
    no kubelet may be newer than an API server.
  - The machine with Headscale is the last.

--plan prints the order, and what prevents a node's restart now. It changes nothing.

Without --reboot an agent or witness gets a new minor version of k3s only when all
servers run it. It gets no update with k3s at all if the cluster does not say what
the servers run.

When a rollout stops:

  - The first node that fails or falls back stops it. Run the command again: it
    skips the nodes that run the update.
  - Ctrl-C, or closing the terminal, uncordons a node that has not restarted yet.
    Under nohup, closing the terminal does not stop the command.
  - A rollout waits before it restarts a server or witness while another rollout has
    one cordoned. If that one was cut off and has left the node so, the waiting one
    names the node (kubectl uncordon NODE).

With --no-drain one node restarts without asking the cluster, which may be down.

With --base the nodes of its board copy from the slot that they run what that image
has, too, and fetch only the rest. Nodes that run another image refuse.

With --rollback the nodes that are named try at their next boot the system that they
ran before the last update. Nothing is sent. A node refuses if that system's k3s or
Headscale is of another minor version. It also refuses if it fell back, or went back
before, because it runs that system already. An update that still waits for its restart is only taken
back; an update to what the node runs does the same.

With --write the update becomes a file instead, for a stick. On the node, run
'firstboot update FILE'.

Exit codes:

  0    all nodes that the images are for have the update
  1    the command stopped, or left out nodes that are offline
  2    wrong usage
  130  interrupted

With --plan, 0 means that there is a plan. With --json the result of a rollout says
what was done, which nodes were left out, and where it stopped.`

// updateFlags are the flags of "update".
type updateFlags struct {
	fleet, file         string
	images, bases       []string
	signer              signerFlags
	choice              roster.Choice
	opt                 rollout.Options
	plan, asJSON, quiet bool
	back                bool
	temp                string // see scratch
}

func newUpdate() *cobra.Command {
	u := updateFlags{opt: rollout.Options{Soak: 30 * time.Minute, Drain: 10 * time.Minute, Heal: 2 * time.Hour}}
	cmd := &cobra.Command{
		Use:   "update NODE...|--site SITE|--all --image IMAGE|--rollback",
		Short: "Put a newer image onto running nodes",
		Long:  updateHelp,
		Example: `  imagebuilder update --all --image dist/rpi4.img.zst --reboot --plan
  imagebuilder update --all --image dist/rpi4.img --image dist/optiplex-7050.img --reboot --canary cabin-pi --soak 2h
  imagebuilder update --site cabin --image dist/rpi4.img --reboot --wait 24h
  imagebuilder update home-pi cabin-pi --image dist/rpi4.img      # restart them yourself
  imagebuilder update cabin-pi --image new.img --base old.img     # fetches what is new
  imagebuilder update --rollback cabin-pi                         # what it ran before
  imagebuilder update --write rpi4.update --image dist/rpi4.img   # for a stick`,
		ValidArgsFunction: completeNodes,
		RunE:              func(cmd *cobra.Command, _ []string) error { return u.run(cmd) },
	}
	cmd.Args = func(_ *cobra.Command, args []string) error {
		u.choice.Names = args
		return u.check(cmd)
	}
	fleetFlag(cmd, &u.fleet)
	cmd.Flags().StringArrayVar(&u.images, "image", nil, "a built image, raw or compressed; one for each board (repeatable)")
	cmd.Flags().StringArrayVar(&u.bases, "base", nil, "the image that the board's nodes run: they copy what it has, and fetch only the rest (repeatable)")
	u.signer.add(cmd.Flags(), "the key (PEM) that the image was built with, if it was built with one")
	cmd.Flags().StringVar(&u.file, "write", "", "write the update to this file, and send nothing")
	u.rolloutFlags(cmd)
	cmd.Flags().BoolVar(&u.back, "rollback", false, "go back to the system before the last update")
	cmd.Flags().BoolVar(&u.asJSON, "json", false, "print JSON")
	cmd.Flags().BoolVarP(&u.quiet, "quiet", "q", false, "no progress")
	return cmd
}

func (u *updateFlags) rolloutFlags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&u.choice.Site, "site", "", "the nodes of this site")
	cmd.Flags().BoolVar(&u.choice.All, "all", false, "all nodes of the fleet")
	cmd.Flags().BoolVar(&u.plan, "plan", false, "only print the order, and what prevents restarts now")
	cmd.Flags().BoolVar(&u.opt.Restart, "reboot", false, "restart the nodes, one at a time")
	cmd.Flags().BoolVar(&u.opt.Blind, "no-drain", false, "restart one node without asking the cluster")
	cmd.Flags().StringVar(&u.opt.Canary, "canary", "", "the node that goes first; its site then comes first, too")
	cmd.Flags().DurationVar(&u.opt.Soak, "soak", u.opt.Soak, "how long the first site runs the update before the next one begins")
	cmd.Flags().DurationVar(&u.opt.Drain, "drain", u.opt.Drain, "how long to wait until a node's pods are gone")
	cmd.Flags().DurationVar(&u.opt.Heal, "heal", u.opt.Heal, "how long to wait, before and after each restart, until the cluster is healthy")
	cmd.Flags().DurationVar(&u.opt.Wait, "wait", 0, "how long to wait for nodes that are offline")
	_ = cmd.RegisterFlagCompletionFunc("site", completeSites)
	_ = cmd.RegisterFlagCompletionFunc("canary", completeNodes)
}

// restartFlags say how nodes restart; they need --reboot.
var restartFlags = []string{"no-drain", "canary", "soak", "drain", "heal"}

// nodeFlags are for nodes, and do not go with --write.
var nodeFlags = append([]string{"site", "all", "plan", "reboot", "wait"}, restartFlags...)

// imageFlags say what is sent.
var imageFlags = []string{"image", "base", "write", "sign", "cert"}

// check refuses combinations of flags that do not make sense.
func (u *updateFlags) check(cmd *cobra.Command) error {
	if u.back {
		if name := firstGiven(cmd, slices.Concat(imageFlags, nodeFlags)); name != "" || len(u.choice.Names) == 0 {
			return usagef("--rollback needs at least one NODE, and takes no flag that is for an image or a rollout")
		}
		return nil
	}
	if len(u.images) == 0 {
		return usagef("--image is missing: which image shall the nodes get?")
	}
	if u.file != "" {
		if len(u.images) > 1 {
			return usagef("--write makes a file of one --image")
		}
		if name := firstGiven(cmd, nodeFlags); name != "" || len(u.choice.Names) > 0 {
			return usagef("--write only makes a file, for a stick: name no nodes, and no flag that is for nodes")
		}
		return nil
	}
	if err := u.choice.Check(); err != nil {
		return usagef("%w; or make a file, --write FILE", err)
	}
	if name := firstGiven(cmd, restartFlags); name != "" && !u.opt.Restart {
		return usagef("--%s says how nodes restart: say --reboot, too", name)
	}
	if u.opt.Blind && len(u.choice.Names) != 1 {
		return usagef("--no-drain is for one NODE at a time: nobody asks whether the cluster can do without it")
	}
	for name, d := range map[string]time.Duration{"soak": u.opt.Soak, "drain": u.opt.Drain, "heal": u.opt.Heal, "wait": u.opt.Wait} {
		if d < 0 {
			return usagef("--%s %v: must not be below 0", name, d)
		}
	}
	return nil
}

// firstGiven is the first of these flags that was given, "" if none was.
func firstGiven(cmd *cobra.Command, names []string) string {
	for _, name := range names {
		if cmd.Flags().Changed(name) {
			return name
		}
	}
	return ""
}

func (u *updateFlags) run(cmd *cobra.Command) error {
	f, err := loadFleet(u.fleet)
	if err != nil {
		return err
	}
	if err := u.there(); err != nil {
		return err
	}
	if u.file != "" {
		return u.write(cmd, f)
	}
	if _, err := u.choice.Of(f); err != nil { // even if Headscale does not answer
		return err
	}
	client, rows, err := members(cmd.Context(), f)
	if err != nil {
		return err
	}
	if u.back {
		done, failed := rollout.Rollback(cmd.Context(), f, rows, u.choice.Names)
		return errors.Join(u.printBack(cmd.OutOrStdout(), done), failed)
	}
	if err := rollout.Known(f, rows, u.choice, u.opt.Wait); err != nil { // before reading an image, which takes minutes
		return err
	}
	remove, err := u.scratch()
	if err != nil {
		return err
	}
	defer remove()
	all, err := u.open(cmd)
	defer all.close()
	if err != nil {
		return err
	}
	world := rollout.Outside(f, client, rows)
	r, err := rollout.Prepare(cmd.Context(), f, rows, world, all.updates(), u.choice, u.opt)
	if err != nil {
		return err
	}
	if u.plan {
		return u.printPlan(cmd, r.Plan(cmd.Context()))
	}
	return u.roll(cmd, f, r, all)
}

// there checks that the named files exist, before anything else is asked.
func (u *updateFlags) there() error {
	for flag, files := range map[string][]string{"--image": u.images, "--base": u.bases} {
		for _, name := range files {
			if _, err := os.Stat(name); err != nil {
				return fileOf(flag, err)
			}
		}
	}
	return nil
}

// roll makes the updates and brings them to the nodes. It prints what was done even if an
// error follows.
func (u *updateFlags) roll(cmd *cobra.Command, f *fleet.Fleet, r *rollout.Rollout, all sources) error {
	files := map[string]string{}
	for _, src := range all {
		board := src.img.Label.Board
		files[board] = filepath.Join(u.temp, board)
		if _, err := u.make(cmd, f, src, files[board]); err != nil {
			return err
		}
	}
	if !u.quiet {
		r.Say = nodeLines(cmd.ErrOrStderr())
	}
	done, failed := r.Run(cmd.Context(), files)
	if err := u.printDone(cmd.OutOrStdout(), done, r.LeftOut(), failed); err != nil || failed != nil {
		return errors.Join(failed, err)
	}
	return missed(r.LeftOut())
}

// missed returns an error that names the nodes that did not get the update because Headscale
// did not see them. Nodes that the update does not fit are no error.
func missed(leftOut []rollout.LeftOut) error {
	var names []string
	for _, l := range leftOut {
		if l.Unseen {
			names = append(names, l.Node)
		}
	}
	return absent(names)
}
