//go:build linux

package page_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"aead.dev/minisign"

	"github.com/going-mobile/imagebuilder/firstboot"
	"github.com/going-mobile/imagebuilder/firstboot/host"
	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/firstboot/page"
	"github.com/going-mobile/imagebuilder/firstboot/secret"
)

// clock stands still unless it is moved.
type clock struct {
	firstboot.Clock
	now time.Time
}

func (c *clock) Now() time.Time { return c.now }

func (c *clock) Synced() (bool, error) { return true, nil }

func (c *clock) Sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d / 100):
		return nil
	}
}

type system struct{ firstboot.System }

func (system) Hostname() (string, error) { return "cabin-pi", nil }

// phone is a helper's, next to a node.
type phone struct {
	t     *testing.T
	root  string
	clock *clock
	http.Handler
	signs func(name, key string) string
}

var keySpent = &firstboot.Problem{Code: "key-spent", Summary: "The key in node.yaml was used before; it works only once.",
	Remedy: "Ask the owner for a new key.", Person: true}

// newPhone returns a phone next to a node whose key was used before, and whose owner has a signing
// key.
func newPhone(t *testing.T) *phone {
	t.Helper()
	pub, private, err := minisign.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	p := &phone{t: t, root: t.TempDir(), clock: &clock{now: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)}}
	p.write("boot/firmware/node.yaml", "version: 1\nnode: cabin-pi\nsite: cabin\nrole: agent\nheadscale: {url: \"https://hs.example.net\", authKey: hskey-first}\n"+
		"k3s: {servers: [home-pi], agentToken: very-secret-token}\nownerKey: "+pub.String()+"\n")
	p.write("boot/firmware/imagebuilder.json", "{}")
	p.write("run/firstboot/page.nft", "")
	p.tell(firstboot.Status{State: firstboot.NeedsPerson, Step: "tailnet", Problem: keySpent, Addresses: []string{"192.168.1.20 (eth0)"}})
	p.Handler = page.Handler(p.host())
	p.signs = func(name, key string) string {
		out, err := node.Sign(node.MarshalKey(name, secret.String(key)), name, private, p.clock.now)
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	return p
}

func (p *phone) host() firstboot.Host {
	return firstboot.Host{Files: host.Files{Root: p.root}, Clock: p.clock, System: system{}}
}

func (p *phone) write(name, content string) {
	p.t.Helper()
	name = filepath.Join(p.root, name)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

// tell sets the node's status.
func (p *phone) tell(s firstboot.Status) {
	s.Node, s.Site, s.Role, s.Time = "cabin-pi", "cabin", "agent", p.clock.now
	p.write("run/firstboot/status.json", string(s.JSON()))
}

func (p *phone) get(language string) *httptest.ResponseRecorder {
	r := httptest.NewRequest("GET", "http://cabin-pi.local/", nil)
	r.Header.Set("Accept-Language", language)
	w := httptest.NewRecorder()
	p.ServeHTTP(w, r)
	return w
}

// post hands something over as the page's script does; change may change the request.
func (p *phone) post(data string, change func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest("POST", "http://cabin-pi.local/", strings.NewReader(data))
	r.Header.Set("Content-Type", "application/yaml")
	r.Header.Set("Origin", "http://cabin-pi.local")
	if change != nil {
		change(r)
	}
	w := httptest.NewRecorder()
	p.ServeHTTP(w, r)
	return w
}

func (p *phone) offered() string {
	b, _ := os.ReadFile(filepath.Join(p.root, "run/firstboot-page/offer"))
	return string(b)
}

// TestSaysWhatTheScreenSays, in the phone's language, and no secret.
func TestSaysWhatTheScreenSays(t *testing.T) {
	p := newPhone(t)
	for language, want := range map[string][]string{
		"en":       {`lang="en"`, "cabin-pi", "Please help", "was used before; it works only once", "Ask the owner for a new key", "192.168.1.20 (eth0)", "5 of 13", "joining the private network", "key-spent"},
		"de-AT":    {`lang="de"`, "Bitte helfen", "wurde schon benutzt", "5 von 13", "dem privaten Netz beitreten"},
		"fr,en":    {`lang="fr"`, "Besoin d’aide", "a déjà servi", "5 sur 13"},
		"es":       {`lang="es"`, "Hace falta ayuda", "ya se usó", "5 de 13"},
		"pt-BR":    {`lang="pt"`, "É preciso ajuda", "já foi usada", "5 de 13"},
		"xx;q=0.1": {`lang="en"`},
	} {
		w := p.get(language)
		for _, word := range append(want, `http-equiv="refresh"`) {
			if !strings.Contains(w.Body.String(), word) {
				t.Errorf("%s: lacks %q", language, word)
			}
		}
		for _, secret := range []string{"hskey", "very-secret-token", "ownerKey"} {
			if strings.Contains(w.Body.String(), secret) {
				t.Errorf("%s: shows %q", language, secret)
			}
		}
	}
	p.tell(firstboot.Status{State: firstboot.Joined})
	if body := p.get("de").Body.String(); !strings.Contains(body, "Fertig") || strings.Contains(body, "http-equiv") || strings.Contains(body, `id="hand"`) {
		t.Error("a node that has joined asks for more")
	}
	p.write("run/firstboot/status.json", "{")
	if body := p.get("en").Body.String(); !strings.Contains(body, "says nothing yet") {
		t.Error("a node without status says something")
	}
}

// TestTextOfOthers: text from servers ends up in the page as text, not as markup.
func TestTextOfOthers(t *testing.T) {
	p := newPhone(t)
	evil := `<script src=//evil.example></script>"'`
	p.tell(firstboot.Status{State: firstboot.Waiting, Problem: &firstboot.Problem{Code: "login-failed", Summary: evil, Remedy: evil, Args: []string{evil}}})
	for _, language := range []string{"en", "de"} {
		if body := p.get(language).Body.String(); strings.Contains(body, "<script src") || !strings.Contains(body, "&lt;script src") {
			t.Errorf("%s: %s", language, body)
		}
	}
}

// TestNothingFromElsewhere: the page loads nothing, and says so to the browser.
func TestNothingFromElsewhere(t *testing.T) {
	p := newPhone(t)
	w := p.get("en")
	policy := w.Header().Get("Content-Security-Policy")
	for _, want := range []string{"default-src 'none'", "style-src 'sha256-", "script-src 'sha256-", "connect-src 'self'", "form-action 'none'", "frame-ancestors 'none'", "base-uri 'none'"} {
		if !strings.Contains(policy, want) {
			t.Errorf("the policy lacks %s: %s", want, policy)
		}
	}
	if strings.Contains(policy, "unsafe") || strings.Contains(w.Body.String(), "//") && strings.Contains(w.Body.String(), "https:") {
		t.Errorf("%s\n%s", policy, w.Body)
	}
	for name, want := range map[string]string{"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"} {
		if have := w.Header().Get(name); have != want {
			t.Errorf("%s: %q", name, have)
		}
	}
}

// TestOtherNames: a request for another name is refused: the browser was led here by that name.
func TestOtherNames(t *testing.T) {
	p := newPhone(t)
	for name, want := range map[string]int{
		"cabin-pi.local": 200, "cabin-pi": 200, "CABIN-PI.local.": 200, "cabin-pi.local:8080": 200, "192.168.1.20": 200, "[fe80::1]": 200, "[fe80::1]:80": 200, "127.0.0.1:4711": 200,
		"evil.example": 421, "cabin-pi.local.evil.example": 421, "home-pi.local": 421, "localhost": 421, "": 421, "192.168.1.20.evil.example": 421,
	} {
		r := httptest.NewRequest("GET", "http://cabin-pi.local/", nil)
		r.Host = name
		w := httptest.NewRecorder()
		p.ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("%q: %d, want %d", name, w.Code, want)
		}
		if have := p.post("x", func(r *http.Request) { r.Host = name; r.Header.Del("Origin") }).Code; want == 421 && have != want {
			t.Errorf("POST %q: %d", name, have)
		}
		p.clock.now = p.clock.now.Add(time.Minute)
	}
}

// TestTakesWhatTheOwnerSigned and nothing else.
func TestTakesWhatTheOwnerSigned(t *testing.T) {
	p := newPhone(t)
	good := p.signs("cabin-pi", "hskey-second")
	for name, c := range map[string]struct {
		code   int
		data   string
		change func(*http.Request)
		says   string
	}{
		"good":                {200, good, nil, "Thank you!"},
		"from a script":       {200, good, func(r *http.Request) { r.Header.Del("Origin") }, "Thank you!"},
		"in German":           {422, "x", func(r *http.Request) { r.Header.Set("Accept-Language", "de") }, "trägt keine Unterschrift des Besitzers"},
		"unsigned":            {422, string(node.MarshalKey("cabin-pi", "hskey-second")), nil, "does not bear the signature"},
		"changed":             {422, strings.Replace(good, "hskey-second", "hskey-third", 1), nil, "no valid signature"},
		"for another":         {422, p.signs("home-pi", "hskey-second"), nil, "is for node home-pi, this is cabin-pi"},
		"too long":            {422, strings.Repeat("x", node.ReservedSize+1), nil, "too large"},
		"from another page":   {403, good, func(r *http.Request) { r.Header.Set("Origin", "http://evil.example") }, "another page"},
		"across sites":        {403, good, func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") }, "another page"},
		"from a form":         {415, good, func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") }, "want application/yaml"},
		"from somewhere":      {415, good, func(r *http.Request) { r.Header.Del("Content-Type") }, "want application/yaml"},
		"in the request line": {405, good, func(r *http.Request) { r.Method = "PUT" }, ""},
		"elsewhere":           {404, good, func(r *http.Request) { r.URL.Path = "/node.yaml" }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			os.Remove(filepath.Join(p.root, "run/firstboot-page/offer"))
			p.clock.now = p.clock.now.Add(time.Minute)
			w := p.post(c.data, c.change)
			if w.Code != c.code || !strings.Contains(w.Body.String(), c.says) {
				t.Errorf("%d %s, want %d %s", w.Code, w.Body, c.code, c.says)
			}
			if have := p.offered(); (have == c.data) != (c.code == 200 || c.code == 422 && name != "too long") {
				t.Errorf("left for the node: %q", have)
			}
			if fi, err := os.Stat(filepath.Join(p.root, "run/firstboot-page/offer")); err == nil && fi.Mode().Perm() != 0o600 {
				t.Errorf("which is %v", fi.Mode())
			}
		})
	}
}

// TestTries: after too many tries a person has to wait, and may then try again.
func TestTries(t *testing.T) {
	p := newPhone(t)
	var codes []int
	for range 6 {
		codes = append(codes, p.post("x", nil).Code)
	}
	if codes[4] != 422 || codes[5] != 429 {
		t.Errorf("answers are %v", codes)
	}
	p.clock.now = p.clock.now.Add(7 * time.Second)
	if a, b := p.post("x", nil).Code, p.post("x", nil).Code; a != 422 || b != 429 {
		t.Errorf("seven seconds later they are %d %d", a, b)
	}
	p.clock.now = p.clock.now.Add(-time.Hour)
	if a := p.post("x", nil).Code; a != 422 {
		t.Errorf("with the clock set back: %d", a)
	}
}

// TestEndsByItself when the node does not want its page any more.
func TestEndsByItself(t *testing.T) {
	p := newPhone(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() { ended <- page.Serve(t.Context(), p.host(), l) }()
	answer, err := http.Get("http://" + l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if body, _ := io.ReadAll(answer.Body); !strings.Contains(string(body), "cabin-pi") {
		t.Errorf("%s", body)
	}
	answer.Body.Close()
	select {
	case err := <-ended:
		t.Fatalf("it ended while it was wanted: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	os.Remove(filepath.Join(p.root, "run/firstboot/page.nft"))
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Error("it does not end")
	}
}
