package firstboot_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/firstboot"
)

// listed is a Node as k3s writes it.
func listed(name string, args ...string) string {
	return fmt.Sprintf(`{"metadata":{"name":%q,"annotations":{"k3s.io/node-args":%q}}}`, name, `["`+strings.Join(args, `","`)+`"]`)
}

// TestUnlikeServersAreTold: a running server looks at what the others run with
// and says so on the screen, but stays what it is.
func TestUnlikeServersAreTold(t *testing.T) {
	own := listed("home-pi", "server", "--node-name", "home-pi", "--etcd-arg", "heartbeat-interval=500", "--etcd-arg", "election-timeout=5000")
	for name, c := range map[string]struct {
		nodes []string
		want  string
	}{
		"alike":                 {[]string{own, listed("cabin-pi", "server", "--node-name", "cabin-pi", "--cluster-cidr", "10.42.0.0/16")}, ""},
		"slower etcd":           {[]string{own, listed("cabin-pi", "server", "--etcd-arg", "election-timeout=1000")}, "Server cabin-pi runs with other settings than this one: etcd-arg election-timeout is 1000 there and 5000 here."},
		"a witness":             {[]string{own, listed("vps", "server", "--disable-apiserver", "true", "--etcd-arg", "heartbeat-interval=100")}, "Server vps runs with other settings than this one: etcd-arg heartbeat-interval is 100 there and 500 here."},
		"two settings":          {[]string{own, listed("cabin-pi", "server", "--flannel-backend", "host-gw", "--secrets-encryption", "true")}, "flannel-backend is host-gw there and vxlan here, secrets-encryption is true there and false here."},
		"an agent":              {[]string{own, listed("cabin-box", "agent", "--etcd-arg", "election-timeout=1000")}, ""},
		"not by k3s":            {[]string{own, `{"metadata":{"name":"strange"}}`}, ""},
		"this one not yet":      {[]string{`{"metadata":{"name":"home-pi"}}`, listed("cabin-pi", "server", "--etcd-arg", "election-timeout=1000")}, ""},
		"nobody but this one":   {[]string{own}, ""},
		"no list, but rubbish,": {nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := crashWorld(t)
			w.boot(nil)
			w.nodes = `{"items":[` + strings.Join(c.nodes, ",") + `]}`
			w.reboot()
			s, _ := w.boot(nil)
			told := ""
			if s.Notice != nil {
				told = s.Notice.Code + " " + s.Notice.Summary
			}
			if s.State != firstboot.Joined || (c.want == "") != (told == "") || !strings.Contains(told, c.want) {
				t.Errorf("%s; %q, want %q", s.Line(), told, c.want)
			}
		})
	}
}

// TestWitness: it is asked for its etcd, as it has no API; while it waits, it
// says for what.
func TestWitness(t *testing.T) {
	witness := strings.NewReplacer("role: agent", "role: witness", "bootstrapToken", "token").Replace(agentYAML)
	w := newWorld(t, witness)
	w.peers, w.alive[cabin] = peer, true
	w.etcd, w.apart = errors.New("503 Service Unavailable: non_learner failed: etcdserver: is learner"), true
	s, _ := w.boot(anyProblem)
	if s.Problem == nil || s.Problem.Person || !strings.Contains(s.Problem.Summary, "its etcd does not vote yet: 503 Service Unavailable: non_learner failed") {
		t.Fatal(s.Line())
	}
	w.etcd = nil
	w.reboot()
	s, _ = w.boot(anyProblem)
	if s.Problem == nil || s.Problem.Person || !strings.Contains(s.Problem.Summary, "no server has answered it yet") {
		t.Fatal(s.Line())
	}
	w.apart = false
	w.reboot()
	if s, _ = w.boot(nil); s.State != firstboot.Joined {
		t.Fatal(s.Line())
	}
	for _, call := range w.names {
		if strings.HasPrefix(call, "api /readyz") {
			t.Error("a witness was asked for an API")
		}
	}
	w.etcd = errors.New("no answer within 10s")
	w.reboot()
	if s, _ = w.boot(anyProblem); s.Problem == nil || !strings.Contains(s.Problem.Summary, "its etcd does not vote yet") {
		t.Errorf("a member whose etcd is gone: %s", s.Line())
	}
}
