package firstboot

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"net/netip"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/going-mobile/imagebuilder/firstboot/k3sconfig"
)

// via is how this node gets into its cluster: it creates it, or joins a server.
type via struct {
	create bool
	join   netip.Addr
}

// A server whose k3s is just restarting looks like one without a cluster. So
// the others are asked for this long before a cluster is created.
const (
	createAsks  = 10
	createPause = 6 * time.Second
)

// server decides how this node gets into the cluster. An earlier decision
// stands; else a server that is down for a moment would change every node. A
// new node joins any server that is alive. The cluster is created only by the
// node that may do so (k3s: init:), and only if no other server can have one.
func (m *machine) server(ctx context.Context) (via, error) {
	if old, err := m.decided(ctx); err != nil || old != nil {
		return deref(old), err
	}
	for ask := 1; ; ask++ {
		s, err := m.survey(ctx)
		switch {
		case err != nil:
			return via{}, err
		case s.alive.IsValid():
			return via{join: s.alive}, nil
		case s.doubt != nil:
			return via{}, s.doubt
		case !m.cfg.K3s.Init:
			return via{}, problem("waiting-server", strings.Join(m.cfg.OtherServers(), ", "))
		case len(s.silent) > 0:
			return via{}, problem("maybe-cluster", strings.Join(s.silent, ", "))
		case s.idle == 0 || ask >= createAsks:
			return via{create: true}, nil
		}
		if err := m.Clock.Sleep(ctx, createPause); err != nil {
			return via{}, err
		}
	}
}

func deref(v *via) via {
	if v == nil {
		return via{}
	}
	return *v
}

// survey is what the other servers in node.yaml answer.
type survey struct {
	alive  netip.Addr // one that serves a cluster
	doubt  error      // a device with a server's name may not be that server
	silent []string   // members of the tailnet that do not answer: they may have a cluster
	idle   int        // how many members answer that nothing listens there
}

func (m *machine) survey(ctx context.Context) (survey, error) {
	var s survey
	st, err := m.upStatus(ctx)
	if err != nil {
		return s, err
	}
	for _, name := range m.cfg.OtherServers() {
		p, err := m.serverPeer(st, name)
		if err != nil {
			s.doubt = err
			continue
		}
		if p == nil || len(p.IPs) == 0 {
			continue // never joined, or deleted: it has no cluster to lose
		}
		at := netip.AddrPortFrom(v4First(p.IPs), k3sconfig.SupervisorPort)
		alive, err := m.Net.Supervisor(ctx, at)
		switch {
		case alive:
			s.alive = at.Addr()
			return s, nil
		case err != nil || !p.Online:
			s.silent = append(s.silent, name)
		default:
			s.idle++
		}
	}
	return s, nil
}

// decided reads an earlier decision back from k3s' own settings, nil if there
// is none. It holds from the moment it is on disk until the server's address
// belongs to another device.
func (m *machine) decided(ctx context.Context) (*via, error) {
	old, err := m.written()
	if err != nil || old == nil || !old.join.IsValid() {
		return old, err
	}
	st, err := m.upStatus(ctx)
	if err != nil || m.strayed(st, old.join) {
		return nil, err
	}
	return old, nil
}

func (m *machine) written() (*via, error) {
	data, err := m.read(k3sConf)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !bytes.HasPrefix(data, []byte(generated)) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var c struct {
		Server string `yaml:"server"`
		Init   bool   `yaml:"cluster-init"`
	}
	if yaml.Unmarshal(data, &c) != nil {
		return nil, nil
	}
	if ip, err := netip.ParseAddr(hostOf(c.Server)); err == nil {
		return &via{join: ip}, nil
	}
	founded, err := m.exists(k3sServer + "/db") // then the cluster is this node's, whichever is to create one now
	if err == nil && c.Init && (m.cfg.K3s.Init || founded) {
		return &via{create: true}, nil
	}
	return nil, err
}
