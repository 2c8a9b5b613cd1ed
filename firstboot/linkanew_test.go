package firstboot_test

import (
	"context"
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot"
)

// dhcp is what gives eth0 its address.
type dhcp struct {
	answers bool // there is a new router
	slow    bool // which answers after ten seconds
	asked   time.Time
	left    int // seconds for which the address is the node's, 0 for none
}

var oldAddress = regexp.MustCompile(`^ip address replace 192\.168\.1\.20/24 broadcast \+ dev eth0 metric 4096 valid_lft (\d+) preferred_lft (\d+)$`)

// runDHCP is ip and networkctl where DHCP gave the address.
func (w *world) runDHCP(cmd string, answer *string) bool {
	d := w.out.dhcp
	old := oldAddress.FindStringSubmatch(cmd)
	switch {
	case cmd == "ip -j -4 address show dev eth0 scope global":
		if d.answers && !d.asked.IsZero() && (!d.slow || w.now.Sub(d.asked) > 10*time.Second) {
			d.left, w.out.lease, w.out.silent = 600, true, false
		}
		if *answer = `[]`; d.left > 0 {
			*answer = fmt.Sprintf(`[{"ifname":"eth0","addr_info":[{"family":"inet","local":"192.168.1.20","prefixlen":24,"scope":"global","dynamic":true,"valid_life_time":%d,"preferred_life_time":%[1]d}]}]`, d.left)
		}
	case cmd == "networkctl reconfigure eth0":
		w.note("asked")
		d.asked, d.left, w.out.lease = w.now, 0, false
	case old != nil && old[1] == old[2]:
		w.note("address back")
		d.left, _ = strconv.Atoi(old[1])
	case cmd == "ip route replace default via 192.168.1.1 dev eth0 src 192.168.1.20 metric 4096" && d.left > 0:
		w.note("route back")
		w.out.lease = true
	default:
		return false
	}
	return true
}

// behindASwitch is a joined node whose router is silent, and whose neighbours
// are not.
func behindASwitch(t *testing.T) *watched {
	o := outside(t)
	o.out.silent, o.out.lan, o.out.dhcp = true, true, &dhcp{left: 86400}
	return o
}

// asked returns what the node did, of which the first must be the question.
func (o *watched) asked() (rest string) {
	o.t.Helper()
	if len(o.out.did) == 0 {
		o.t.Fatal("DHCP was not asked")
	}
	at, what, _ := strings.Cut(o.out.did[0], " ")
	if d, err := time.ParseDuration(at); err != nil || what != "asked" || d < 5*time.Minute || d > 17*time.Minute {
		o.t.Errorf("it did %q", o.out.did)
	}
	for _, did := range o.out.did[1:] {
		_, what, _ := strings.Cut(did, " ")
		rest += what + ", "
	}
	return strings.TrimSuffix(rest, ", ")
}

// TestANewRouterBehindASwitch: the carrier stays, so that nobody but this
// program asks DHCP before the old lease ends.
func TestANewRouterBehindASwitch(t *testing.T) {
	for _, slow := range []bool{false, true} {
		o := behindASwitch(t)
		o.out.dhcp.answers, o.out.dhcp.slow = true, slow
		o.goOn(25 * time.Minute)
		if rest := o.asked(); rest != "" {
			t.Errorf("then it did %q", rest)
		}
		o.sees("mended", green)
	}
}

// TestNoRouterBehindASwitch: neighbours still reach the node by its old
// address, for as long as that is its own; and DHCP is asked once.
func TestNoRouterBehindASwitch(t *testing.T) {
	o := behindASwitch(t)
	o.hurry = 5
	o.goOn(3 * time.Hour)
	if rest := o.asked(); rest != "address back, route back" {
		t.Errorf("then it did %q", rest)
	}
	if left := o.out.dhcp.left; left > 86400-30 || left < 86400-60 {
		t.Errorf("the address stays for %d s", left)
	}
	o.sees("later", "others on this network do", "link-router", yellow)
	o.out.silent = false
	o.goOn(10 * time.Minute)
	o.out.silent, o.out.did, o.out.begun = true, nil, o.now
	o.goOn(30 * time.Minute)
	o.asked() // in the next silence
}

// ending are programs that end with the context, as the host's do.
type ending struct{ progWorld }

func (e ending) Run(ctx context.Context, argv ...string) (string, error) {
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	return e.progWorld.Run(ctx, argv...)
}

// TestStoppedWhileDHCPIsAsked: the address comes back all the same.
func TestStoppedWhileDHCPIsAsked(t *testing.T) {
	o := behindASwitch(t)
	o.programs = ending{progWorld{o.world}}
	o.tick = func() {
		if len(o.out.did) > 0 {
			o.cancel()
		}
	}
	o.run(60 * time.Minute)
	if rest := o.asked(); rest != "address back, route back" {
		t.Errorf("then it did %q", rest)
	}
}

// TestNobodyIsAskedForAFixedAddress; but where the cluster is reached in spite
// of the silence, DHCP is.
func TestNobodyIsAskedForAFixedAddress(t *testing.T) {
	o := behindASwitch(t)
	o.out.dhcp.left = 0
	o.goOn(30 * time.Minute)
	o.expect("")
	cabin := netip.MustParseAddr("100.64.0.9")
	o = behindASwitch(t)
	o.peers = []firstboot.Peer{{Name: "cabin-pi", IPs: []netip.Addr{cabin}, Tags: o.tags, Online: true}}
	o.alive[cabin], o.out.lan = true, false
	o.goOn(30 * time.Minute)
	if rest := o.asked(); rest != "address back, route back" {
		t.Errorf("reached over the tailnet it did %q", rest)
	}
}
