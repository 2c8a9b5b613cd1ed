//go:build e2e && linux

package page_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot"
	"github.com/going-mobile/imagebuilder/firstboot/contract"
)

// chromium looks at the page as a phone does: a browser that knows the node's
// name, in a network where nothing else is. SCREENS=DIR keeps what it shows.
func (p *phone) chromium(address, language string, dark bool, more ...string) string {
	p.t.Helper()
	server := httptest.NewServer(p)
	defer server.Close()
	scheme := map[bool]int{true: 0, false: 1}[dark]
	args := append([]string{"--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--user-data-dir=" + p.t.TempDir(),
		"--force-device-scale-factor=2", "--window-size=412,915", "--virtual-time-budget=2500", "--accept-lang=" + language,
		fmt.Sprintf("--blink-settings=preferredColorScheme=%d", scheme),
		"--host-resolver-rules=MAP cabin-pi.local " + server.Listener.Addr().String() + ", MAP * ~NOTFOUND"}, more...)
	out, err := exec.CommandContext(p.t.Context(), "chromium", append(args, address)...).Output()
	if err != nil {
		p.t.Fatalf("chromium: %v (is it installed? run `make deps`)", err)
	}
	return string(out)
}

// bare waits until the browser shows address, and fails with what it shows instead.
func (p *phone) bare(link, address string) {
	p.t.Helper()
	server := httptest.NewServer(p)
	defer server.Close()
	home := p.t.TempDir()
	browser := exec.CommandContext(p.t.Context(), "chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--user-data-dir="+home, "--remote-debugging-port=0",
		"--host-resolver-rules=MAP cabin-pi.local "+server.Listener.Addr().String()+", MAP * ~NOTFOUND", link)
	if err := browser.Start(); err != nil {
		p.t.Fatal(err)
	}
	defer func() {
		_ = browser.Process.Kill()
		_ = browser.Wait()
	}()
	var shown string
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		port, _ := os.ReadFile(filepath.Join(home, "DevToolsActivePort")) // its first line, once it listens
		first, _, _ := strings.Cut(string(port), "\n")
		answer, err := http.Get("http://127.0.0.1:" + first + "/json/list")
		if err != nil {
			continue
		}
		text, _ := io.ReadAll(answer.Body)
		answer.Body.Close()
		if shown = string(text); strings.Contains(shown, `"url": "`+address+`"`) {
			return
		}
	}
	p.t.Errorf("the address is not %s: %s", address, shown)
}

func (p *phone) picture(name, address, language string, dark bool) {
	p.t.Helper()
	if dir := os.Getenv("SCREENS"); dir != "" {
		abs, err := filepath.Abs(filepath.Join(dir, name+".png"))
		if err != nil {
			p.t.Fatal(err)
		}
		p.chromium(address, language, dark, "--screenshot="+abs)
	}
}

// TestPhone shows the page to a real browser: it is styled and alive under its
// own policy, and hands over what stands behind "#" in a link.
func TestPhone(t *testing.T) {
	p := newPhone(t)
	const address = "http://cabin-pi.local/"
	if dom := p.chromium(address, "de", false, "--dump-dom"); !strings.Contains(dom, "Bitte helfen") || !strings.Contains(dom, `<section id="hand">`) {
		t.Errorf("the script did not run, or the language is wrong:\n%s", dom)
	}
	p.picture("needs-person-de-light", address, "de", false)
	p.picture("needs-person-fr-dark", address, "fr", true)

	link := func(data string) string { return contract.PageLink("cabin-pi", []byte(data)) }
	good := p.signs("cabin-pi", "hskey-second")
	if dom := p.chromium(link(good), "en", false, "--dump-dom"); !strings.Contains(dom, "Thank you!") || p.offered() != good {
		t.Errorf("the link's content did not arrive: %q\n%s", p.offered(), dom)
	}
	foreign := link(p.signs("home-pi", "hskey-second"))
	if dom := p.chromium(foreign, "en", true, "--dump-dom"); !strings.Contains(dom, "is for node home-pi, this is cabin-pi") {
		t.Errorf("no word of the refusal:\n%s", dom)
	}
	if dom := p.chromium(address+"#%00nonsense", "en", true, "--dump-dom"); !strings.Contains(dom, "does not bear the signature") {
		t.Errorf("no word of the refusal:\n%s", dom)
	}
	p.clock.now = p.clock.now.Add(time.Minute)
	p.picture("refused-en-dark", foreign, "en", true)
	p.picture("taken-pt-light", link(good), "pt", false)
	p.tell(firstboot.Status{State: firstboot.Working, Step: "components", Addresses: []string{"192.168.1.20 (eth0)", "fd00:1:2:3::20 (eth0)"}})
	p.picture("working-es-light", address, "es", false)
	p.tell(firstboot.Status{State: firstboot.Joined})
	p.bare(link(good), address)
	p.picture("joined-en-dark", address, "en", true)
	p.picture("joined-de-light", address, "de", false)
}
