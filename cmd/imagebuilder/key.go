package main

import (
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"

	"aead.dev/minisign"
	"github.com/spf13/cobra"
	"rsc.io/qr"

	"github.com/going-mobile/imagebuilder/image/fleet"
	"github.com/going-mobile/imagebuilder/image/mint"
)

// keyFlags say how a key is handed over.
type keyFlags struct {
	fleet    string
	link, qr bool
	address  string
	at       netip.Addr // address, parsed
	out      secretOut
}

func newKey() *cobra.Command {
	var k keyFlags
	cmd := &cobra.Command{
		Use:   "key NODE",
		Short: "Make a new key for a node",
		Long: `Make a new single-use key for a node of the fleet, and print it. Write it into the
node's node.yaml on the boot partition (headscale: authKey:). A key that the node
was given before and has not used is expired.

With --link, nobody needs the card. It prints a link for a helper instead:
  - The link leads to the page that a node shows on its LAN until it has joined, and
    when it needs a person. It carries the key, signed by the fleet's owner
    (secrets/owner.key).
  - The helper opens it on a phone in the node's network. The node then goes on
    without a reboot.
  - The node accepts the link once, and only if it is newer than everything that it
    accepted before.
  - Whoever has the link has the key: one machine can join with it, as this node.
The link leads to NODE.local. Older telephones and some networks find no such names:
put the node's address in that network, which the router lists and the node's screen
shows, in the name's place, or make the link with --address.

There is no link for a node that shows no page (page: off at its site, or it runs
Headscale).

--qr also prints the link as a QR code for a camera. The code is 90 columns wide.`,
		Example: `  imagebuilder key cabin-pi
  imagebuilder key cabin-pi --link
  imagebuilder key cabin-pi --link --address 192.168.1.23
  imagebuilder key cabin-pi --link --out secrets/link.txt`,
		Args:              exactArgs("NODE"),
		ValidArgsFunction: completeNode(cobra.ShellCompDirectiveNoFileComp),
		RunE:              func(cmd *cobra.Command, args []string) error { return k.run(cmd, args[0]) },
	}
	fleetFlag(cmd, &k.fleet)
	k.out.flag(cmd)
	cmd.Flags().BoolVar(&k.link, "link", false, "print a link that hands the key over through the node's page")
	cmd.Flags().BoolVar(&k.qr, "qr", false, "print the link, and a QR code of it")
	cmd.Flags().StringVar(&k.address, "address", "", "the node's address in its network, for the link in place of its name")
	return cmd
}

func (k *keyFlags) run(cmd *cobra.Command, name string) error {
	if err := k.parseAddress(); err != nil {
		return err
	}
	f, err := loadFleet(k.fleet)
	if err != nil {
		return err
	}
	signer, err := k.signer(f, name) // before making a key that could not be handed over
	if err != nil {
		return err
	}
	m, err := openMint(f)
	if err != nil {
		return err
	}
	defer m.Close()
	key, err := m.Hand(cmd.Context(), name, time.Now(), func(key *mint.Key) error { return k.print(cmd, key, signer) })
	if key != nil && key.Replaced {
		fmt.Fprintf(cmd.ErrOrStderr(), "the unused key that %s had is expired now\n", name)
	}
	return err
}

// parseAddress reads --address, which is only for a link. An address with a zone belongs to
// one computer alone, and no browser takes it.
func (k *keyFlags) parseAddress() (err error) {
	if k.address == "" {
		return nil
	}
	if !k.link && !k.qr {
		return usagef("--address is for a link: say --link or --qr, too")
	}
	if k.at, err = netip.ParseAddr(k.address); err != nil || k.at.Zone() != "" {
		return usagef("--address %q: want the node's address in its network, such as 192.168.1.23", k.address)
	}
	return nil
}

// signer is the owner's key, if the key is to be handed over through the node's page.
func (k *keyFlags) signer(f *fleet.Fleet, name string) (minisign.PrivateKey, error) {
	n, err := f.Find(name)
	if err != nil || !k.link && !k.qr {
		return minisign.PrivateKey{}, err
	}
	if !f.ShowsPage(n) {
		return minisign.PrivateKey{}, fmt.Errorf("%s shows no page (sites.%s.page is off, or it runs Headscale): make the key without --link", name, n.Site)
	}
	return f.Signer()
}

func (k *keyFlags) print(cmd *cobra.Command, key *mint.Key, signer minisign.PrivateKey) error {
	until := key.Expires.Local().Format("2 January 2006 15:04")
	text, how := key.Text.Reveal(), "write it into node.yaml on the card (headscale: authKey:), or make one with --link"
	if k.link || k.qr {
		var err error
		if text, err = key.Link(signer, k.at, time.Now()); err != nil {
			return err
		}
		how = "open it on a phone in the network that " + key.Node + " is plugged into"
		if !k.at.IsValid() {
			how += ". If " + key.Node + ".local is not found there, put the node's address in its place: the router lists it, the node's screen shows it"
		}
	}
	if err := k.out.write(cmd, []byte(text+"\n"), true); err != nil {
		return err
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "valid until %s, for one join; %s\n", until, how) // the key is not valid before this
	if !k.qr {
		return nil
	}
	return printQR(cmd.OutOrStdout(), text)
}

// printQR draws a QR code in black on white, whatever the terminal's colours, two rows per
// line.
func printQR(w io.Writer, text string) error {
	code, err := qr.Encode(text, qr.L)
	if err != nil {
		return err
	}
	const quiet = 2
	var b strings.Builder
	for y := -quiet; y < code.Size+quiet; y += 2 {
		b.WriteString("\x1b[30;107m")
		for x := -quiet; x < code.Size+quiet; x++ {
			up, down := code.Black(x, y), code.Black(x, y+1)
			b.WriteString(map[[2]bool]string{{}: " ", {true, false}: "▀", {false, true}: "▄", {true, true}: "█"}[[2]bool{up, down}])
		}
		b.WriteString("\x1b[0m\n")
	}
	_, err = io.WriteString(w, b.String())
	return err
}
