package firstboot

import (
	"context"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/node"
)

// A node shows a page on the LAN until it has joined, and whenever it needs a
// person. Run decides when. One file in /run tells all parts that: systemd,
// which starts the server while the file is there; the server, which ends
// without it; and Guard, which finds in it what to open. Meanwhile
// systemd-resolved announces the node by mDNS; networkd's files allow that on
// every wired port.

// PageFile exists while the page is to be shown.
const PageFile = runDir + "/page.nft"

const (
	resolvedUnit = "systemd-resolved.service"
	mdnsFile     = "/run/systemd/resolved.conf.d/20-imagebuilder-page.conf" // read after 10-imagebuilder.conf, which switches mDNS off
)

// mdns is not among the services that node.yaml can open: it is of no use
// without the page.
var mdns = node.Service{Protocol: "udp", Port: 5353}

// toThePage leads those whom the set lan lets in to the page. On a member, containers of the
// ingress have port 80 as their hostPort, also while k3s is stopped: without this, the LAN would
// be let in to the ingress and never see the page. Of a connection's rewritings the first one
// counts, so this comes before the hostPorts'.
const toThePage = `add chain ` + firewallTable + ` page { type nat hook prerouting priority dstnat - 10; }
add rule ` + firewallTable + ` page tcp dport 80 fib daddr type local iifname . ip saddr @own4 redirect
add rule ` + firewallTable + ` page tcp dport 80 fib daddr type local iifname . ip6 saddr @own6 redirect
add rule ` + firewallTable + ` page tcp dport 80 fib daddr type local ip6 saddr fe80::/10 redirect
`

// farewell is how long a helper's phone is still shown the page once the node
// has joined.
const farewell = time.Minute

// shown is what the runner knows about the page.
type shown struct {
	off   bool      // node.yaml does not want it, or Headscale uses its port
	until time.Time // how long it stays after the node has joined
}

// showPage shows or ends the page. A node joins without it as well, so a fault
// of the page is only a notice beside the status.
func (r *runner) showPage(ctx context.Context) {
	if r.opt.Only != nil {
		return
	}
	err := r.host.converge(ctx, r.pageGroup())
	if r.pageFault = nil; err != nil {
		r.pageFault = problem("page", err.Error()).because(err)
	}
	r.noticed()
}

func (r *runner) pageGroup() group {
	page := text644(PageFile, element("add", "lan", node.Services["http"])+element("add", "lan", mdns)+toThePage)
	announce := text644(mdnsFile, "[Resolve]\nMulticastDNS=yes\n")
	page.absent = !r.wantsPage()
	announce.absent = page.absent
	return group{"page", []file{page, announce}, func(ctx context.Context) error {
		_, err := r.host.Programs.Run(ctx, "systemctl", "reload", resolvedUnit)
		return err
	}}
}

// wantsPage keeps the page from coming and going while a node tries this and
// that: once shown, it stays until the node has joined.
func (r *runner) wantsPage() bool {
	up, _ := r.host.exists(PageFile)
	if r.page.off || r.joined {
		return up && !r.page.off && r.host.Clock.Now().Before(r.page.until)
	}
	member, _ := r.host.exists(joinedFile)
	return up || !member || r.status.Lasting().State == NeedsPerson
}
