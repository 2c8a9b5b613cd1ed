//go:build linux

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log"
	"maps"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// beat is how often a node reports to its servers.
const beat = 2 * time.Second

func serve(role string) error {
	switch failure() {
	case "start":
		return errors.New("told to fail")
	case "flag":
		return errors.New("flag provided but not defined: -told-to-fail")
	}
	s, err := loadSettings(role)
	if err != nil {
		return err
	}
	token, err := s.secretOf("token")
	if err != nil {
		return err
	}
	n := &self{settings: s, role: role, data: s.one("data-dir"), token: token}
	if n.data == "" {
		n.data = "/var/lib/rancher/k3s"
	}
	if n.password, err = nodePassword(); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if role == "server" {
		if err := n.startServer(ctx); err != nil {
			return err
		}
	}
	return n.live(ctx)
}

// self is the node that this process is.
type self struct {
	settings
	role, data, token, password string
	cluster                     *cluster // set on a server
	servers                     []string // addresses of the servers it has heard of
	asks                        string   // the server in its kubelet.kubeconfig
}

// nodePassword returns the node password, k3s' own protection against two machines with one name.
func nodePassword() (string, error) {
	name := at("/etc/rancher/node/password")
	if b, err := os.ReadFile(name); err == nil && len(b) > 0 {
		return strings.TrimSpace(string(b)), nil
	}
	p := random()
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return "", err
	}
	return p, os.WriteFile(name, []byte(p+"\n"), 0o600)
}

func (n *self) hello() hello {
	h := hello{Name: n.one("node-name"), IP: n.one("node-ip"), Role: n.role, Password: n.password, Labels: map[string]string{"imagebuilder/standin": "true"}, Taints: n.settings["node-taint"], Args: n.args()}
	switch {
	case n.on("disable-apiserver"):
		h.Role = "witness"
		h.Labels["node-role.kubernetes.io/etcd"] = "true"
	case n.role == "server":
		h.Labels["node-role.kubernetes.io/control-plane"], h.Labels["node-role.kubernetes.io/etcd"] = "true", "true"
	}
	for _, l := range n.settings["node-label"] {
		k, v, _ := strings.Cut(l, "=")
		h.Labels[k] = v
	}
	return h
}

// args returns the settings as k3s publishes them in an annotation.
func (n *self) args() []string {
	out := []string{n.role}
	for _, name := range slices.Sorted(maps.Keys(n.settings)) {
		for _, v := range n.settings[name] {
			if name == "token" || name == "agent-token" {
				v = "********"
			}
			out = append(out, "--"+name, v)
		}
	}
	return out
}

// upstreams returns the servers that this node reports to: the one it was told to join and, as with
// k3s' load balancer, all servers that it has heard of since. A server that is a member comes first
// itself.
func (n *self) upstreams() []string {
	var out []string
	add := func(server string) {
		if server != "" && !slices.Contains(out, server) {
			out = append(out, server)
		}
	}
	if n.cluster != nil && n.cluster.member() {
		add(n.own())
	}
	add(strings.TrimSuffix(n.one("server"), "/"))
	for _, ip := range n.servers {
		add(address(ip))
	}
	return out
}

const (
	apiPort     = "6443"
	etcdMetrics = "127.0.0.1:2381"
)

func address(ip string) string { return "https://" + net.JoinHostPort(ip, apiPort) }

// own is this server's address. A port other than the usual one is never published; it is for tests
// that share a machine.
func (n *self) own() string { return "https://" + net.JoinHostPort(n.one("node-ip"), n.port()) }

func (n *self) port() string { return cmp.Or(n.one("https-listen-port"), apiPort) }

// metrics is the address at which etcd says whether it votes.
func (n *self) metrics() string {
	for _, arg := range n.settings["etcd-arg"] {
		if at, ok := strings.CutPrefix(arg, "listen-metrics-urls=http://"); ok {
			return at
		}
	}
	return etcdMetrics
}

// live joins, then reports again and again. If the token is wrong, k3s exits and systemd restarts
// it; so does this.
func (n *self) live(ctx context.Context) error {
	ready := false
	for {
		err := n.beat(ctx)
		var no *refusal
		switch {
		case errors.As(err, &no):
			return err
		case err != nil:
			log.Printf("level=error msg=%q", err.Error())
		case ready && failure() == "crash":
			return errors.New("leaderelection lost for k3s")
		case !ready && failure() != "ready":
			ready = true
			log.Print("level=info msg=\"k3s is up and running\" standin=true")
			if err := notify("READY=1"); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(beat):
		}
	}
}

// beat reports to every server, or as an agent to the first that answers.
func (n *self) beat(ctx context.Context) error {
	if failure() == "ready" {
		return errors.New("told never to be ready")
	}
	var faults []error
	heard, asked := false, false
	for _, server := range n.upstreams() {
		var w welcome
		err := call(ctx, "POST", server+"/v1-standin/join", n.token, n.hello(), &w)
		if err == nil {
			first := !asked && n.hasAPI(server)
			asked = asked || first
			err = n.hear(ctx, server, w, first)
		}
		if err != nil {
			faults = append(faults, err)
			continue
		}
		heard = true
		if n.cluster == nil {
			break
		}
	}
	if heard {
		return nil
	}
	return errors.Join(faults...)
}

// hasAPI reports whether a server has an API. The only one known to have none is this node itself,
// if it is a witness.
func (n *self) hasAPI(server string) bool {
	return !n.on("disable-apiserver") || server != n.own()
}

// hear takes over what a server says. The first server with an API becomes the one that kubectl
// asks.
func (n *self) hear(ctx context.Context, server string, w welcome, first bool) error {
	n.servers = n.servers[:0]
	for _, m := range w.Nodes {
		if m.Role == "server" {
			n.servers = append(n.servers, m.IP)
		}
	}
	slices.Sort(n.servers)
	if first && n.asks != server {
		n.asks = server
		if err := n.writeKubeconfigs(ctx, server, w.Credential); err != nil {
			return err
		}
	}
	if n.cluster != nil {
		return n.cluster.adopt(w)
	}
	return nil
}

// notify implements sd_notify(3).
func notify(state string) error {
	name := os.Getenv("NOTIFY_SOCKET")
	if name == "" {
		return nil
	}
	if strings.HasPrefix(name, "@") {
		name = "\x00" + name[1:]
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("tell systemd: %w", err)
	}
	defer c.Close()
	_, err = c.Write([]byte(state))
	return err
}
