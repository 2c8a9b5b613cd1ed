//go:build vm && linux

package vmtest

import (
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot"
	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/firstboot/secret"
	"github.com/going-mobile/imagebuilder/image/owner"
	"github.com/going-mobile/imagebuilder/image/qemu"
)

// TestPage: a node whose key was used before is mended through its page on the LAN by what a link
// carries, without the card in hand and without a reboot. Anything unsigned, for another node or
// old is refused, and the page is gone when the node has joined.
func TestPage(t *testing.T) {
	tn := newTailnet(t)
	m := newMachine(t, "generic-amd64", image(t, "generic-amd64"))
	port, err := qemu.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	m.config.Forward = map[int]int{port: 80}
	p := nodePage{m, fmt.Sprintf("http://127.0.0.1:%d/", port), filepath.Join(m.config.Dir, "owner.key")}
	cfg := tn.first("home-pi")
	cfg.OwnerKey = strings.TrimSpace(strings.TrimPrefix(run(t, builder, "node", "keygen", p.key, "--no-password"), "ownerKey: "))
	m.personalise(cfg)
	m.powerOn()
	m.seeJoined()
	p.ends()
	m.powerOff()

	// The card is written again, with the same content as before.
	if err := tn.Client.DeleteNode(t.Context(), tn.nodes()["home-pi"].ID); err != nil {
		t.Fatal(err)
	}
	m.flash()
	m.personalise(cfg)
	m.powerOn()
	m.seeProblem("key-spent")
	p.says("The key in node.yaml was used before")
	if ports := m.sh("ss -Hlun sport = 5353"); ports == "" {
		t.Error("nobody announces home-pi.local")
	}

	boot := m.sh("cat /proc/sys/kernel/random/boot_id")
	fresh := tn.Key("tag:site-a", time.Hour).Key
	p.hands(422, "does not bear the signature", string(node.MarshalKey("home-pi", fresh)))
	p.hands(422, "is for node cabin-pi, this is home-pi", p.signed("cabin-pi", fresh))
	good := p.signed("home-pi", fresh)
	p.hands(422, "no valid signature", strings.Replace(good, "node: home-pi", "node: home-p1", 1))
	m.seeProblem("offer-wrong")
	p.hands(200, "Thank you", good)
	m.until("joined", func(s firstboot.Status) bool { return s.State == firstboot.Joined })
	p.hands(422, "was taken already", good)
	p.ends()
	if m.sh("cat /proc/sys/kernel/random/boot_id") != boot {
		t.Error("it took a reboot")
	}
	if ports := m.sh("ss -Hlun sport = 5353"); ports != "" {
		t.Errorf("home-pi.local is still announced: %s", ports)
	}
	if left := m.sh("grep -rlFs %s /boot /var/lib/imagebuilder /run/firstboot /run/firstboot-page || true", fresh.Reveal()); left != "" {
		t.Errorf("the key is still in %s", left)
	}
}

// nodePage is a node's page as the LAN sees it, and the owner's key.
type nodePage struct {
	*machine
	address, key string
}

func (p *nodePage) signed(name string, key secret.String) string {
	p.t.Helper()
	private, err := owner.Open(p.key, func() (secret.String, error) { return "", nil })
	if err != nil {
		p.t.Fatal(err)
	}
	out, err := node.Sign(node.MarshalKey(name, key), name, private, time.Now())
	if err != nil {
		p.t.Fatal(err)
	}
	return string(out)
}

// ask returns code 0 where nobody answers.
func (p *nodePage) ask(method, data string) (code int, text string) {
	p.t.Helper()
	r, err := http.NewRequestWithContext(p.t.Context(), method, p.address, strings.NewReader(data))
	if err != nil {
		p.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/yaml")
	client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Do(r)
	if err != nil {
		return 0, err.Error()
	}
	defer answer.Body.Close()
	body, _ := io.ReadAll(answer.Body)
	return answer.StatusCode, string(body)
}

// says waits until the page is there and says so.
func (p *nodePage) says(words string) {
	p.t.Helper()
	for end := time.Now().Add(stepLimit); ; time.Sleep(time.Second) {
		code, text := p.ask("GET", "")
		if code == http.StatusOK && strings.Contains(text, "home-pi") && strings.Contains(strings.NewReplacer("<code>", "", "</code>", "").Replace(text), words) {
			return
		}
		if time.Now().After(end) {
			p.t.Fatalf("the page answers %d, not %q:\n%s", code, words, text)
		}
	}
}

func (p *nodePage) hands(want int, words, data string) {
	p.t.Helper()
	if code, text := p.ask("POST", data); code != want || !strings.Contains(text, words) {
		p.t.Fatalf("the page answers %d %s, want %d %s", code, text, want, words)
	}
}

// ends waits until nobody answers any more.
func (p *nodePage) ends() {
	p.t.Helper()
	for end := time.Now().Add(stepLimit); ; time.Sleep(time.Second) {
		code, _ := p.ask("GET", "")
		if code == 0 {
			return
		}
		if time.Now().After(end) {
			p.t.Fatal("the page stays")
		}
	}
}
