package node

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/k3sflags"
	"github.com/going-mobile/imagebuilder/firstboot/secret"
	"github.com/going-mobile/imagebuilder/firstboot/strictyaml"
)

// The servers of a cluster must agree in some settings. k3s itself refuses a server that differs in
// most of them, but only long after its card was shipped. Nothing refuses differing timings of
// etcd: the members then take each other for dead.

// EtcdHeartbeat and EtcdElection are etcd's timings in milliseconds, for members that are a WAN
// apart, on disks that stall for seconds. They are k3s' present defaults (pkg/etcd). They are set
// explicitly so that no update can make servers of two versions differ.
//
// Measured with three members of etcd 3.6, 80 ms of round trip between them,
// and each disk refusing to sync for 2 to 4 s every 19 s on average, for 24
// minutes each, and for 4 to 8 s every 26 s for 10 minutes:
//
//	heartbeat/election   leaders lost   no leader      writes failed         next leader after a death
//	100/1000 (etcd's)    66, then 16    43 s, 22 s     672 of 21,077, 256    2 to 5 s
//	500/5000             0, then 2      0, 8 s         0 of 24,566, 14       6 to 9 s
//	1000/10000           0, then 0      0              0 of 24,516, 0        10 to 18 s
//
// The last would save an even slower disk, and cost every cluster that loses a
// server twice the time without an API.
const (
	EtcdHeartbeat = 500
	EtcdElection  = 5000
)

// Flags are k3s' flags by their long names, each with all its values.
type Flags map[string][]string

// List returns the values of a setting, which may be written as a list or as a single value.
func (s Settings) List(name string) []string {
	switch v := s[name].(type) {
	case nil:
		return nil
	case []string:
		return slices.Clone(v)
	case []any:
		out := make([]string, len(v))
		for i := range v {
			out[i] = fmt.Sprint(v[i])
		}
		return out
	default:
		return []string{fmt.Sprint(v)}
	}
}

// Unfit returns the settings that k3s in role r would refuse or ignore, each with the reason. It is
// for programs that write a node.yaml, at home: see k3sflags.
func (s Settings) Unfit(r Role) map[string]error {
	out := map[string]error{}
	for name, value := range s {
		switch plain := strings.TrimSuffix(name, "+"); {
		case slices.Contains(ownKeys, name): // the node itself refuses those
		case plain != name && slices.Contains(ownKeys, plain):
			out[name] = errDecided
		default:
			if err := k3sflags.Check(r == Agent, name, value); err != nil {
				out[name] = err
			}
		}
	}
	return out
}

// Flags returns all settings as flags.
func (s Settings) Flags() Flags {
	f := Flags{}
	for name := range s {
		f[name] = s.List(name)
	}
	return f
}

func (c *Config) flags() Flags { return c.K3s.Config.Flags() }

// ParseArgs reads the flags of a running k3s from its node's annotation k3s.io/node-args: a JSON
// list in which the settings of config.yaml appear too, as flag and value one after the other. It
// returns nil for an agent.
func ParseArgs(annotation string) (Flags, error) {
	var args []string
	if err := json.Unmarshal([]byte(annotation), &args); err != nil {
		return nil, fmt.Errorf("k3s.io/node-args: %w", err)
	}
	if len(args) == 0 || args[0] != "server" {
		return nil, nil
	}
	f := Flags{}
	for i := 1; i < len(args); i++ {
		name, ok := strings.CutPrefix(args[i], "--")
		if !ok {
			continue
		}
		value := "true"
		if i+1 < len(args) && (strings.HasSuffix(name, "-arg") || !strings.HasPrefix(args[i+1], "--")) {
			i++
			value = args[i]
		}
		f[name] = append(f[name], value)
	}
	return f, nil
}

// alike are the settings that k3s requires to be equal on all servers ("Critical Configuration
// Values" of docs.k3s.io/cli/server, v1.36), with their defaults. cluster-dns, disable=servicelb
// and the agents' token must be equal besides these.
var alike = map[string]string{
	"cluster-cidr": contract.PodNetwork, "cluster-domain": "cluster.local", "disable-cloud-controller": "false",
	"disable-helm-controller": "false", "disable-network-policy": "false", "egress-selector-mode": "agent",
	"embedded-registry": "false", "flannel-backend": "vxlan", "flannel-external-ip": "false", "flannel-ipv6-masq": "false",
	"secrets-encryption": "false", "secrets-encryption-provider": "aescbc", "service-cidr": contract.ServiceNetwork, "supervisor-metrics": "false",
}

// Alike returns the settings that must be equal on all servers, with their values.
func (f Flags) Alike() map[string]string {
	out := maps.Clone(alike)
	for name := range alike {
		if len(f[name]) > 0 {
			out[name] = strings.Join(f[name], ",")
		}
	}
	if out["cluster-dns"] = strings.Join(f["cluster-dns"], ","); out["cluster-dns"] == "" {
		out["cluster-dns"] = tenth(out["service-cidr"])
	}
	disabled := strings.Split(strings.Join(f["disable"], ","), ",")
	out["disable=servicelb"] = strconv.FormatBool(slices.Contains(disabled, "servicelb"))
	heartbeat, election := f.etcdTimings()
	out["etcd-arg heartbeat-interval"], out["etcd-arg election-timeout"] = heartbeat, election
	return out
}

// FlagOf returns the k3s flag that a name from Alike belongs to: some names stand for one value of
// a flag, or for one argument.
func FlagOf(name string) string {
	flag, _, _ := strings.Cut(strings.ReplaceAll(name, "=", " "), " ")
	return flag
}

// tenth returns the tenth address of a service network, which k3s gives to the cluster's DNS
// server.
func tenth(network string) string {
	first, _, _ := strings.Cut(network, ",")
	p, err := netip.ParsePrefix(first)
	if err != nil {
		return ""
	}
	a := p.Masked().Addr()
	for range 10 {
		a = a.Next()
	}
	return a.String()
}

func (f Flags) etcdTimings() (heartbeat, election string) {
	heartbeat, election = strconv.Itoa(EtcdHeartbeat), strconv.Itoa(EtcdElection)
	for _, arg := range f["etcd-arg"] {
		switch name, value := CutArg(arg); name {
		case "heartbeat-interval":
			heartbeat = value
		case "election-timeout":
			election = value
		}
	}
	return heartbeat, election
}

// CutArg splits an argument that k3s passes on to a program, from a flag such as etcd-arg:
// NAME=VALUE, with or without leading dashes.
func CutArg(arg string) (name, value string) {
	name, value, _ = strings.Cut(strings.TrimLeft(arg, "-"), "=")
	return name, value
}

// checkEtcd refuses timings with which etcd itself would not start.
func (f Flags) checkEtcd() error {
	heartbeat, election := f.etcdTimings()
	h, errH := strconv.Atoi(heartbeat)
	e, errE := strconv.Atoi(election)
	if errH != nil || errE != nil || h < 1 || e < 5*h || e > 50000 {
		return fmt.Errorf("etcd wants heartbeat-interval and election-timeout in milliseconds, the second 5 times the first at least and 50000 at most; together they are %s and %s", heartbeat, election)
	}
	return nil
}

// Unlike lists the names whose values differ between two servers, sorted.
func Unlike(a, b map[string]string) []string {
	var out []string
	for name := range a {
		if a[name] != b[name] {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// Named is a configuration with the file that it comes from.
type Named struct {
	File string
	*Config
}

// CheckServers compares the servers and witnesses among the nodes of one
// cluster with the first of them.
func CheckServers(nodes []Named) error {
	var found strictyaml.Problems
	var first *Named
	for i, n := range nodes {
		switch {
		case n.Role == Agent:
		case first == nil:
			first = &nodes[i]
		default:
			found = append(found, n.unlike(first)...)
		}
	}
	if len(found) == 0 {
		return nil
	}
	return found
}

func (n Named) unlike(first *Named) (found strictyaml.Problems) {
	refuse := func(field, format string, args ...any) {
		found = append(found, &strictyaml.Problem{Name: n.File, Field: "k3s." + field, Msg: fmt.Sprintf(format, args...)})
	}
	mine, theirs := n.flags().Alike(), first.flags().Alike()
	for _, name := range Unlike(mine, theirs) {
		refuse("config."+name, "is %s, and %s in %s; all servers of a cluster need the same", mine[name], theirs[name], first.File)
	}
	for _, t := range []struct {
		name         string
		mine, theirs secret.String
	}{{"token", n.K3s.Token, first.K3s.Token}, {"agentToken", n.K3s.AgentToken, first.K3s.AgentToken}} {
		if bare(t.mine) != bare(t.theirs) && !n.Sealed && !first.Sealed {
			refuse(t.name, "is another one than in %s; all servers of a cluster need the same", first.File)
		}
	}
	return found
}

// bare returns the secret part of a token, without the digest of the cluster's authority.
func bare(t secret.String) string {
	s := t.Reveal()
	if pin.MatchString(s) {
		_, s, _ = strings.Cut(s, "::")
		_, s, _ = strings.Cut(s, ":")
	}
	return s
}
