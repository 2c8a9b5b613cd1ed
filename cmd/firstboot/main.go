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
	"time"

	"golang.org/x/sys/unix"

	"github.com/going-mobile/imagebuilder/firstboot"
	"github.com/going-mobile/imagebuilder/firstboot/host"
)

// version is set by the linker.
var version = "devel"

type verb struct {
	name, help string
	run        func(ctx context.Context, h firstboot.Host, args []string) error
}

var verbs = []verb{
	{"run", "work through all steps and keep watching (the service)", runAll},
	{"identity", "do what comes before network, logins and k3s, and nothing else", runIdentity},
	{"firewall", "keep everybody out but the tailnet (a service)", keepFirewall},
	{"page", "show the node's page on the LAN, and take what its owner signed (a service)", servePage},
	{"status", "[--json] print how far this node is", printStatus},
	{"retry", "look at node.yaml again and try again now", retry},
	{"key", "put a new key for the tailnet, from standard input, into node.yaml", takeKey},
	{"offer", "[--try] take a node.yaml that the owner signed, from standard input; or only print, as JSON, what that would change", takeOffer},
	{"doctor", "[--json] check the firewall, the machine, what k3s and Longhorn need and, on a server, the cluster", runDoctor},
	{"report", "[--card] print what this machine is made of; or write it to the boot partition (a service)", makeReport},
	{"shares", "answer nodes in the tailnet whose shares of their keys are kept here (a service)", serveShares},
	{"unlock", "[--since TIME] NODE show who waits for its owner's word to get its share; let in, once, the one who waits since then", unlockNode},
	{"revoke", "[--only] NODE [NUMBER...] refuse a node its share for ever, and its members of the tailnet by their numbers", revokeNode},
	{"headscale-backup", "[--take-over] copy Headscale's database and keys to where node.yaml says (a timer); also after another machine's copies", backUpHeadscale},
	{"headscale-restore", "bring them back where there are none (before Headscale starts)", restoreHeadscale},
	{"check-slot", "read the running system from its medium, and remember whether it is as it was written (a timer)", checkSlot},
	{"health", "[--timeout 10m] [--soak 3m] wait until this system deserves to be kept", health},
	{"bless", "mark the running slot as good", bless},
	{"update", "[--json] [--reboot] FILE|-|--rollback|--id SHA256 [--from N] put the image of an update that the fleet's owner signed into the other slot, on trial; or try what is there", applyUpdate},
	{"k3s-data", "[--mark] remove what k3s has unpacked of itself and a power cut may have spoilt, or nothing needs (before k3s starts); or note that it is on the disk", keepK3sData},
	{"wait-tailnet", "[--timeout 90s] wait until k3s may start: the tailnet is up, its server is in it", waitTailnet},
	{"version", "print the version", func(context.Context, firstboot.Host, []string) error { fmt.Println(version); return nil }},
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
		fmt.Fprintf(w, "  %-17s %s\n", v.name, v.help)
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
