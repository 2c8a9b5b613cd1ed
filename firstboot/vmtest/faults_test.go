//go:build vm && linux

package vmtest

import (
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot"
	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/firstboot/secret"
	"github.com/going-mobile/imagebuilder/image/headscale/headscaletest"
)

// TestFaults breaks one node in every way that a person has to mend, reads
// what it says, and mends it without flashing it. It begins without a network
// cable and with the clock of 1970.
func TestFaults(t *testing.T) {
	tn := newTailnet(t)
	m := newMachine(t, "generic-amd64", image(t, "generic-amd64"))
	good := tn.first("home-pi")
	m.personalise(good) // completes good with the key to log in
	expired := *good
	expired.Headscale.AuthKey = tn.Key("tag:site-a", time.Second).Key
	m.personalise(&expired)

	m.powerOn("-rtc", "base=1970-01-01T00:00:00")
	m.connect(false)
	m.seeProblem("no-link")
	m.screenshot("no-link")
	m.connect(true)
	m.tells("key-expired", "The key in node.yaml has expired.", "Ask the owner for a new key")
	if year := m.sh("date +%%Y"); year < "2026" {
		t.Errorf("the clock says %s", year)
	}
	m.screenshot("key-expired")

	m.badFiles(good)
	m.badCard(good)
	m.badRole(good)
	if os.Getenv("K3S") == "" { // only the stand-in can be told to fail
		m.sh("echo flag > /etc/rancher/k3s/standin-fail; systemctl restart --no-block k3s; sleep 3; firstboot retry")
		m.tells("k3s-config", "-told-to-fail", "Correct k3s: config:")
		m.sh("rm /etc/rancher/k3s/standin-fail")
		m.joins()
	}
	last := m.badKey(tn, good)
	m.powerOff()
	for _, k := range []secret.String{expired.Headscale.AuthKey, good.Headscale.AuthKey, last} {
		m.diskHides(k.Reveal())
	}
}

// badFiles puts mistakes into node.yaml.
func (m *machine) badFiles(good *node.Config) {
	m.t.Helper()
	for _, f := range []struct {
		code, words, remedy string
		change              func(*node.Config)
	}{
		{"key-unknown", "Headscale does not know the key", "Ask the owner for a new key", func(c *node.Config) {
			c.Headscale.AuthKey = "hskey-auth-AAAAAAAAAAAA-" + secret.String(strings.Repeat("b", 64))
		}},
		{"not-headscale", "something else than a Headscale server", "headscale: url:", func(c *node.Config) {
			c.Headscale.URL = forGuests(headscaletest.OtherServer(m.t))
		}},
		{"untrusted", "is not trusted", "headscale: ca:", func(c *node.Config) { c.Headscale.URL = selfSigned(m.t) }},
		{"unreachable", "does not answer", "The node keeps trying", func(c *node.Config) { c.Headscale.URL = "http://10.0.2.2:9" }},
	} {
		c := *good
		f.change(&c)
		m.replace(&c)
		m.tells(f.code, f.words, f.remedy)
	}
	m.replaceText(strings.Replace(m.text(good), "site:", "sites:", 1))
	m.tells("bad-field", `field "sites"`, `did you mean "site"?`)
}

// badCard joins from a boot partition that cannot be written, where the
// secrets would stay, and then from one without any space.
func (m *machine) badCard(good *node.Config) {
	m.t.Helper()
	m.sh("systemctl stop firstboot")
	m.replace(good)
	m.sh("umount /boot/firmware && blockdev --setro /dev/vda1 && mount -o ro /dev/vda1 /boot/firmware; systemctl start firstboot")
	m.seeProblem("boot-readonly")
	m.sh("umount /boot/firmware; blockdev --setrw /dev/vda1; mount -o rw /dev/vda1 /boot/firmware; dd if=/dev/zero of=/boot/firmware/full bs=1M 2>&1; sync; mount -o remount,ro /boot/firmware; firstboot retry")
	m.joins()
	got := m.sh("grep -c sealed: /boot/firmware/node.yaml; head -1 /boot/firmware/STATUS.TXT; df --output=pcent /boot/firmware | tail -1")
	if strings.Join(strings.Fields(got), " ") != "1 JOINED - everything is fine 100%" {
		m.t.Errorf("on the full boot partition: %q", got)
	}
	m.sh("mount -o remount,rw /boot/firmware; rm /boot/firmware/full; mount -o remount,ro /boot/firmware")
}

// badRole makes an agent of a server, and a server again.
func (m *machine) badRole(good *node.Config) {
	m.t.Helper()
	agent := *good.Seal()
	agent.Role, agent.K3s.Init, agent.K3s.Servers = node.Agent, false, []string{"cabin-pi"}
	m.replace(&agent)
	m.tells("role-conflict", "This node was set up as server, node.yaml says agent.", "Write the old role")
	m.replace(good.Seal())
	m.joins()
}

// badKey is what a power cut at the moment of joining leaves: no state, and a used key. A new key
// alone brings the node back, and a person at the server gives it its old name. badKey returns the
// new key.
func (m *machine) badKey(tn *tailnet, good *node.Config) secret.String {
	m.t.Helper()
	m.sh("systemctl stop firstboot tailscaled; rm -r /var/lib/tailscale; systemctl start tailscaled firstboot")
	m.tells("key-lost", "no longer a member", "Ask the owner for a new key")
	again := *good
	m.replace(&again)
	m.tells("key-spent", "it works only once", "Ask the owner for a new key")
	again.Headscale.AuthKey = tn.Key("tag:site-a", time.Hour).Key
	m.replace(&again)
	m.tells("name-taken", "home-pi-1", "delete the old node and then rename this one to home-pi")
	if err := tn.Client.DeleteNode(m.t.Context(), tn.nodes()["home-pi"].ID); err != nil {
		m.t.Fatal(err)
	}
	tn.Rename(tn.nodes()["home-pi-1"].ID, "home-pi")
	m.sh("firstboot retry")
	m.joins()
	return again.Headscale.AuthKey
}

// connect plugs the cable in or pulls it.
func (m *machine) connect(up bool) {
	m.t.Helper()
	var err error
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if err = m.SetLink(up); err == nil {
			return
		}
	}
	m.t.Fatal(err)
}

// tells waits for a problem and reads its words on the serial line, in
// status.json, in STATUS.TXT, and by "firstboot status".
func (m *machine) tells(code, words, remedy string) {
	m.t.Helper()
	m.seeProblem(code)
	s := m.until(code, func(s firstboot.Status) bool { return s.Problem != nil && s.Problem.Code == code })
	for place, text := range map[string]string{
		"status.json":      s.Problem.Summary + " " + s.Problem.Remedy,
		"the serial line":  m.Serial(),
		"STATUS.TXT":       m.sh("cat /boot/firmware/STATUS.TXT"),
		"firstboot status": m.sh("firstboot status"),
		"the journal":      m.sh("journalctl -b -u firstboot -o cat --no-pager"),
	} {
		text = strings.Join(strings.Fields(text), " ")
		for _, want := range []string{words, remedy, code} {
			if place == "status.json" && want == code {
				continue
			}
			if !strings.Contains(text, want) {
				m.t.Errorf("%s: %s lacks %q: %s", code, place, want, text[max(0, len(text)-1000):])
			}
		}
	}
	m.t.Logf("%v: %s", time.Since(m.on).Round(time.Second), s.Line())
}

// joins waits until nothing is left to do.
func (m *machine) joins() {
	m.t.Helper()
	m.until("joined", func(s firstboot.Status) bool { return s.State == firstboot.Joined })
	m.t.Logf("%v: joined", time.Since(m.on).Round(time.Second))
}

func (m *machine) text(c *node.Config) string {
	m.t.Helper()
	text, err := node.Marshal(c)
	if err != nil {
		m.t.Fatal(err)
	}
	return string(text)
}

// replace writes another node.yaml onto the boot partition of a running node.
func (m *machine) replace(c *node.Config) {
	m.t.Helper()
	m.replaceText(m.text(c))
}

// replaceText writes the text over the old one, in place and padded, as `imagebuilder personalize`
// does.
func (m *machine) replaceText(text string) {
	m.t.Helper()
	padded, err := node.PadTo([]byte(text), node.ReservedSize)
	if err != nil {
		m.t.Fatal(err)
	}
	m.sh("mount -o remount,rw /boot/firmware && echo %s | base64 -d | dd of=/boot/firmware/node.yaml bs=32k conv=notrunc,fsync status=none; mount -o remount,ro /boot/firmware",
		base64.StdEncoding.EncodeToString(padded))
}

// forGuests turns an address of this host's loopback into what guests see.
func forGuests(address string) string {
	return strings.Replace(address, "127.0.0.1", hostAddress, 1)
}

// selfSigned serves TLS with a certificate of an unknown authority.
func selfSigned(t testing.TB) string {
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.Config.ErrorLog = nil
	s.StartTLS()
	t.Cleanup(s.Close)
	_, port, _ := net.SplitHostPort(s.Listener.Addr().String())
	return fmt.Sprintf("https://%s:%s", hostAddress, port)
}
