package firstboot_test

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot"
)

const openFile = "/etc/imagebuilder/firewall.nft"

func TestWhatNodeYAMLOpens(t *testing.T) {
	add := func(set, port string) string {
		return "add element inet imagebuilder " + set + " { tcp . " + port + " }\n"
	}
	for more, want := range map[string]string{
		"": add("lan", "22"),
		"firewall: {lan: [http, ssh], public: [https]}\n": add("lan", "80") + add("lan", "22") + add("public", "443"),
	} {
		w := newWorld(t, initYAML+more)
		if s, _ := w.boot(anyProblem); s.State != firstboot.Joined {
			t.Fatalf("%q: %+v", more, s.Problem)
		}
		if _, rules, _ := strings.Cut(string(w.files[openFile].data), "\n"); rules != want {
			t.Errorf("%q opens\n%s", more, rules)
		}
	}
	closed := strings.Replace(initYAML, "ssh: {", "ssh: {lan: false, ", 1)
	w := newWorld(t, closed)
	w.boot(nil)
	if _, rules, _ := strings.Cut(string(w.files[openFile].data), "\n"); rules != strings.Replace(add("lan", "22"), "add", "delete", 1) {
		t.Errorf("ssh.lan: false leaves\n%s", rules)
	}
	w = newWorld(t, closed)
	delete(w.files, "/usr/lib/imagebuilder/firewall.nft")
	if s, _ := w.boot(needsPerson); s.Problem == nil || !strings.Contains(s.Problem.Summary, "this image has no firewall") {
		t.Errorf("an image without a firewall: %+v", s.Problem)
	}
}

func TestNoFirewallNoK3s(t *testing.T) {
	w := newWorld(t, initYAML)
	w.nft = ""
	s, _ := w.boot(anyProblem)
	if s.Problem == nil || s.Problem.Code != "firewall" || s.Step != "firewall" || w.units["k3s.service"] || !w.running {
		t.Errorf("%+v, k3s %v, tailnet %v", s.Problem, w.units["k3s.service"], w.running)
	}
	w.nft = "hook prerouting"
	if s, _ = w.boot(needsPerson); s.State != firstboot.Joined {
		t.Errorf("%+v", s.Problem)
	}
	w.nft = ""
	if s, _ = w.boot(anyProblem); s.Problem == nil || s.Problem.Code != "firewall" {
		t.Errorf("a node that has joined lost its firewall, and says %+v", s)
	}
}

// guard lets the firewall be kept for a while, and returns what it told.
func (w *world) guard(d time.Duration) (told []string, err error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	h, end := w.host(), w.now.Add(d)
	h.Clock = until{clockWorld{w}, end, cancel}
	err = firstboot.Guard(ctx, h, func(s string) { told = append(told, s) })
	return told, err
}

type until struct {
	firstboot.Clock
	end    time.Time
	cancel func()
}

func (u until) Sleep(ctx context.Context, d time.Duration) error {
	if !u.Now().Before(u.end) {
		u.cancel()
	}
	return u.Clock.Sleep(ctx, d)
}

func (w *world) network(name string, list ...string) {
	l := firstboot.Link{Name: name}
	for _, p := range list {
		l.Networks = append(l.Networks, netip.MustParsePrefix(p))
	}
	w.links = append(w.links, l)
}

func TestGuard(t *testing.T) {
	w := newWorld(t, initYAML)
	w.nft, w.links = "", nil
	w.put(openFile, "open\n")
	const image = "hook prerouting\n"
	see := func(what, want, tells string) {
		t.Helper()
		told, _ := w.guard(time.Minute)
		if w.nft != want || strings.Join(told, "|") != tells {
			t.Errorf("%s: the kernel has\n%swant\n%stold %q", what, w.nft, want, told)
		}
	}
	see("no address yet", image+"open\n", "")
	w.network("eth0", "192.168.1.20/24", "192.168.1.77/24", "2001:db8::7/64", "203.0.113.7/24", "fe80::7/64", "fd00:1::7/64")
	w.network("vlan5", "10.1.2.3/16", "10.1.9.9/24")
	w.network(`odd"; flush ruleset`, "10.9.9.9/24")
	w.network("wide0", "192.168.1.5/8")
	w.network("wlan0", "192.168.1.30/24", "fc00::1/6")
	own := `add element inet imagebuilder own4 { "eth0" . 192.168.1.0/24 }
add element inet imagebuilder own6 { "eth0" . fd00:1::/64 }
add element inet imagebuilder own4 { "vlan5" . 10.1.0.0/16 }
add element inet imagebuilder own4 { "wide0" . 192.168.0.0/16 }
add element inet imagebuilder own6 { "wlan0" . fc00::/7 }
add element inet imagebuilder own4 { "wlan0" . 192.168.1.0/24 }
`
	see("addresses", image+"open\n"+own, "")
	w.put(openFile, "other\n")
	see("node.yaml changed", image+"other\n"+own, "")
	w.nftFault = func(rules string) bool { return rules != image }
	w.links = w.links[:1]
	told, err := w.guard(time.Minute)
	if w.nft != image || len(told) < 2 || !strings.HasPrefix(told[0], "the firewall opens nothing: nft:") || err != context.Canceled {
		t.Errorf("the kernel refuses what the node adds: it has %q, told %q, %v", w.nft, told, err)
	}
	w.nftFault = func(string) bool { return true }
	if _, err := w.guard(time.Minute); err == nil || err == context.Canceled {
		t.Errorf("the kernel refuses the image's rules: %v", err)
	}
}

func TestGuardUndoesAFlush(t *testing.T) {
	for _, left := range []string{"", "table with a hole"} {
		w := newWorld(t, initYAML)
		calls := w.calls
		w.fault = func(n int, name string) fault {
			if name == "sleep" && n > calls+100 {
				w.nft, calls = left, 1<<30
			}
			return none
		}
		told, _ := w.guard(10 * time.Minute)
		if len(told) != 1 || !strings.Contains(told[0], "put back") || !strings.HasPrefix(w.nft, "hook prerouting\n") {
			t.Errorf("after %q: told %q, the kernel has %q", left, told, w.nft)
		}
	}
}
