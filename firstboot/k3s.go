package firstboot

import (
	"context"
	"errors"
	"io/fs"
	"strings"

	"github.com/going-mobile/imagebuilder/firstboot/k3sconfig"
	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/firstboot/secret"
)

// k3s: k3s runs, with settings that follow from node.yaml and the tailnet.

const (
	k3sUnit   = "k3s.service"
	k3sConf   = k3sconfig.Dir + "/config.yaml"
	k3sData   = "/var/lib/rancher/k3s"
	k3sServer = k3sData + "/server"
	k3sAgent  = k3sData + "/agent"
)

func (m *machine) k3sDone(ctx context.Context) (bool, error) {
	if err := m.checkRole(); err != nil {
		return false, err
	}
	v, err := m.decided(ctx)
	if err != nil || v == nil {
		return false, err
	}
	g, err := m.k3sGroup(ctx, *v)
	if err != nil {
		return false, err
	}
	if ok, err := m.converged(g); err != nil || !ok {
		return false, err
	}
	if ok, err := m.imageLinksDone(); err != nil || !ok {
		return false, err
	}
	if ok, err := m.seeded(); err != nil || !ok {
		return false, err
	}
	// A unit that is still starting counts: k3s is ready only after a minute.
	return m.Units.Active(ctx, k3sUnit)
}

func (m *machine) k3sDo(ctx context.Context) error {
	if err := m.checkNetworks(ctx); err != nil {
		return err
	}
	if err := m.needToken(); err != nil {
		return err
	}
	v, err := m.server(ctx)
	if err != nil {
		return err
	}
	g, err := m.k3sGroup(ctx, v)
	if err != nil {
		return err
	}
	if err := m.layImageLinks(); err != nil {
		return err
	}
	if err := m.layIdentity(v); err != nil {
		return err
	}
	if err := m.laySeed(); err != nil {
		return err
	}
	if err := m.converge(ctx, g); err != nil {
		return err
	}
	up, err := m.Units.Active(ctx, k3sUnit)
	if err != nil || up {
		return err
	}
	return m.Units.Start(ctx, k3sUnit)
}

// checkNetworks refuses to start k3s in a network that has the cluster's addresses. A k3s that
// runs is left alone.
func (m *machine) checkNetworks(ctx context.Context) error {
	up, err := m.Units.Active(ctx, k3sUnit)
	if err != nil || up {
		return err
	}
	links, err := m.Net.Links(ctx)
	if err != nil {
		return err
	}
	if p := m.overlap(links); p != nil {
		return p
	}
	return nil
}

func (m *machine) tellK3s(ctx context.Context) error {
	if err := m.Units.Reload(ctx); err != nil {
		return err
	}
	return m.Units.Restart(ctx, k3sUnit)
}

// checkRole refuses to change the role of a node that has k3s data: a server
// must not become an agent, say, on the data of the server.
func (m *machine) checkRole() error {
	env, err := m.read(k3sconfig.EnvFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	data, err := m.exists(k3sAgent)
	if err != nil || !data {
		return err
	}
	if was := k3sconfig.Role(string(env)); was != "" && was != m.cfg.Role {
		return problem("role-conflict", string(was), string(m.cfg.Role))
	}
	return nil
}

func lastLine(s string) string {
	all := strings.Split(strings.TrimSpace(s), "\n")
	return all[len(all)-1]
}

// needToken refuses to start k3s without a token: a server would make up its
// own and create a cluster with it.
func (m *machine) needToken() error {
	if _, token := m.cfg.JoinToken(); !token.Empty() {
		return nil
	}
	if ok, err := m.exists(k3sconfig.Token); err != nil || ok {
		return err
	}
	return problem("token-missing")
}

// k3sGroup returns the files that k3s runs from. The token has a file of its
// own, which stays: a sealed node.yaml has no token any more.
func (m *machine) k3sGroup(ctx context.Context, v via) (group, error) {
	config, err := m.k3sConfig(ctx, v)
	if err != nil {
		return group{}, err
	}
	kubelet, err := m.kubeletConfig()
	if err != nil {
		return group{}, err
	}
	all := []file{
		{path: k3sConf, data: config, mode: 0o600},
		text644(k3sconfig.EnvFile, generated+k3sconfig.Env(m.cfg.Role)),
		{path: k3sAgent + "/etc/kubelet.conf.d/20-imagebuilder.conf", data: kubelet, mode: 0o600},
		{path: k3sAgent + "/etc/containerd/config-v3.toml.d/20-imagebuilder.toml", data: []byte(generated + k3sconfig.Containerd), mode: 0o600},
	}
	for _, t := range tokenFiles(m.cfg) {
		all = append(all, t.want...)
	}
	// These come last: with them, k3s starts by itself at the next boot.
	all = append(all,
		text644("/etc/systemd/system/k3s.service.d/10-imagebuilder-tailnet.conf", k3sDropIn),
		text644("/etc/systemd/system/tailscaled.service.d/20-imagebuilder-k3s.conf", tailscaledDropIn),
	)
	return group{"k3s", all, m.tellK3s}, nil
}

// tokenFiles are the files from which k3s reads node.yaml's tokens.
func tokenFiles(c *node.Config) (all []fieldFiles) {
	add := func(field, path string, t secret.String) {
		if !t.Empty() {
			all = append(all, fieldFiles{"k3s." + field, []file{{path: path, data: []byte(t.Reveal() + "\n"), mode: 0o600}}})
		}
	}
	field, token := c.JoinToken()
	add(field, k3sconfig.Token, token)
	if c.Role != node.Agent {
		add("agentToken", k3sconfig.AgentToken, c.K3s.AgentToken)
	}
	return all
}

// upStatus returns the tailnet's status, or a Problem unless this node is up in
// it.
func (m *machine) upStatus(ctx context.Context) (TailnetStatus, error) {
	st, err := m.Tailnet.Status(ctx)
	if err != nil {
		return st, problem("tailscaled", err.Error()).because(err)
	}
	if !running(st) {
		return st, problem("tailscaled", "the tailnet is "+st.State)
	}
	return st, nil
}

// k3sDropIn stops k3s with tailscaled: flannel's interface and routes vanish
// when tailscale0 does, and only a restart of k3s brings them back
// (k3s-io/k3s#14142). The address must exist before k3s starts.
const k3sDropIn = generated + `[Unit]
BindsTo=tailscaled.service
After=tailscaled.service

[Service]
ExecStartPre=/usr/bin/firstboot wait-tailnet --timeout 90s
`

// tailscaledDropIn starts k3s again after k3sDropIn stopped it.
const tailscaledDropIn = generated + `[Unit]
Upholds=k3s.service
`
