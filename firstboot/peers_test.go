package firstboot_test

import (
	"context"
	"net/netip"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/firstboot"
)

const agentYAML = `version: 1
node: cabin-box
site: cabin
role: agent
headscale: {url: "https://headscale.example.net", authKey: hskey-auth-first}
k3s: {servers: [cabin-pi], bootstrapToken: k3s-token-very-secret}
`

var laptop = netip.MustParseAddr("100.64.0.66")

func tagged(at netip.Addr, tags ...string) firstboot.Peer {
	return firstboot.Peer{Name: "cabin-pi", IPs: []netip.Addr{at}, Online: true, Tags: tags, Owner: 99}
}

func personal(at netip.Addr, owner int64) firstboot.Peer {
	return firstboot.Peer{Name: "cabin-pi", IPs: []netip.Addr{at}, Online: true, Owner: owner}
}

// TestTokenGoesToNoStranger: whoever calls itself like a server and answers
// like one is asked for a tag before the token goes there.
func TestTokenGoesToNoStranger(t *testing.T) {
	for name, c := range map[string]struct {
		tags   []string // of this node
		owner  int64
		named  string // serverTags
		peers  []firstboot.Peer
		server netip.Addr // joined, or
		code   string     // told
	}{
		"the tag of this node":           {[]string{"tag:site-b", "tag:k3s"}, 1, "", []firstboot.Peer{tagged(cabin, "tag:k3s")}, cabin, ""},
		"a laptop of this name":          {[]string{"tag:k3s"}, 1, "", []firstboot.Peer{personal(laptop, 1)}, netip.Addr{}, "strange-server"},
		"another tag":                    {[]string{"tag:k3s"}, 1, "", []firstboot.Peer{tagged(laptop, "tag:printer")}, netip.Addr{}, "strange-server"},
		"a tag named in node.yaml":       {[]string{"tag:site-b"}, 1, "tag:site-a", []firstboot.Peer{tagged(cabin, "tag:site-a")}, cabin, ""},
		"a tag that is not named":        {[]string{"tag:site-b"}, 1, "tag:site-a", []firstboot.Peer{tagged(laptop, "tag:site-b")}, netip.Addr{}, "strange-server"},
		"no tags, the same owner":        {nil, 1, "", []firstboot.Peer{personal(cabin, 1)}, cabin, ""},
		"no tags, another owner":         {nil, 1, "", []firstboot.Peer{personal(laptop, 2)}, netip.Addr{}, "strange-server"},
		"no tags here, one there":        {nil, 1, "", []firstboot.Peer{tagged(laptop, "tag:printer")}, netip.Addr{}, "strange-server"},
		"a stranger beside the server":   {[]string{"tag:k3s"}, 1, "", []firstboot.Peer{personal(laptop, 1), tagged(cabin, "tag:k3s"), personal(laptop, 2)}, cabin, ""},
		"two that could be the server":   {[]string{"tag:k3s"}, 1, "", []firstboot.Peer{tagged(cabin, "tag:k3s"), tagged(laptop, "tag:k3s")}, netip.Addr{}, "server-twice"},
		"no owner is not the same owner": {nil, 0, "", []firstboot.Peer{personal(laptop, 0)}, netip.Addr{}, "strange-server"},
	} {
		t.Run(name, func(t *testing.T) {
			yaml := agentYAML
			if c.named != "" {
				yaml = strings.Replace(yaml, "k3s: {", "k3s: {serverTags: ["+c.named+"], ", 1)
			}
			w := newWorld(t, yaml)
			w.tags, w.owner, w.peers, w.alive[cabin], w.alive[laptop] = c.tags, c.owner, c.peers, true, true
			s, _ := w.boot(anyProblem)
			if c.code == "" {
				if conf := w.text("/etc/rancher/k3s/config.yaml"); s.State != firstboot.Joined || !strings.Contains(conf, "server: https://"+c.server.String()+":6443\n") {
					t.Errorf("%s\n%s", s.Line(), conf)
				}
				return
			}
			if s.Problem == nil || s.Problem.Code != c.code || w.joins != 0 || w.text("/etc/rancher/k3s/token") != "" {
				t.Errorf("%s, %d joins", s.Line(), w.joins)
			}
		})
	}
}

// TestAStrangerFoundsNoCluster: the server whose name was taken may have one.
func TestAStrangerFoundsNoCluster(t *testing.T) {
	w := crashWorld(t)
	w.peers = []firstboot.Peer{personal(laptop, 1)}
	s, _ := w.boot(anyProblem)
	if s.Problem == nil || s.Problem.Code != "strange-server" || w.clusters != 0 {
		t.Errorf("%s, %d clusters", s.Line(), w.clusters)
	}
}

// TestAnAddressIsNoServerForEver: Headscale gave the address of a deleted
// server to a laptop. k3s does not start, and the node finds the server again.
func TestAnAddressIsNoServerForEver(t *testing.T) {
	w := newWorld(t, agentYAML)
	w.peers, w.alive[cabin] = peer, true
	if s, _ := w.boot(nil); s.State != firstboot.Joined {
		t.Fatal(s.Line())
	}
	check := func() error { return firstboot.CheckServer(context.Background(), w.host()) }
	if err := check(); err != nil {
		t.Errorf("the server it joined: %v", err)
	}
	w.nft = ""
	if err := check(); err == nil || !strings.Contains(err.Error(), "firewall") {
		t.Errorf("the LAN would reach it: %v", err)
	}
	rules := w.files["/usr/lib/imagebuilder/firewall.nft"]
	delete(w.files, "/usr/lib/imagebuilder/firewall.nft")
	if err := check(); err != nil {
		t.Errorf("an image that has no firewall: %v", err)
	}
	w.nft, w.files["/usr/lib/imagebuilder/firewall.nft"] = "hook prerouting", rules
	moved := tagged(netip.MustParseAddr("100.64.0.10"), w.tags...)
	for what, p := range map[string]firstboot.Peer{
		"a laptop":                       {Name: "laptop", IPs: []netip.Addr{cabin}, Online: true, Owner: 1},
		"a laptop of the server's name":  personal(cabin, 1),
		"an agent with the servers' tag": {Name: "cabin-nas", IPs: []netip.Addr{cabin}, Online: true, Tags: w.tags},
	} {
		w.peers = []firstboot.Peer{p}
		if err := check(); err == nil || !strings.Contains(err.Error(), cabin.String()) {
			t.Errorf("%s has the address: %v", what, err)
		}
	}
	w.alive[moved.IPs[0]] = true
	w.peers = append(w.peers, moved)
	w.reboot()
	if s, _ := w.boot(nil); s.State != firstboot.Joined || !strings.Contains(w.text("/etc/rancher/k3s/config.yaml"), "server: https://100.64.0.10:6443\n") {
		t.Errorf("%s\n%s", s.Line(), w.text("/etc/rancher/k3s/config.yaml"))
	}
}
