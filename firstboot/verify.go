package firstboot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/k3sconfig"
	"github.com/going-mobile/imagebuilder/firstboot/node"
)

// verify: tailnet up, k3s active, the cluster has this node and calls it
// Ready; on a server the API answers.

const (
	adminConf   = k3sconfig.Dir + "/k3s.yaml"
	kubeletConf = k3sAgent + "/kubelet.kubeconfig"
)

// slowAnswer is when an answer of the API counts as late. That happens with a
// store on a busy memory card, or a weak link between the sites; k3s gives up
// its leases soon after.
const slowAnswer = 3 * time.Second

func (m *machine) verifyDone(ctx context.Context) (bool, error) {
	if m.fault = m.clusterFault(ctx); m.fault != nil {
		return false, nil
	}
	if ok, err := m.exists(joinedFile); err != nil || !ok {
		return false, err
	}
	m.compareServers(ctx)
	return true, nil
}

func (m *machine) verifyDo(ctx context.Context) error {
	if m.fault != nil { // found in this very pass: a cluster in trouble is not asked twice
		return m.fault
	}
	return m.write(text644(joinedFile, m.cfg.Node+"\n"))
}

// clusterFault names why this node is not a working part of its cluster yet,
// nil if it is.
func (m *machine) clusterFault(ctx context.Context) *Problem {
	m.answered = 0
	switch m.cfg.Role {
	case node.Server:
		if _, err := m.ask(ctx, adminConf, "/readyz"); err != nil {
			return m.k3sFault(ctx, err)
		}
	case node.Control: // not part of the cluster
		return nil
	case node.Witness: // it has no API server of its own to ask
		if _, err := m.Net.Etcd(ctx, EtcdVotes); err != nil {
			return m.k3sFault(ctx, fmt.Errorf("its etcd does not vote yet: %w", err))
		}
	}
	// The kubelet may read its own Node, and its kubeconfig is there for every
	// role. On a witness it is there only once k3s has found the API of a
	// server. That is waited for: k3s lets no member vote for long that is not
	// a node.
	if ok, err := m.exists(kubeletConf); err == nil && !ok {
		return m.k3sFault(ctx, errors.New("no server has answered it yet"))
	}
	out, err := m.ask(ctx, kubeletConf, "/api/v1/nodes/"+m.cfg.Node)
	if err != nil {
		return m.k3sFault(ctx, err)
	}
	if err := nodeReady(out); err != nil {
		return problem("k3s-unready", err.Error()).because(err)
	}
	m.object = out
	return nil
}

// ask gets a path of the API, and remembers how long the slowest answer took.
func (m *machine) ask(ctx context.Context, conf, path string) ([]byte, error) {
	began := m.Clock.Now()
	out, err := m.Net.API(ctx, conf, path)
	m.answered = max(m.answered, m.Clock.Now().Sub(began))
	return out, err
}

// slowFault names a cluster that answers, but late. It asks once more: a single
// late answer may be a burst of work, or the clock being set.
func (m *machine) slowFault(ctx context.Context) *Problem {
	if m.answered < slowAnswer {
		return nil
	}
	if p := m.clusterFault(ctx); p != nil || m.answered < slowAnswer {
		return p
	}
	return problem("k3s-slow", m.answered.Round(time.Second).String())
}

// seeStart remembers which start of k3s is running, and since when.
func (r *runner) seeStart() {
	if now := r.host.starts(); now != r.starts || r.began.IsZero() {
		r.starts, r.began = now, r.host.Clock.Now()
	}
}

// forgetRestarts resets systemd's count of restarts for a k3s that works again.
// systemd counts all restarts since somebody started the unit by hand, and
// waits ever longer before the next (RestartSteps=), even if k3s ran well in
// between. If the reset fails, it is repeated at the next look.
func (r *runner) forgetRestarts(ctx context.Context) {
	if r.starts == r.proven {
		return
	}
	if _, err := r.host.Programs.Run(ctx, "systemctl", "reset-failed", k3sUnit); err == nil {
		r.proven = r.starts
	}
}

// outlived reports whether the last k3s had run for so long that its unit
// restarted it (contract.K3sRuns), which is no fault. A firstboot that began
// later does not know that, and reports that restart as a problem once.
func (r *runner) outlived() bool { return r.host.Clock.Now().Sub(r.began) >= contract.K3sRuns }

// nodeReady reads a Node object of the Kubernetes API, core/v1.
func nodeReady(object []byte) error {
	var n struct {
		Status struct {
			Conditions []struct{ Type, Status, Reason, Message string }
		}
	}
	if err := json.Unmarshal(object, &n); err != nil {
		return fmt.Errorf("the cluster's answer is no node: %w", err)
	}
	for _, c := range n.Status.Conditions {
		if c.Type == "Ready" {
			if c.Status == "True" {
				return nil
			}
			return errors.New(c.Message)
		}
	}
	return errors.New("it has not heard of it")
}

// k3sWords are what k3s (1.3x) logs about faults that it does not overcome by
// itself.
var k3sWords = []struct{ word, code string }{
	{"node password rejected", "k3s-password"},
	{"duplicate node name found", "k3s-password"},
	{"token ca hash does not match", "k3s-token"},
	{"invalid token format", "k3s-token"},
	{"failed to normalize server token", "k3s-token"},
	{"failed to normalize token", "k3s-token"},
	{"not authorized", "k3s-refused"},
	{"401 unauthorized", "k3s-refused"},
	{"bootstrap data already found and encrypted with different token", "k3s-token"},
	{"flag provided but not defined", "k3s-config"},
	{"unknown flag", "k3s-config"},
	{"critical configuration value mismatch", "k3s-config"},
	{"lower than determined cluster version", "k3s-behind"}, // etcd, MustDetectDowngrade
}

// k3sFault finds out why k3s does not answer. Until k3s has reported that it is
// ready, the last fault in its log is the reason. Afterwards its log is about
// all that goes on in the cluster, and no word in it may call a person.
func (m *machine) k3sFault(ctx context.Context, err error) *Problem {
	if ready, _ := m.Units.Ready(ctx, k3sUnit); ready {
		return problem("k3s-silent", err.Error()).because(err)
	}
	log, logErr := m.Units.Log(ctx, k3sUnit, 60)
	err = errors.Join(err, logErr)
	all := strings.Split(strings.TrimSpace(log), "\n")
	slices.Reverse(all)
	for _, line := range all {
		if code := k3sCode(line); code == "k3s-config" {
			return problem(code, line).because(err)
		} else if code != "" {
			return problem(code, m.cfg.Node).because(err)
		}
	}
	for _, line := range all {
		if _, why, ok := strings.Cut(line, "level=fatal msg="); ok {
			return problem("k3s-failed", why).because(err)
		}
	}
	return problem("k3s-starting", err.Error()).because(err)
}

func k3sCode(line string) string {
	for _, w := range k3sWords {
		if strings.Contains(strings.ToLower(line), w.word) {
			return w.code
		}
	}
	return ""
}
