//go:build vm && linux

package vmtest

import (
	"context"
	"math/rand/v2"
	"os"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot"
)

// keySpent is the moment when Headscale has spent the key and the node may not have stored yet what
// it got for it.
const keySpent = "the key is spent"

// moments are what the serial line shows on the way; the plug is pulled some
// seconds after one of them.
var moments = []string{
	keySpent,
	"init: looking for the disk", "init: formatting", "init: starting the system",
	"firstboot: working", "step=tailnet", "step=k3s", "step=verify", "step=seal",
}

// ended matches how a node says that it does nothing more by itself.
var ended = regexp.MustCompile("firstboot: (joined|needs-person)")

// TestPowerCut cuts the power again and again during the first boot. Every node ends joined; if the
// server had spent its key, it asks for a new one and joins with that.
func TestPowerCut(t *testing.T) {
	n := 3
	if v := os.Getenv("POWERCUTS"); v != "" {
		var err error
		if n, err = strconv.Atoi(v); err != nil {
			t.Fatalf("POWERCUTS: %v", err)
		}
	}
	seed := uint64(time.Now().UnixNano())
	if v := os.Getenv("POWERCUT_SEED"); v != "" {
		seed, _ = strconv.ParseUint(v, 10, 64)
	}
	t.Logf("POWERCUT_SEED=%d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	tn, img := newTailnet(t), image(t, "generic-amd64")
	for cuts, node := 0, 1; cuts < n; node++ {
		name := "node-" + strconv.Itoa(node)
		cuts += tn.tortured(t, name, img, rnd, n-cuts)
	}
}

// untilSpent waits until the server has spent the node's key, or the node says
// that it is done.
func (n *tailnet) untilSpent(m *machine) {
	n.t.Helper()
	m.bounded(func(ctx context.Context) error {
		for n.unused() > 0 && !ended.MatchString(m.Serial()) {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(20 * time.Millisecond):
			}
		}
		return nil
	})
}

// tortured cuts the power of one node up to most times, and returns how often it did.
func (n *tailnet) tortured(t *testing.T, name, img string, rnd *rand.Rand, most int) (cuts int) {
	m := newMachine(t, "generic-amd64", img)
	defer func() { // its disk is not needed while the next one works
		if !t.Failed() {
			m.scrap()
		}
	}()
	key := n.first(name)
	m.personalise(key)
	secrets := []string{key.Headscale.AuthKey.Reveal()}
	for cuts < most && (cuts == 0 || rnd.IntN(3) > 0) {
		moment, later := moments[rnd.IntN(len(moments))], time.Duration(rnd.IntN(6000))*time.Millisecond
		m.powerOn()
		if moment == keySpent {
			later /= 20
			n.untilSpent(m)
		} else {
			m.see(moment + "|" + ended.String())
		}
		time.Sleep(later)
		m.Kill()
		cuts++
		t.Logf("%s: cut %v after %q", name, later, moment)
	}
	for asked := false; ; asked = true {
		m.powerOn()
		m.see("firstboot: .* node=")
		s := m.until("joined or in need of a person", func(s firstboot.Status) bool { return s.State == firstboot.Joined || s.State == firstboot.NeedsPerson })
		if s.State == firstboot.Joined {
			break
		}
		if s.Problem == nil || s.Problem.Code != "key-spent" || asked {
			t.Fatalf("%s: %s", name, s.Line())
		}
		t.Logf("%s asks for a new key", name)
		m.powerOff()
		key = n.first(name)
		m.personalise(key)
		secrets = append(secrets, key.Headscale.AuthKey.Reveal())
	}
	if m.sh("systemctl is-active k3s") != "active" || m.sh("hostname") != name {
		t.Errorf("%s is not what it should be", name)
	}
	ctx, cancel := context.WithTimeout(t.Context(), stepLimit)
	defer cancel()
	if err := m.PowerOff(ctx); err != nil {
		t.Fatal(err)
	}
	for _, s := range secrets {
		m.diskHides(s)
	}
	if _, ok := n.nodes()[name]; !ok {
		t.Errorf("%s is not in the tailnet", name)
	}
	return cuts
}
