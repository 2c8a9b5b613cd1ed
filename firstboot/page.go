package firstboot

import (
	"context"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/node"
)

// A node shows a page on the LAN until it has joined, and whenever it needs a
// person. Run decides that; one file in /run says it to all who have a part in
// it: to systemd, which starts the server, to the server, which ends without
// it, and to Guard, which reads in it what to open. systemd-resolved announces
// the node by mDNS meanwhile; networkd's files allow it on every wired port.

// PageFile is there while the page is to be shown.
const PageFile = runDir + "/page.nft"

const (
	resolvedUnit = "systemd-resolved.service"
	mdnsFile     = "/run/systemd/resolved.conf.d/20-imagebuilder-page.conf" // after 10-imagebuilder.conf, which says no
)

// mdns is no service that node.yaml could open: without the page it is of no use.
var mdns = node.Service{Protocol: "udp", Port: 5353}

// farewell is how long the page is shown to a helper's phone when the node has
// joined.
const farewell = time.Minute

// shown is what the runner knows of the page.
type shown struct {
	off   bool      // node.yaml does not want it, or Headscale has its port
	until time.Time // it is shown to one who waits for the node to join
}

// showPage keeps the page as it must be. A node joins without it as well: what
// is wrong with it is told beside the status.
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
	page := text644(PageFile, element("add", "lan", node.Services["http"])+element("add", "lan", mdns))
	announce := text644(mdnsFile, "[Resolve]\nMulticastDNS=yes\n")
	page.absent = !r.wantsPage()
	announce.absent = page.absent
	return group{"page", []file{page, announce}, func(ctx context.Context) error {
		_, err := r.host.Programs.Run(ctx, "systemctl", "reload", resolvedUnit)
		return err
	}}
}

// wantsPage does not let the page come and go while a node tries this and that:
// once shown, it stays until the node has joined.
func (r *runner) wantsPage() bool {
	up, _ := r.host.exists(PageFile)
	if r.page.off || r.joined {
		return up && !r.page.off && r.host.Clock.Now().Before(r.page.until)
	}
	member, _ := r.host.exists(joinedFile)
	return up || !member || r.status.Lasting().State == NeedsPerson
}
