package firstboot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/going-mobile/imagebuilder/firstboot/node"
)

// verify: tailnet up, k3s active, the cluster has this node and calls it
// Ready; on a server the API answers. Then the running slot is good.

const (
	k3sProgram  = "/usr/local/bin/k3s"
	adminConf   = k3sDir + "/k3s.yaml"
	kubeletConf = k3sAgent + "/kubelet.kubeconfig"
)

func (m *machine) verifyDone(ctx context.Context) (bool, error) {
	if p := m.clusterFault(ctx); p != nil {
		return false, nil
	}
	if ok, err := m.exists(joinedFile); err != nil || !ok {
		return false, err
	}
	return m.Slot.Blessed(ctx)
}

func (m *machine) verifyDo(ctx context.Context) error {
	if p := m.clusterFault(ctx); p != nil {
		return p
	}
	if err := m.Slot.Bless(ctx); err != nil {
		return problem("slot-failed", err.Error()).because(err)
	}
	return m.write(text644(joinedFile, m.cfg.Node+"\n"))
}

// clusterFault names why this node is no working part of its cluster yet, nil
// if it is.
func (m *machine) clusterFault(ctx context.Context) *Problem {
	if up, err := m.Units.Active(ctx, k3sUnit); err != nil || !up {
		return m.k3sFault(ctx, errors.Join(errors.New("it is not running"), err))
	}
	if m.cfg.Role == node.Server {
		if _, err := m.kubectl(ctx, adminConf, "get", "--raw", "/readyz"); err != nil {
			return m.k3sFault(ctx, fmt.Errorf("the API does not answer yet: %w", err))
		}
	}
	// The kubelet may read its own node, and its settings are there for every
	// role; a witness and an agent have no others.
	out, err := m.kubectl(ctx, kubeletConf, "get", "node", m.cfg.Node, "-o", "json")
	if err != nil {
		return m.k3sFault(ctx, fmt.Errorf("the cluster does not know this node yet: %w", err))
	}
	if err := nodeReady(out); err != nil {
		return m.k3sFault(ctx, err)
	}
	return nil
}

func (m *machine) kubectl(ctx context.Context, conf string, args ...string) (string, error) {
	argv := append([]string{k3sProgram, "kubectl", "--kubeconfig", conf, "--request-timeout", "10s"}, args...)
	return m.Programs.Run(ctx, argv...)
}

// nodeReady reads a Node object of the Kubernetes API, core/v1.
func nodeReady(object string) error {
	var n struct {
		Status struct {
			Conditions []struct{ Type, Status, Reason, Message string }
		}
	}
	if err := json.Unmarshal([]byte(object), &n); err != nil {
		return fmt.Errorf("the cluster's answer is no node: %w", err)
	}
	for _, c := range n.Status.Conditions {
		if c.Type == "Ready" {
			if c.Status == "True" {
				return nil
			}
			return fmt.Errorf("the node is not ready: %s", c.Message)
		}
	}
	return errors.New("the node is not ready")
}

// k3sWords are what k3s logs (1.3x) about faults that waiting does not mend.
var k3sWords = []struct{ word, code string }{
	{"node password rejected", "k3s-password"},
	{"token ca hash does not match", "k3s-token"},
	{"invalid token format", "k3s-token"},
	{"failed to normalize server token", "k3s-token"},
	{"failed to normalize token", "k3s-token"},
	{"not authorized", "k3s-token"},
	{"401 unauthorized", "k3s-token"},
	{"bootstrap data already found and encrypted with different token", "k3s-token"},
	{"flag provided but not defined", "k3s-config"},
	{"unknown flag", "k3s-config"},
}

// k3sFault looks for the cause of a k3s that does not work in what it logged
// last.
func (m *machine) k3sFault(ctx context.Context, err error) *Problem {
	log, logErr := m.Units.Log(ctx, k3sUnit, 60)
	if logErr != nil {
		return problem("k3s-starting", err.Error()).because(errors.Join(err, logErr))
	}
	all := strings.Split(strings.TrimSpace(log), "\n")
	for i := len(all) - 1; i >= 0; i-- {
		line := strings.ToLower(all[i])
		for _, w := range k3sWords {
			if !strings.Contains(line, w.word) {
				continue
			}
			if w.code == "k3s-config" {
				return problem(w.code, all[i]).because(err)
			}
			return problem(w.code, m.cfg.Node).because(err)
		}
	}
	return problem("k3s-starting", err.Error()).because(err)
}
