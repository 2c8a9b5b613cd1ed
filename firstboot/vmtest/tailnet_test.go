//go:build vm && linux

package vmtest

import (
	"encoding/binary"
	"net"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/image/headscale"
	"github.com/going-mobile/imagebuilder/image/headscale/headscaletest"
)

// tailnet is a real Headscale, under the address that guests of QEMU's user
// network see the host's loopback by.
type tailnet struct {
	*headscaletest.Server
	t testing.TB
}

const hostAddress = "10.0.2.2"

func newTailnet(t testing.TB) *tailnet {
	t.Helper()
	serveTime(t)
	return &tailnet{headscaletest.StartAt(t, "127.0.0.1", hostAddress), t}
}

// secrets of every cluster of these tests.
const (
	serverToken = "server-token-6f1e0c2b9d"
	agentToken  = "agent-token-41c7aa03e8"
)

// member is a node.yaml for a node at a site, "a" or "b", with a new key.
func (n *tailnet) member(name, site string, role node.Role) *node.Config {
	n.t.Helper()
	c := &node.Config{
		Version: node.Version, Node: name, Site: "site-" + site, Role: role, Timezone: "Europe/Lisbon",
		Headscale: node.Headscale{URL: n.URL, AuthKey: n.Key("tag:site-"+site, time.Hour).Key},
		Network:   node.Network{NTP: []string{hostAddress}},
		// Headscale's own relay, over http as all of it: for tests only.
		Files: []node.File{{Path: "/etc/systemd/system/tailscaled.service.d/50-relay.conf", Content: "[Service]\nEnvironment=TS_DEBUG_USE_DERP_HTTP=1\n"}},
	}
	c.K3s.ServerTags = []string{"tag:site-a", "tag:site-b"}
	if role == node.Agent {
		c.K3s.AgentToken = agentToken
	} else {
		c.K3s.Token, c.K3s.AgentToken = serverToken, agentToken
	}
	return c
}

// first is a node.yaml for the server that may create the cluster.
func (n *tailnet) first(name string) *node.Config {
	n.t.Helper()
	c := n.member(name, "a", node.Server)
	c.K3s.Init, c.K3s.Servers = true, []string{name}
	return c
}

// nodes lists the tailnet by name.
func (n *tailnet) nodes() map[string]headscale.Node {
	n.t.Helper()
	list, err := n.Client.Nodes(n.t.Context())
	if err != nil {
		n.t.Fatal(err)
	}
	out := map[string]headscale.Node{}
	for _, x := range list {
		out[x.GivenName] = x
	}
	return out
}

// unused counts the keys that still open the tailnet.
func (n *tailnet) unused() int {
	n.t.Helper()
	keys, err := n.Client.ListKeys(n.t.Context())
	if err != nil {
		n.t.Fatal(err)
	}
	count := 0
	for _, k := range keys {
		if !k.Used {
			count++
		}
	}
	return count
}

// serveTime answers RFC 4330 on loopback: a node without it would wait for
// the internet's time servers, which tests do not have.
func serveTime(t testing.TB) {
	t.Helper()
	// Shared, so that two runs can go on beside each other: any of them answers.
	share := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) })
	}}
	conn, err := share.ListenPacket(t.Context(), "udp", "127.0.0.1:123")
	if err != nil {
		t.Fatalf("a time server for the guests: %v (run the tests as root, with no time server on this host)", err)
	}
	t.Cleanup(func() { conn.Close() })
	go func() {
		for buf := make([]byte, 512); ; {
			size, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			if size >= 48 {
				_, _ = conn.WriteTo(timeAnswer(buf[:48], time.Now()), from)
			}
		}
	}()
}

func timeAnswer(question []byte, now time.Time) []byte {
	const epoch = 2208988800 // 1970 in seconds since 1900
	stamp := uint64(now.Unix()+epoch)<<32 | uint64(now.Nanosecond())<<32/1e9
	a := make([]byte, 48)
	a[0], a[1], a[2], a[3] = 4<<3|4, 1, question[2], 0xec // server, stratum 1
	copy(a[12:], "TEST")
	copy(a[24:32], question[40:48]) // originate timestamp
	for _, at := range []int{16, 32, 40} {
		binary.BigEndian.PutUint64(a[at:], stamp)
	}
	return a
}
