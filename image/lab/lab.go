// Package lab runs a whole fleet on this computer: a copy of the fleet, with secrets of its
// own, on emulated machines. Each machine starts from an image and a card that are made like
// those to be shipped (a virtual machine stands in for a Pi). The machines are at sites that
// can reach only the machine that runs Headscale.
//
// A lab proves nothing about hardware: boards that would be too slow here are replaced by
// virtual machines. It uses no real Headscale and no real key, and needs no privileges. It
// ends every machine that it started, at the latest the next time it runs.
package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/going-mobile/imagebuilder/firstboot/ctxio"
	"github.com/going-mobile/imagebuilder/image/card"
	"github.com/going-mobile/imagebuilder/image/control"
	"github.com/going-mobile/imagebuilder/image/flash"
	"github.com/going-mobile/imagebuilder/image/fleet"
	"github.com/going-mobile/imagebuilder/image/lab/network"
	"github.com/going-mobile/imagebuilder/image/mint"
	"github.com/going-mobile/imagebuilder/image/qemu"
	"github.com/going-mobile/imagebuilder/image/qemu/guest"
)

// Config says what to run.
type Config struct {
	Plan *Plan
	// Fleet is a rehearsal (fleet.Rehearsal). Its directory is the lab's.
	Fleet *fleet.Fleet
	// Images are the machines' images, by node.
	Images map[string]string
	WAN    network.Link
	// Patience bounds every wait for a machine.
	Patience time.Duration
}

// Lab is a set of machines and the network between them. Close it after use.
type Lab struct {
	Config
	dir      string
	net      *network.Network
	login    ssh.Signer
	state    State
	machines map[string]*machine
	mint     *mint.Mint // nil until Headscale runs
}

// diskSize is the size of a machine's disk in bytes; the files are sparse.
const diskSize = 16 << 30

// New makes the network, and machines that are switched off.
func New(c Config) (*Lab, error) {
	l := &Lab{Config: c, dir: c.Fleet.Dir(), machines: map[string]*machine{}, state: State{SSH: map[string]int{}, Processes: map[string]Process{}}}
	var err error
	if _, l.login, err = c.Fleet.ControlKeys(); err != nil {
		return nil, err
	}
	host, err := c.Fleet.Config(c.Fleet.Control())
	if err != nil {
		return nil, err
	}
	if l.net, err = network.New(network.Config{Sites: lans(c.Fleet), WAN: c.WAN, Names: map[string]string{host.ControlHost(): c.Fleet.Control()}}); err != nil {
		return nil, err
	}
	for i, m := range c.Plan.Machines {
		if err := l.assemble(i, m, host.ControlPort()); err != nil {
			return nil, errors.Join(err, l.Close())
		}
	}
	return l, nil
}

// assemble makes a machine and connects it to the network.
func (l *Lab) assemble(i int, m Machine, apiPort int) error {
	dir := filepath.Join(l.dir, "machines", m.Node)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	mac := net.HardwareAddr{0x52, 0x54, 0, 0x4c, byte(i >> 8), byte(i)} // QEMU's own range
	c := qemu.Config{Board: m.emulated, Image: l.Images[m.Node], Dir: dir, CPUs: processors, Memory: fmt.Sprintf("%dM", m.Memory>>20),
		Restrict: true, Switch: filepath.Join(dir, "net"), SwitchMAC: mac.String()}
	site := m.Site
	if m.Control {
		site = network.Public
	}
	if len(c.Switch) > maxSocket {
		return fmt.Errorf("the path %s is too long for a socket: choose a shorter --dir", c.Switch)
	}
	if _, err := l.net.Plug(m.Node, site, mac, c.Switch); err != nil {
		return err
	}
	l.machines[m.Node] = &machine{Machine: m, config: c, apiPort: apiPort}
	return nil
}

// maxSocket is the maximum length of a socket's path (sun_path of macOS; Linux allows four
// more bytes).
const maxSocket = 103

// lans gives every site a network: the fleet's own if it can be used. Only the machine with
// Headscale is in none of them.
func lans(f *fleet.Fleet) map[string]netip.Prefix {
	out := map[string]netip.Prefix{}
	for name, s := range f.Sites {
		out[name] = netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 168, byte(100 + len(out)), 0}), 24)
		for _, lan := range s.LAN {
			if own, err := netip.ParsePrefix(lan); err == nil && own.Addr().Is4() && own.Addr().IsPrivate() && own.Bits() <= 28 {
				out[name] = own
			}
		}
	}
	return out
}

// Close switches all machines off and ends the network. The directory remains.
func (l *Lab) Close() error {
	for _, m := range l.machines {
		if g := m.running(); g != nil {
			g.Kill()
		}
	}
	if l.mint != nil {
		l.mint.Close()
	}
	return l.net.Close()
}

// Bring starts the machines in the order of the plan and returns when all have joined.
func (l *Lab) Bring(ctx context.Context) error {
	for _, m := range l.Plan.Machines {
		if err := l.start(ctx, m.Node); err != nil {
			return fmt.Errorf("%s: %w", m.Node, err)
		}
		// A witness on Headscale's machine cannot join before the first server.
		if !m.Control && (m.Init || !l.Plan.Together) {
			if err := l.joined(ctx, m.Node); err != nil {
				return err
			}
		}
	}
	for _, m := range l.Plan.Machines {
		if err := l.joined(ctx, m.Node); err != nil {
			return err
		}
	}
	return nil
}

// start writes the machine's card, with a key of its own, and switches it on.
func (l *Lab) start(ctx context.Context, name string) error {
	m := l.machines[name]
	m.say(writing)
	disk := filepath.Join(m.config.Dir, "disk.img")
	if _, err := card.Write(ctx, l.Fleet, l.mint, card.Card{Node: name, Image: m.config.Image, Target: disk}, flash.Options{}); err != nil {
		return err
	}
	if err := os.Truncate(disk, diskSize); err != nil {
		return err
	}
	if err := l.powerOn(ctx, m); err != nil || !m.Control {
		return err
	}
	return l.initHeadscale(ctx, m)
}

func (l *Lab) powerOn(ctx context.Context, m *machine) error {
	if err := l.openWays(m); err != nil {
		return err
	}
	g, err := guest.Start(ctx, m.config, l.login)
	if err != nil {
		return err
	}
	m.switchedOn(g)
	if start, _, err := look(g.PID()); err == nil { // for a process that cleans up if this one is killed
		l.state.Processes[m.Node] = Process{g.PID(), start, filepath.Join(m.config.Dir, "disk.img")}
	}
	return l.state.write(l.dir)
}

// openWays picks the host's ports for a machine when it is first switched on: a port picked
// long before could be taken by another program.
func (l *Lab) openWays(m *machine) (err error) {
	if m.config.SSHPort != 0 {
		return nil
	}
	if m.config.SSHPort, err = qemu.FreePort(); err != nil {
		return err
	}
	l.state.SSH[m.Node] = m.config.SSHPort
	if m.Control {
		if l.state.API, err = qemu.FreePort(); err != nil {
			return err
		}
		m.config.Forward = map[int]int{l.state.API: m.apiPort}
	}
	return l.state.write(l.dir)
}

// initHeadscale does what "headscale init" does, as soon as the machine asks
// for it.
func (l *Lab) initHeadscale(ctx context.Context, m *machine) error {
	if err := l.bounded(ctx, func(ctx context.Context) error {
		_, err := m.running().WaitSerial(ctx, `firstboot: .* problem=control-waits: `)
		return err
	}); err != nil {
		return err
	}
	at := control.Address{SSH: net.JoinHostPort("127.0.0.1", fmt.Sprint(m.config.SSHPort)), APIPort: fmt.Sprint(l.state.API)}
	if _, err := control.Init(ctx, l.Fleet, at, time.Now); err != nil {
		return err
	}
	client, err := l.state.client(l.Fleet)
	if err != nil {
		return err
	}
	l.mint, err = mint.Open(l.Fleet, client)
	return err
}

func (l *Lab) bounded(ctx context.Context, wait func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, l.Patience)
	defer cancel()
	return wait(ctx)
}

// joined waits until a node has joined, and gives up if it needs a person.
func (l *Lab) joined(ctx context.Context, name string) error {
	return l.bounded(ctx, func(ctx context.Context) error {
		for {
			switch row := l.machines[name].row(); {
			case row.State == Joined:
				return nil
			case row.State == Off:
				return fmt.Errorf("%s is off; its last words:\n%s", name, l.machines[name].running().Tail(20))
			case row.State == NeedsPerson && time.Since(row.since) > helpless:
				return fmt.Errorf("%s needs a person: %s", name, row.Says)
			}
			if ctxio.Sleep(ctx, time.Second) != nil {
				return fmt.Errorf("%w while %s had not joined yet: %s; its last words:\n%s", ctx.Err(), name, l.machines[name].row().Says, l.machines[name].running().Tail(20))
			}
		}
	})
}

// helpless is how long a node may call for a person before joined gives up: what the node
// needs may be on its way.
const helpless = 2 * time.Minute
