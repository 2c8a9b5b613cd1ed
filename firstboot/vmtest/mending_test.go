//go:build vm && linux

package vmtest

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/firstboot/node"
)

// TestMending breaks a node so that nobody can log in to it: its disk is too small, and its network
// is a VLAN that does not exist. What to do is written on the card, where a laptop reads it, and is
// done there. Once joined, the node requires its owner's signature for further changes, and with it
// accepts them through the tailnet too.
func TestMending(t *testing.T) {
	tn := newTailnet(t)
	m := newMachine(t, "generic-amd64", image(t, "generic-amd64"))
	m.config.DiskSize = 6 * gib
	key := filepath.Join(m.config.Dir, "owner.key")
	cfg := tn.first("home-pi")
	cfg.OwnerKey = strings.TrimSpace(strings.TrimPrefix(run(t, builder, "node", "keygen", key, "--no-password"), "ownerKey: "))
	cfg.K3s.Config = map[string]any{"etcd-s3-secret-key": planted}
	cfg.Files = append(cfg.Files, node.File{Path: "/etc/imagebuilder/files/password", Content: planted})
	cfg.Network.Interfaces = []node.Interface{{Name: "enp0s4", VLAN: 5}}
	m.personalise(cfg)
	m.powerOn()
	m.seeProblem("disk-too-small")
	m.unplug("PLEASE HELP", "The disk is too small", "Use a larger card or disk.")

	if err := os.Truncate(m.disk(), 8*gib); err != nil {
		t.Fatal(err)
	}
	m.powerOn()
	m.seeProblem("no-dhcp")
	m.screenshot("no-dhcp")
	m.unplug("PLEASE HELP", "gives this node no address (no answer from DHCP on", "switch the router off and on")

	cfg.Network.Interfaces = nil
	m.personalise(cfg)
	m.powerOn()
	t.Logf("mended: joined after %v", m.seeJoined())
	if _, ok := tn.nodes()["home-pi"]; !ok || tn.unused() != 0 {
		t.Errorf("the tailnet has %v, %d keys are unused", tn.nodes(), tn.unused())
	}
	m.wantsSignature(cfg, key)
}

// planted is a password in k3s.config and in a file.
const planted = "planted-5c1d09e7"

// wantsSignature moves a joined node to another site: without its owner's signature the node stays,
// with it the node moves.
func (m *machine) wantsSignature(cfg *node.Config, key string) {
	m.t.Helper()
	if open := m.sh("grep -rlFs %s /etc /run /tmp /root /boot /var | xargs stat -Lc '%%a %%U %%n' | grep -v '^600 root ' || true", planted); open != "" {
		m.t.Errorf("others than root can read a password in\n%s", open)
	}
	m.powerOff()
	m.onlyOnData(planted)
	cfg.Site = "cabin"
	m.personalise(cfg)
	m.powerOn()
	m.see("firstboot: joined .* problem=unsigned: ")
	m.screenshot("unsigned")
	m.unplug("JOINED", "node.yaml changes site without the owner's signature", "Ask the owner for a signed node.yaml")

	file := filepath.Join(m.config.Dir, "node.yaml")
	run(m.t, builder, "node", "sign", file, "--key", key)
	run(m.t, builder, "personalize", m.disk(), "--node-config", file)
	m.powerOn()
	m.see("firstboot: joined node=home-pi site=cabin")
	if text := m.sh("cat /etc/rancher/k3s/config.yaml"); !strings.Contains(text, "region=cabin") || !strings.Contains(text, planted) {
		m.t.Errorf("k3s' settings are\n%s", text)
	}
	m.takesOffer(cfg, key)
	m.powerOff()
	m.onlyOnData(planted)
}

// takesOffer gives a member another node.yaml, as "imagebuilder apply" does.
func (m *machine) takesOffer(cfg *node.Config, key string) {
	m.t.Helper()
	cfg.Site, cfg.K3s.AgentToken = "attic", "other-"+agentToken
	file := filepath.Join(m.t.TempDir(), "node.yaml")
	text, err := node.Marshal(cfg)
	if err == nil {
		err = os.WriteFile(file, text, 0o600)
	}
	if err != nil {
		m.t.Fatal(err)
	}
	run(m.t, builder, "node", "sign", file, "--key", key)
	if text, err = os.ReadFile(file); err != nil {
		m.t.Fatal(err)
	}
	offer := fmt.Sprintf("echo %s | base64 -d | firstboot offer", base64.StdEncoding.EncodeToString(text))
	before := m.sh("systemctl show -P ExecMainPID k3s")
	if got := m.sh("%s --try", offer); got != `{"inForce":false,"fields":["site","k3s.agentToken"],"steps":["k3s"]}` {
		m.t.Errorf("it would change %s", got)
	}
	m.sh("%s && timeout 300 sh -c 'until %[1]s --try | grep -qx \"{.inForce.:true}\"; do sleep 2; done'", offer)
	if got := m.sh("cat /etc/rancher/k3s/agent-token; systemctl show -P ExecMainPID k3s"); !strings.HasPrefix(got, string(cfg.K3s.AgentToken)) || strings.HasSuffix(got, "\n"+before) {
		m.t.Errorf("k3s has the token, and the number before (%s):\n%s", before, got)
	}
	if got := m.sh("%s 2>&1; ls /run/firstboot-page/offer 2>&1 || true", offer); !strings.Contains(got, "No such file") {
		m.t.Errorf("the same is taken once more: %s", got)
	}
}

// unplug switches the machine off by its button and reads the card.
func (m *machine) unplug(words ...string) {
	m.t.Helper()
	if err := m.PressPower(); err != nil {
		m.t.Fatal(err)
	}
	m.bounded(m.Wait)
	text := strings.Join(strings.Fields(m.bootFile("STATUS.TXT")), " ")
	for _, want := range append(words, "home-pi", "site-a") {
		if !strings.Contains(text, want) {
			m.t.Errorf("STATUS.TXT lacks %q:\n%s", want, text)
		}
	}
}
