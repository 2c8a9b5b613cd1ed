//go:build linux

// Firstboot runs on a node: it makes the machine a member of its tailnet and its cluster, and
// reports how that is going.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/going-mobile/imagebuilder/firstboot"
	"github.com/going-mobile/imagebuilder/firstboot/host"
)

// version is set by the linker.
var version = "devel"

type verb struct {
	name, args, help string
	run              func(ctx context.Context, h firstboot.Host, args []string) error
}

var verbs = []verb{
	{"run", "", "work through all steps, and keep watching (the service)", runAll},
	{"identity", "", "do what comes before network, logins and k3s, and nothing else", runIdentity},
	{"firewall", "", "keep out everybody but the tailnet and whom node.yaml lets in (a service)", keepFirewall},
	{"page", "", "show the node's page on the LAN, and accept what its owner signed (a service)", servePage},
	{"status", "[--json]", "print how far this node has got", printStatus},
	{"retry", "", "read node.yaml again, and try again now", retry},
	{"key", "", "put a new key for the tailnet, from standard input, into node.yaml", takeKey},
	{"offer", "[--try]", "accept a node.yaml that the owner signed, from standard input;\nwith --try only print what it would change, as JSON", takeOffer},
	{"doctor", "[--json]", "check the firewall, the machine, what k3s and Longhorn need and, on a\nserver, the cluster", runDoctor},
	{"report", "[--card]", "print what this machine is made of; with --card write that to the boot\npartition (a service)", makeReport},
	{"shares", "", "keep shares of other nodes' keys, and answer those nodes in the tailnet\n(a service)", serveShares},
	{"unlock", "[--since TIME] NODE", "show the request of a node that waits for its owner's word to get its\nshare; with --since agree, once, to the request that has waited since then", unlockNode},
	{"revoke", "[--only] NODE [NUMBER...]", "refuse a node its share for ever, and refuse its members of the tailnet\nby their numbers; with --only refuse those members alone", revokeNode},
	{"headscale-backup", "[--take-over]", "copy Headscale's database and keys to where node.yaml says (a timer);\nwith --take-over also where the newest copies are another machine's", backUpHeadscale},
	{"headscale-restore", "", "restore Headscale's database and keys where there are none (before\nHeadscale starts)", restoreHeadscale},
	{"check-slot", "", "read the running system from its medium, and record whether it is as it\nwas written (a timer)", checkSlot},
	{"health", "[--timeout 10m] [--soak 3m]", "wait until this system deserves to be kept", health},
	{"bless", "", "mark the running slot as good", bless},
	{"update", "[--json] [--reboot] FILE|-|--rollback|--id SHA256 [--from N]", "write the image of an update, signed by the fleet's owner, into the other\nslot, on trial; with --rollback put the system that is there on trial", applyUpdate},
	{"k3s-data", "[--mark]", "remove files that k3s has unpacked from itself and that a power cut may\nhave damaged, or that nothing needs (before k3s starts); with --mark\nrecord that they are on the disk", keepK3sData},
	{"wait-tailnet", "[--timeout 90s]", "wait until k3s may start: the tailnet is up, and its server is in it", waitTailnet},
	{"version", "", "print the version", func(context.Context, firstboot.Host, []string) error { fmt.Println(version); return nil }},
}

// errUsage is returned after the error was already explained.
var errUsage = errors.New("usage")

func main() {
	// A core dump or a debugger would show the key and the tokens: prctl(2).
	_ = unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
	unix.Umask(0o022)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	err := dispatch(ctx, os.Args[1:])
	stop()
	switch {
	case errors.Is(err, errUsage):
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "firstboot:", err)
		os.Exit(1)
	}
}

func dispatch(ctx context.Context, args []string) error {
	if len(args) == 0 {
		usage(os.Stderr)
		return errUsage
	}
	if args[0] == "help" || args[0] == "--help" || args[0] == "-h" {
		usage(os.Stdout)
		return nil
	}
	for _, v := range verbs {
		if v.name == args[0] {
			return v.run(ctx, host.New("/", host.Slots{}), args[1:])
		}
	}
	fmt.Fprintf(os.Stderr, "firstboot: unknown command %q\n", args[0])
	usage(os.Stderr)
	return errUsage
}

func usage(w io.Writer) {
	fmt.Fprintln(w, "usage: firstboot COMMAND")
	for _, v := range verbs {
		fmt.Fprintf(w, "  %s\n      %s\n", strings.TrimSpace(v.name+" "+v.args), strings.ReplaceAll(v.help, "\n", "\n      "))
	}
}

// flags parses what follows a verb. It accepts flags only.
func flags(name string, args []string, define func(*flag.FlagSet)) error {
	f, err := parse(name, args, define)
	if err == nil && f.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "firstboot %s: unexpected %q\n", name, f.Arg(0))
		return errUsage
	}
	return err
}

func parse(name string, args []string, define func(*flag.FlagSet)) (*flag.FlagSet, error) {
	f := flag.NewFlagSet("firstboot "+name, flag.ContinueOnError)
	if define != nil {
		define(f)
	}
	if f.Parse(args) != nil {
		return f, errUsage
	}
	return f, nil
}

func limit(name string, args []string, def time.Duration) (time.Duration, error) {
	d := def
	err := flags(name, args, func(f *flag.FlagSet) { f.DurationVar(&d, "timeout", def, "give up after this long") })
	return d, err
}
