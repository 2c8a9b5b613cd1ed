package main

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/going-mobile/imagebuilder/boards"
	"github.com/going-mobile/imagebuilder/image/board"
	"github.com/going-mobile/imagebuilder/image/fleet"
	"github.com/going-mobile/imagebuilder/image/flock"
	"github.com/going-mobile/imagebuilder/image/lab"
	"github.com/going-mobile/imagebuilder/image/lab/network"
)

// labFlags are the flags of lab as typed.
type labFlags struct {
	fleet, example, dir string
	wan, cutSite, plug  string
	memory              string
	inputs              inputFlags
	patience            time.Duration
	keep, asJSON, quiet bool
	name                string // the fleet's file name; text is its content
	text                []byte
	link                network.Link
	bytes               board.Size
}

const labHelp = `Start a whole fleet on this computer, in QEMU and without root. The command builds
the images, writes every node's card with a key of its own, and starts all machines,
the one with Headscale first.

The fleet is a copy with secrets of its own. The real Headscale is not touched, and
nothing in the copy gives access to anything real. In the lab:

  - Each site is a network of its own behind a router. It reaches nothing but the
    machine with Headscale.
  - Virtual machines stand in for boards that would be too slow here, such as a Pi.
  - The nodes' network settings, logins, disks and files are left out. So are the
    k3s flags that lead to a data store or a bucket.
  - Argo CD follows a repository that does not exist.

Images are built as by 'imagebuilder build'. Some of its flags work here, too.

--wan sets how good the links to the sites are: delay, rate and loss in each
direction.

When all nodes have joined, --cut-site and --pull-plug cause a failure, and print
what happens beside what the plan promises. If the two differ, the exit code is 1.

With --keep the machines stay until Ctrl-C, even if something went wrong. Meanwhile
'lab ssh', 'lab kubectl' and 'lab status' work in another terminal.

At the end the lab removes everything except the images, which stay in ./dist for
the next time. If a lab was killed, the next one ends its machines.`

func newLab() *cobra.Command {
	var f labFlags
	cmd := &cobra.Command{
		Use:   "lab",
		Short: "Start a whole fleet in QEMU",
		Long:  labHelp,
		Example: `  imagebuilder lab --example going-mobile
  imagebuilder lab --fleet fleet.yaml --wan 40ms,20mbit,1% --keep
  imagebuilder lab --cut-site cabin --pull-plug home-pi
  imagebuilder lab ssh cabin-pi
  imagebuilder lab kubectl get nodes`,
		Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.example != "" && cmd.Flags().Changed("fleet") {
				return usagef("--fleet or --example, not both")
			}
			if err := f.load(); err != nil {
				return err
			}
			return f.run(cmd)
		},
	}
	flags := cmd.Flags()
	fleetFlag(cmd, &f.fleet)
	flags.StringVar(&f.example, "example", "", "use the built-in example of this name: "+fleet.ExampleName)
	flags.StringVar(&f.wan, "wan", "", "delay, rate and loss of the links to the sites, such as 40ms,20mbit,1%")
	flags.StringVar(&f.cutSite, "cut-site", "", "when all nodes have joined, cut this site off for a while")
	flags.StringVar(&f.plug, "pull-plug", "", "when all nodes have joined, cut this node's power for a while")
	flags.BoolVar(&f.keep, "keep", false, "keep the machines running until Ctrl-C, whatever happened")
	flags.StringVar(&f.memory, "memory", "", "memory of each machine, such as 1GiB (default: the board's)")
	f.inputs.add(flags, "as for 'build': ")
	flags.DurationVar(&f.patience, "patience", 30*time.Minute, "how long to wait for each node")
	flags.BoolVar(&f.asJSON, "json", false, "print the result as JSON")
	flags.BoolVarP(&f.quiet, "quiet", "q", false, "no progress")
	labDirFlag(cmd, &f.dir)
	cmd.AddCommand(newLabSSH(), newLabKubectl(), newLabStatus())
	return cmd
}

var errNoLabDir = usagef("--dir is missing: without HOME there is no default directory")

// labDirFlag adds --dir.
func labDirFlag(cmd *cobra.Command, dir *string) {
	usual := ""
	if cache, err := os.UserCacheDir(); err == nil {
		usual = filepath.Join(cache, "imagebuilder-lab")
	}
	cmd.Flags().StringVar(dir, "dir", usual, "directory for the lab's files while it runs (default $XDG_CACHE_HOME/imagebuilder-lab)")
	cmd.Flags().Lookup("dir").DefValue = "" // the usual value differs between users, and the help text must not
}

// load turns flags into values; every mistake names its flag.
func (f *labFlags) load() (err error) {
	if f.link, err = network.ParseLink(f.wan); err != nil {
		return usagef("--wan: %w", err)
	}
	if f.memory != "" {
		if f.bytes, err = board.ParseSize(f.memory); err != nil {
			return usagef("--memory: %w", err)
		}
	}
	if _, err := f.inputs.overrides(nil); err != nil {
		return err
	}
	if f.dir == "" {
		return errNoLabDir
	}
	f.dir = filepath.Clean(f.dir)
	f.name = f.fleet
	if f.example != "" {
		f.name, f.text = f.example+".yaml", fleet.Example
		return knownExample(f.example)
	}
	f.text, err = os.ReadFile(f.fleet)
	return err
}

// run does everything: plan, images, copy of the fleet, machines, drills.
func (f *labFlags) run(cmd *cobra.Command) error {
	real, p, err := f.plan(cmd)
	if err != nil {
		return err
	}
	release, err := f.occupy()
	if err != nil {
		return err
	}
	defer release()
	images, err := f.images(cmd, real, p)
	if err != nil {
		return err
	}
	copied, err := fleet.Rehearsal{Boards: p.Boards()}.Rehearse(f.name, f.text, f.dir, time.Now(), rand.Reader)
	if err != nil {
		return err
	}
	l, err := lab.New(lab.Config{Plan: p, Fleet: copied, Images: images, WAN: f.link, Patience: f.patience})
	if err != nil {
		return err
	}
	result := labResult{Plan: p}
	err = f.live(cmd, l, &result)
	return errors.Join(f.conclude(cmd, &result, err), l.Close())
}

func (f *labFlags) plan(cmd *cobra.Command) (*fleet.Fleet, *lab.Plan, error) {
	real, err := fleet.Load(f.name, f.text, boards.FS)
	if err != nil {
		return nil, nil, err
	}
	if f.cutSite != "" {
		if err := lab.CanCut(real, f.cutSite); err != nil {
			return nil, nil, usagef("--cut-site: %w", err)
		}
	}
	if f.plug != "" {
		if _, err := real.Find(f.plug); err != nil {
			return nil, nil, usagef("--pull-plug: %w", err)
		}
	}
	p, err := lab.MakePlan(real, int64(f.bytes))
	if err != nil || f.quiet {
		return real, p, err
	}
	return real, p, p.Text(cmd.ErrOrStderr())
}

// occupy locks the lab's directory for this process, and removes what a killed process left
// there.
func (f *labFlags) occupy() (release func(), err error) {
	if err := os.MkdirAll(filepath.Dir(f.dir), 0o755); err != nil {
		return nil, err
	}
	lock, ok, err := flock.TryPath(f.dir + ".lock")
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, fmt.Errorf("a lab runs in %s already: let it finish, or name another --dir", f.dir)
	}
	if err := f.claim(); err != nil {
		flock.Release(lock)
		return nil, err
	}
	return func() {
		_ = lab.Remove(f.dir)
		flock.Release(lock)
	}, nil
}

func (f *labFlags) claim() error {
	if err := lab.Remove(f.dir); err != nil {
		return fmt.Errorf("--dir: %w", err)
	}
	return lab.Claim(f.dir)
}

// images builds the machines' images, each once.
func (f *labFlags) images(cmd *cobra.Command, real *fleet.Fleet, p *lab.Plan) (map[string]string, error) {
	var wanted []nodeImage
	for _, m := range p.Machines {
		wanted = append(wanted, nodeImage{m.Board, cmp.Or(m.For, m.Board), m.Control})
	}
	files, err := (&nodeImages{fleet: real, quiet: f.quiet, inputs: f.inputs}).build(cmd, wanted)
	out := map[string]string{}
	for i, file := range files {
		out[p.Machines[i].Node] = file
	}
	return out, err
}

// labResult is the result of a lab.
type labResult struct {
	Plan   *lab.Plan    `json:"plan"`
	Nodes  []lab.Row    `json:"nodes"`
	Drills []*lab.Drill `json:"drills,omitempty"`
}

// live starts the machines, and runs the requested drills.
func (f *labFlags) live(cmd *cobra.Command, l *lab.Lab, r *labResult) error {
	tell := &teller{lab: l, out: cmd.ErrOrStderr(), quiet: f.quiet, began: time.Now(), told: map[string]string{}}
	err := tell.during(func() error { return l.Bring(cmd.Context()) })
	if r.Nodes = l.Rows(); err != nil {
		return err
	}
	if f.cutSite != "" {
		if err := r.try(tell, "cut "+f.cutSite+" off", func() (*lab.Drill, error) { return l.CutSite(cmd.Context(), f.cutSite) }); err != nil {
			return err
		}
	}
	if f.plug != "" {
		if err := r.try(tell, "pull the plug of "+f.plug, func() (*lab.Drill, error) { return l.PullPlug(cmd.Context(), f.plug) }); err != nil {
			return err
		}
	}
	return nil
}

// conclude prints the results, also after an error, and keeps the lab running if that was
// asked for. The error, or the verdict, comes last, and Ctrl-C does not change it.
func (f *labFlags) conclude(cmd *cobra.Command, r *labResult, err error) error {
	if err == nil && slices.ContainsFunc(r.Drills, func(t *lab.Drill) bool { return !t.Kept }) {
		err = errors.New("what was seen is not what the plan promised")
	}
	printed := r.print(cmd.OutOrStdout(), f.asJSON)
	if f.keep && cmd.Context().Err() == nil {
		if err != nil {
			fmt.Fprintf(cmd.ErrOrStderr(), "\n%s\n", printable(err.Error())) // it contains the guests' last output
		}
		fmt.Fprintln(cmd.ErrOrStderr(), "\nThe lab stays until Ctrl-C. In another terminal: imagebuilder lab ssh NODE, lab kubectl get nodes, lab status")
		<-cmd.Context().Done()
		if err != nil { // it was printed already
			err = &exitError{exitFailure}
		}
	}
	return errors.Join(err, printed)
}

func (r *labResult) try(tell *teller, what string, do func() (*lab.Drill, error)) error {
	tell.line(what)
	return tell.during(func() error {
		t, err := do()
		if t != nil {
			r.Drills = append(r.Drills, t)
		}
		return err
	})
}

// teller prints what the nodes report, each report once.
type teller struct {
	lab   *lab.Lab
	out   io.Writer
	quiet bool
	began time.Time
	told  map[string]string
}

func (t *teller) line(text string) {
	if !t.quiet {
		fmt.Fprintf(t.out, "%6s  %s\n", time.Since(t.began).Round(time.Second), text)
	}
}

// during prints reports while do runs.
func (t *teller) during(do func() error) error {
	done := make(chan error, 1)
	go func() { done <- do() }()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case err := <-done:
			t.news()
			return err
		case <-tick.C:
			t.news()
		}
	}
}

func (t *teller) news() {
	for _, r := range t.lab.Rows() {
		text := fmt.Sprintf("%-12s %-14s %s", r.Node, r.State, r.Says)
		if t.told[r.Node] != text && (r.State != lab.Off || r.Says != "" || t.told[r.Node] != "") {
			t.told[r.Node] = text
			t.line(strings.TrimRight(text, " "))
		}
	}
}

func (r *labResult) print(out io.Writer, asJSON bool) error {
	if asJSON {
		return printJSON(out, r)
	}
	w := newTable(out)
	fmt.Fprintln(w, "NODE\tSITE\tROLE\tSTATE\tADDRESS\tAFTER")
	for _, n := range r.Nodes {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", n.Node, n.Site, n.Role, n.State, n.Address, time.Duration(n.Seconds)*time.Second)
	}
	for _, t := range r.Drills {
		verdict := "as promised"
		if !t.Kept {
			verdict = "NOT as promised"
		}
		mended := "no"
		if t.Well {
			mended = "after " + (time.Duration(t.Mended) * time.Second).String()
		}
		fmt.Fprintf(w, "\n%s\npromised\t%s\nseen\t%s: %s\nmended\t%s\n", t.What, t.Promise, cmp.Or(t.Seen, "nothing"), verdict, mended)
	}
	return w.Flush()
}
