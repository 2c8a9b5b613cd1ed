package firstboot_test

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot"
)

// out is the way out of a world: its port, and a router at 192.168.1.1.
type out struct {
	silent bool
	cure   string // what makes the port send again: bounce, eee, reboot
	ping   bool   // the router answers pings, though the kernel has yet to ask for its address
	lan    bool   // others on the cable answer
	lease  bool   // DHCP gave an address
	noEEE  bool
	state  string // of a silent router in the kernel's list, "" for FAILED
	dual   bool   // there is a router for IPv6, too, as silent
	dev    string // on top of eth0, "" for eth0
	broken bool   // the kernel's list cannot be read
	wifi   *spare // nil: there is no other way
	dhcp   *dhcp  // nil: the address is a fixed one
	// what the node did, with the time since it was switched on first
	did      []string
	begun    time.Time
	restarts []time.Time
	restart  func()
}

const restartsFile = "/var/lib/imagebuilder/firstboot/link-restarts"

func (w *world) note(what string) {
	w.out.did = append(w.out.did, fmt.Sprintf("%v %s", w.now.Sub(w.out.begun).Round(time.Minute), what))
}

func (w *world) cured(by string) {
	if w.out.cure == by {
		w.out.silent = false
	}
}

// runLink is ip, ping, ethtool and systemctl.
func (w *world) runLink(argv []string) (answer string, err error) {
	o, cmd, dev := w.out, strings.Join(argv, " "), "eth0"
	if o != nil {
		dev = cmp.Or(o.dev, dev)
	}
	switch {
	case o == nil:
		return "", nil
	case o.wifi != nil && w.runWiFi(cmd, &answer, &err), o.dhcp != nil && w.runDHCP(cmd, &answer):
		return answer, err
	case cmd == "ip -j -4 route show default" && o.lease:
		return `[{"dst":"default","gateway":"192.168.1.1","dev":"` + dev + `","protocol":"dhcp","flags":[]}]`, nil
	case cmd == "ip -j -6 route show default" && o.dual:
		return `[{"dst":"default","gateway":"fe80::1","dev":"eth0","protocol":"ra","flags":[]}]`, nil
	case cmd == "ip -j neigh show dev eth0" && o.broken:
		return "", errors.New("exit status 1")
	case cmd == "ip -j -6 route show default":
		return "", errors.New("RTNETLINK answers: Operation not supported")
	case cmd == "ip -j neigh show dev "+dev:
		gateway, other := "REACHABLE", "STALE"
		if o.silent {
			gateway = cmp.Or(o.state, "FAILED")
		} else if o.ping {
			gateway = "STALE"
		}
		if o.lan {
			other = "REACHABLE"
		}
		return fmt.Sprintf(`[{"dst":"192.168.1.1","state":[%q]},{"dst":"fe80::1","state":[%q]},{"dst":"192.168.1.7","lladdr":"02:00:00:00:00:07","state":[%q]}]`, gateway, gateway, other), nil
	case argv[0] == "ping" && (o.silent || !o.ping):
		w.now = w.now.Add(12 * time.Second)
		return "", errors.New("exit status 1")
	case cmd == "ip link set dev eth0 up":
		w.cured("bounce")
		if o.noEEE {
			w.cured("eee")
		}
		w.note("bounce")
	case cmd == "ethtool --set-eee eth0 eee off":
		w.note("eee off")
		o.noEEE = true
	case cmd == "systemctl --no-block reboot":
		w.note("restart")
		o.restarts = append(o.restarts, w.now)
		w.cured("reboot")
		o.noEEE = false
		o.restart()
	}
	return "", nil
}

// outside is a joined node with a way out.
func outside(t *testing.T) *watched {
	o := watch(t, crashWorld(t))
	o.run(5 * time.Minute)
	if o.status.State != firstboot.Joined {
		t.Fatal(o.status.Line())
	}
	o.out = &out{begun: o.now, lease: true}
	o.out.restart = func() { o.cancel() }
	return o
}

// goOn lets the node live for so long from now on, through its restarts.
func (o *watched) goOn(d time.Duration) {
	o.t.Helper()
	end := o.now.Add(d)
	for o.now.Before(end) {
		before := len(o.out.restarts)
		o.run(end.Sub(o.begun))
		if len(o.out.restarts) > before {
			o.reboot()
			o.now = o.now.Add(time.Minute)
		}
	}
}

func (o *watched) expect(words string) {
	o.t.Helper()
	if did := strings.Join(o.out.did, ", "); did != words {
		o.t.Errorf("it did %q, want %q", did, words)
	}
}

// TestLink: what is done for a port that does not send, in which order, and
// that it is enough.
func TestLink(t *testing.T) {
	for cure, want := range map[string]string{
		"bounce": "2m0s bounce",
		"eee":    "2m0s bounce, 6m0s eee off, 6m0s bounce",
		"reboot": "2m0s bounce, 6m0s eee off, 6m0s bounce, 21m0s restart",
	} {
		t.Run(cure, func(t *testing.T) {
			o := outside(t)
			o.out.silent, o.out.cure = true, cure
			o.goOn(30 * time.Minute)
			o.expect(want)
			o.sees("mended", green)
			if o.out.silent {
				t.Error("it is silent still")
			}
			has := o.files[restartsFile] != nil
			if has != (cure == "reboot") {
				t.Errorf("restarts are remembered: %v", has)
			}
			o.hurry = 5
			o.goOn(2 * time.Hour)
			o.expect(want)
			if o.files[restartsFile] != nil {
				t.Error("a restart that helped is remembered two hours later")
			}
		})
	}
}

// TestARouterThatWasHeardOnce: a packet of its own makes it STALE for the
// kernel, which is no answer.
func TestARouterThatWasHeardOnce(t *testing.T) {
	for _, state := range []string{"STALE", "DELAY", "PROBE", "INCOMPLETE"} {
		o := outside(t)
		o.out.silent, o.out.state, o.out.cure = true, state, "bounce"
		o.goOn(5 * time.Minute)
		o.expect("2m0s bounce")
	}
}

// TestAPortOfTwoRouters is switched off and on once, not once for each.
func TestAPortOfTwoRouters(t *testing.T) {
	o := outside(t)
	o.out.silent, o.out.dual, o.out.cure = true, true, "eee"
	o.goOn(12 * time.Minute)
	bounces := 0
	for _, did := range o.out.did {
		if strings.HasSuffix(did, "bounce") {
			bounces++
		}
	}
	if bounces != 2 || len(o.out.did) != 3 {
		t.Errorf("it did %q", o.out.did)
	}
}

// TestNoCableIsNoAnswer, nor is a program that fails: the restarts that did not
// help are remembered.
func TestNoCableIsNoAnswer(t *testing.T) {
	for name, cut := range map[string]func(*watched){
		"no cable": func(o *watched) { o.links[0].Carrier = false },
		"ip fails": func(o *watched) { o.out.broken = true },
	} {
		o := outside(t)
		o.out.silent = true
		o.goOn(30 * time.Minute)
		if len(o.out.restarts) != 1 {
			t.Fatalf("%s: %d restarts", name, len(o.out.restarts))
		}
		cut(o)
		o.hurry = 5
		o.goOn(3 * time.Hour)
		if o.files[restartsFile] == nil || len(o.out.restarts) != 1 {
			t.Errorf("%s: the restart was forgotten, or there were more: %q", name, o.out.did)
		}
	}
}

// TestADeadRouterBesideALivePort hides no other trouble, and lets a node that
// was just started be joined first: a new image must be kept.
func TestADeadRouterBesideALivePort(t *testing.T) {
	o := outside(t)
	o.out.silent, o.out.lan = true, true
	o.goOn(3 * time.Minute)
	if p := o.status.Problem; p == nil || p.Code != "link-router" {
		t.Fatal(o.status.Line())
	}
	o.mute = true
	o.goOn(5 * time.Minute)
	if p := o.status.Problem; p == nil || p.Code != "k3s-silent" {
		t.Error(o.status.Line())
	}
	o.mute = false
	o.reboot()
	joined := false
	o.tick = func() { joined = joined || o.status.State == firstboot.Joined }
	o.goOn(10 * time.Minute)
	if p := o.status.Problem; !joined || p == nil || p.Code != "link-router" {
		t.Errorf("joined: %v, then %s", joined, o.status.Line())
	}
}

// TestACauseIsToldOnce, however often the same problem is.
func TestACauseIsToldOnce(t *testing.T) {
	o := outside(t)
	o.out.silent, o.mute = true, true
	told := map[*firstboot.Problem]string{}
	o.tick = func() {
		p := o.status.Problem
		if p == nil {
			return
		}
		if was, shown := told[p]; shown && was != p.Error() {
			t.Errorf("what was shown already changed from %q to %q", was, p.Error())
		}
		if told[p] = p.Error(); strings.Count(p.Error(), "does not answer as it should") > 1 {
			t.Error(p.Error())
		}
	}
	o.goOn(15 * time.Minute)
	if len(told) < 3 {
		t.Errorf("%d problems", len(told))
	}
}

// TestLinkIsTold on the screen, the card and in the journal, as it goes.
func TestLinkIsTold(t *testing.T) {
	o := outside(t)
	o.out.silent = true
	at := func(d time.Duration, words ...string) {
		o.after(5*time.Minute+d, func() { o.sees(d.String(), append(words, yellow)...) })
	}
	at(2*time.Minute, "The router (192.168.1.1) does not answer on eth0, though the cable is plugged in.", "switch the router off and on", "link-silent")
	at(4*time.Minute, "the port was switched off and on.", "link-bounced")
	at(8*time.Minute, "without energy saving (EEE). The node restarts itself at 12:2", "link-no-eee")
	o.goOn(22 * time.Minute)
	for _, code := range []string{"link-silent", "link-bounced", "link-no-eee", "link-restart: The router (192.168.1.1) does not answer on eth0; the node restarts itself, for the 1. time."} {
		if !strings.Contains(o.journal.String(), "problem="+code) {
			t.Errorf("the journal lacks %s:\n%s", code, o.journal.String())
		}
	}
}

// TestARouterThatStaysDead costs a restart ever more seldom, down to one a day,
// through all restarts.
func TestARouterThatStaysDead(t *testing.T) {
	o := outside(t)
	o.screen, o.hurry = "", 20
	o.out.silent = true
	o.goOn(4 * 24 * time.Hour)
	grows(t, o.out, 20*time.Minute)
	if n := len(o.out.restarts); n < 7 || n > 9 {
		t.Errorf("%d restarts in four days", n)
	}
	if got := strings.TrimSpace(o.text(restartsFile)); got != fmt.Sprint(len(o.out.restarts)) {
		t.Errorf("%s remembered of %d", got, len(o.out.restarts))
	}
	if n := strings.Count(o.journal.String(), "\n"); n > 150 {
		t.Errorf("%d lines in the journal", n)
	}
}

// TestAPortThatStopsAgain after each restart is not a new silence each time.
func TestAPortThatStopsAgain(t *testing.T) {
	o := outside(t)
	o.screen, o.hurry = "", 20
	o.out.silent, o.out.cure = true, "reboot"
	var again time.Time
	o.out.restart = func() { again = o.now.Add(30 * time.Minute); o.cancel() }
	o.tick = func() {
		if !again.IsZero() && o.now.After(again) {
			again, o.out.silent = time.Time{}, true
		}
	}
	o.goOn(2 * 24 * time.Hour)
	if n := len(o.out.restarts); n < 5 || n > 7 {
		t.Errorf("%d restarts in two days", n)
	}
	grows(t, o.out, 20*time.Minute)
}

// grows wants pauses that double until they are a day, each but for a few
// minutes of looking and starting.
func grows(t *testing.T, o *out, want time.Duration) {
	t.Helper()
	last := o.begun
	for i, r := range o.restarts {
		if pause := r.Sub(last); pause < want || pause > want+42*time.Minute {
			t.Errorf("restart %d after %v, want %v", i+1, pause, want)
		}
		last, want = r, min(2*want, 24*time.Hour)
	}
}

// TestLinkIsLeftAlone where the node is reached, where nothing is wrong with
// its port, or where nobody knows.
func TestLinkIsLeftAlone(t *testing.T) {
	cabin := netip.MustParseAddr("100.64.0.9")
	for name, c := range map[string]struct {
		set  func(*watched)
		code string
	}{
		"another server answers over the tailnet": {func(o *watched) {
			o.peers = []firstboot.Peer{{Name: "cabin-pi", IPs: []netip.Addr{cabin}, Tags: o.tags, Online: true}}
			o.alive[cabin] = true
		}, "link-router"},
		"somebody else on the cable answers": {func(o *watched) { o.out.lan = true }, "link-router"},
		"the router is slow to be asked":     {func(o *watched) { o.out.silent, o.out.ping = false, true }, ""},
		"the router answers no pings":        {func(o *watched) { o.out.silent = false }, ""},
		"no cable":                           {func(o *watched) { o.links[0].Carrier = false }, "no-link"},
		"no Wi-Fi": {func(o *watched) {
			withWiFi(o.world)
			o.after(5*time.Minute+time.Second, func() { o.links[0].Name, o.links[0].Carrier = "wlan0", false })
		}, "no-wifi"},
		"an address without a router": {func(o *watched) { o.out.lease = false }, ""},
		"one answer is missing": {func(o *watched) {
			o.after(5*time.Minute+40*time.Second, func() { o.out.silent = false })
		}, ""},
		"not a member yet": {func(o *watched) { delete(o.files, "/var/lib/imagebuilder/firstboot/joined"); o.mute = true }, "k3s-silent"},
		"restarts cannot be remembered": {func(o *watched) {
			o.fault = func(_ int, name string) fault {
				if name == "put "+restartsFile {
					return before
				}
				return none
			}
		}, "unexpected"},
	} {
		t.Run(name, func(t *testing.T) {
			o := outside(t)
			o.out.silent = true
			c.set(o)
			o.hurry = 5
			o.goOn(3 * time.Hour)
			if len(o.out.restarts) > 0 || len(o.out.did) > 0 && c.code != "unexpected" {
				t.Errorf("it did %q", o.out.did)
			}
			code := ""
			if o.status.Problem != nil {
				code = o.status.Problem.Code
			}
			if told := strings.Contains(o.journal.String(), "problem="+c.code); code != c.code && !(c.code == "unexpected" && told) {
				t.Errorf("told %q, want %q", code, c.code)
			}
		})
	}
}

// TestARouterThatGivesNoAddress is silent, too: after a restart nothing else
// is left of it.
func TestARouterThatGivesNoAddress(t *testing.T) {
	o := outside(t)
	o.out.silent, o.out.lease = true, false
	o.links[0].Addresses = nil
	o.goOn(25 * time.Minute)
	if !slices.ContainsFunc(o.out.did, func(s string) bool { return strings.HasSuffix(s, "restart") }) {
		t.Errorf("it did %q", o.out.did)
	}
	if !strings.Contains(o.journal.String(), "The router (DHCP) does not answer on eth0") {
		t.Error(o.journal.String())
	}
}
