package firstboot_test

import (
	"strings"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot"
)

// answers are what Headscale 0.26.1, 0.27.1, 0.28.0 and 0.29.0 say to a node
// that registers (hscontrol: noise.go regErr, auth.go, state/state.go,
// db/preauth_keys.go, db/node.go), what comes of a proxy before it, and what
// tailscaled 1.102 makes of both.
var answers = []struct{ code, words string }{
	{"key-spent", "authkey already used"},
	{"key-spent", "handling register with auth key: creating new node: using pre auth key: authkey already used"},
	{"key-spent", "AuthKey has already been used"},
	{"key-expired", "authkey expired"},
	{"key-expired", "auth-key expired"},
	{"key-unknown", "invalid pre auth key"},
	{"key-unknown", "invalid authkey"},
	{"key-unknown", "handling register with auth key: AuthKey not found"},
	{"key-unknown", "handling register with auth key: auth-key not found"},
	{"key-unknown", "handling register with auth key: failed to parse auth-key: key too short, expected at least 77 chars after prefix, got 20"},
	{"key-unknown", "handling register with auth key: invalid auth key: crypto/bcrypt: hashedPassword is not the hash of the given password"},

	{"login-failed", "handling register with auth key: invalid auth key: crypto/bcrypt: hashedSecret too short to be a bcrypted password"},
	{"login-failed", "handling register with auth key: creating new node: failed to save node: database is locked (5) (SQLITE_BUSY)"},
	{"login-failed", "handling register with auth key: writing node to database: using pre auth key: failed to update key used status in the database: database is locked"},
	{"login-failed", "handling register with auth key: writing node to database: using pre auth key: updating key used status in database: context deadline exceeded"},
	{"login-failed", "handling register with auth key: failed to find user: user not found"},
	{"login-failed", "handling register with auth key: finding user: record not found"},
	{"login-failed", "handling register with auth key: node no longer exists in NodeStore: 7"},
	{"login-failed", "handling register with auth key: node not found in NodeStore: 7"},
	{"login-failed", "node not found"},
	{"login-failed", "looking up node in database: sql: database is closed"},
	{"login-failed", "node exist with different machine key"},
	{"login-failed", "node exists with a different machine key"},
	{"login-failed", "handling register with auth key: machine key maps to ambiguous node ownership"},
	{"login-failed", "requested tags [tag:site-a] are invalid or not permitted"},
	{"login-failed", "registration timed out"},
	{"login-failed", "registration expired"},
	{"login-failed", "extending key is not allowed"},
	{"login-failed", "handling register with auth key: creating new node: allocating IPs: could not find any suitable IP in 100.64.0.0/10"},
	{"login-failed", "failed to connect to `user=headscale`: dial error: dial tcp: context deadline exceeded: deadline expired"},
	{"login-failed", "tls: failed to verify certificate: x509: certificate has expired or is not yet valid"},
	{"login-failed", "register request: http 500: internal server error"},
	{"login-failed", "register request: http 502: <html><head><title>502 Bad Gateway</title></head><body>invalid pre auth key, authkey expired, not found</body></html>"},
	{"login-failed", "node registration rate limited; will retry after 30s"},
	{"login-failed", "IPN bus consumer fell behind; closing watch"},
}

// TestOnlyAKeyThatIsNoGoodNeedsAPerson: any other answer is one that waiting
// may mend. The node says so, keeps trying, and joins with the key it has.
func TestOnlyAKeyThatIsNoGoodNeedsAPerson(t *testing.T) {
	for _, a := range answers {
		w := crashWorld(t)
		w.refuse["hskey-auth-first"] = a.words
		tries := 0
		s, _ := w.boot(func(s firstboot.Status) bool {
			if s.NextTry == nil || s.Problem == nil {
				return needsPerson(s)
			}
			if s.Problem.Code != a.code || !strings.Contains(s.Problem.Remedy, "keeps trying") {
				return true
			}
			if tries++; tries == 30 {
				delete(w.refuse, "hskey-auth-first")
			}
			return false
		})
		if strings.HasPrefix(a.code, "key-") {
			if s.Problem == nil || s.Problem.Code != a.code || s.State != firstboot.NeedsPerson {
				t.Errorf("%q: %s", a.words, s.Line())
			}
			continue
		}
		if s.State != firstboot.Joined || tries < 30 {
			t.Errorf("%q: after %d tries: %s", a.words, tries, s.Line())
		}
	}
}

// TestTailscaledHangs: one that runs and answers nothing is told within a minute, and
// started anew, which takes k3s with it and so is not done again for ten minutes.
func TestTailscaledHangs(t *testing.T) {
	for name, c := range map[string]struct {
		hangs, restarts int
		lasts           time.Duration
	}{"once is enough": {1, 1, 30 * time.Minute}, "it hangs again": {3, 3, 30 * time.Minute}, "it hangs for ever": {100, 4, 35 * time.Minute}} {
		t.Run(name, func(t *testing.T) {
			o := watch(t, crashWorld(t))
			var did []time.Duration
			begins := 10*time.Minute + 7*time.Second
			o.fault = func(_ int, call string) fault {
				if since := o.now.Sub(o.begun) - begins; since > 0 && call == "restart tailscaled.service" {
					did = append(did, since)
				}
				return none
			}
			o.after(begins, func() { o.hangs = c.hangs })
			o.after(begins+time.Minute+45*time.Second, func() {
				if len(did) != 1 || did[0] > time.Minute+30*time.Second {
					t.Errorf("started anew after %v", did)
				}
				if c.hangs > 1 {
					o.sees("it hangs", "The tailnet program does not run: context deadline exceeded")
				}
			})
			o.run(begins + c.lasts)
			if len(did) != c.restarts {
				t.Errorf("started anew after %v", did)
			}
			for i := range did[1:] {
				if pause := did[i+1] - did[i]; pause < 10*time.Minute || pause > 12*time.Minute {
					t.Errorf("started anew after %v", did)
				}
			}
			if c.hangs == c.restarts {
				o.sees("mended", green)
			}
		})
	}
}

// TestTailscaledThatStarts is not started anew: it has not said yet that it works.
func TestTailscaledThatStarts(t *testing.T) {
	o := watch(t, crashWorld(t))
	o.after(10*time.Minute, func() { o.hangs, o.ready = 1, false }) // no unit says so
	o.run(15 * time.Minute)
	if o.hangs != 1 {
		t.Error("it was started anew")
	}
}
