package lab

import (
	"bytes"
	"crypto/rand"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/boards"
	"github.com/going-mobile/imagebuilder/image/board"
	"github.com/going-mobile/imagebuilder/image/fleet"
)

func loadBoard(name string) (*board.Board, error) { return board.Load(name, boards.FS) }

func example(t *testing.T, changes ...string) (*fleet.Fleet, *Plan) {
	t.Helper()
	text := []byte(strings.NewReplacer(changes...).Replace(string(fleet.Example)))
	f, err := fleet.Load("fleet.yaml", text, nil)
	if err != nil {
		t.Fatal(err)
	}
	p, err := MakePlan(f, loadBoard, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	return f, p
}

// rehearsed is a lab of machines that are off.
func rehearsed(t *testing.T, changes ...string) *Lab {
	t.Helper()
	_, p := example(t, changes...)
	dir, err := os.MkdirTemp("", "lab") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	text := []byte(strings.NewReplacer(changes...).Replace(string(fleet.Example)))
	copied, err := fleet.Rehearsal{Boards: p.Boards()}.Rehearse("fleet.yaml", text, filepath.Join(dir, "lab"), time.Now(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	l, err := New(Config{Plan: p, Fleet: copied, Patience: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// elsewhere removes the example's own Headscale.
var elsewhere = []string{"  vps: {", "  # {", "  cloud: {}", "", "    server: {", "    # {"}

// TestPlan: Headscale's machine is the first, then the server that creates the
// cluster; a Pi is stood for; what it takes is told.
func TestPlan(t *testing.T) {
	_, p := example(t)
	var order []string
	for _, m := range p.Machines {
		order = append(order, m.Node)
		if m.Memory != 1<<30 {
			t.Errorf("%s has %d bytes", m.Node, m.Memory)
		}
	}
	if want := []string{"vps", "home-pi", "cabin-pi", "home-box", "cabin-box"}; !slices.Equal(order, want) || p.Memory != 5<<30 || p.Processors != 10 || p.Together != (runtime.NumCPU() >= 10) {
		t.Errorf("%v, %+v", order, p)
	}
	if pi := p.Machines[1]; pi.Board != Generic() || pi.For != "rpi4" {
		t.Errorf("%+v", pi)
	}
	var b bytes.Buffer
	if err := p.Text(&b); err != nil {
		t.Fatal(err)
	}
	for _, w := range []string{"takes 5.4 GB of memory", "in place of rpi4", "with Headscale"} {
		if !strings.Contains(b.String(), w) {
			t.Errorf("no %q in\n%s", w, b.String())
		}
	}
	f, _ := example(t)
	if p, err := MakePlan(f, loadBoard, 0); err != nil || p.Memory != 10<<30 {
		t.Errorf("with the boards' own memory: %+v, %v", p, err)
	}
	if _, p := example(t, elsewhere...); p.Machines[0].Node != fleet.RehearsedControl || len(p.Machines) != 5 {
		t.Errorf("%+v", p.Machines)
	}
}

// TestNew: every site has its own network, Headscale's is the public one, and
// another process finds the lab.
func TestNew(t *testing.T) {
	l := rehearsed(t, "lan: [192.168.8.0/24]", "lan: [100.64.0.0/10]")
	lans := lans(l.Fleet)
	if len(lans) != 2 || lans["home"].String() != "192.168.1.0/24" || !lans["cabin"].Addr().IsPrivate() || lans["cabin"] == lans["home"] {
		t.Errorf("%v", lans)
	}
	r, err := Find(l.dir)
	if err != nil || len(r.SSH) != 5 || r.API == 0 || r.Fleet.Control() != "vps" {
		t.Fatalf("%+v, %v", r, err)
	}
	if fi, err := os.Stat(r.LoginKey); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", fi, err)
	}
	for _, row := range l.Rows() {
		if row.State != Off {
			t.Errorf("%+v", row)
		}
	}
	if _, err := Find(t.TempDir()); err == nil || !strings.Contains(err.Error(), "no lab runs in") {
		t.Error(err)
	}
}

// TestExpect: the votes that are left decide, and without Headscale's relay only
// those at one place count.
func TestExpect(t *testing.T) {
	l := rehearsed(t)
	for _, c := range []struct {
		away    []string
		goesOn  bool
		watcher string
		words   string
	}{
		{[]string{"cabin-pi", "cabin-box"}, true, "home-pi", "2 of 3 votes are left: the cluster goes on without cabin-pi and cabin-box"},
		{[]string{"home-pi"}, true, "cabin-pi", "2 of 3 votes are left: the cluster goes on without home-pi"},
		{[]string{"home-box"}, true, "home-pi", "3 of 3 votes are left"},
		{[]string{"home-pi", "cabin-pi"}, false, "", "1 of 3 votes are left: the cluster stops"},
		{[]string{"vps"}, false, "home-pi", "without vps no site reaches another, and 1 of 3 votes are together"},
	} {
		o := l.expect(c.away)
		if c.away[0] == "vps" && o.watcher == "cabin-pi" {
			o.watcher = "home-pi" // either
		}
		if o.goesOn != c.goesOn || o.watcher != c.watcher || !strings.Contains(o.words, c.words) {
			t.Errorf("%v: %+v", c.away, o)
		}
	}
	two := rehearsed(t, elsewhere...)
	if o := two.expect([]string{"cabin-pi"}); o.goesOn || !strings.Contains(o.words, "1 of 2 votes") {
		t.Errorf("two servers: %+v", o)
	}
}

func TestCanCut(t *testing.T) {
	l := rehearsed(t)
	for site, want := range map[string]string{"cabin": "", "cloud": "pull the plug of vps", "shed": "no site"} {
		if err := l.CanCut(site); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", site, err)
		}
	}
	if _, err := l.PullPlug(t.Context(), "cabin-po"); err == nil || !strings.Contains(err.Error(), `did you mean "cabin-pi"`) {
		t.Error(err)
	}
}

// TestRow reads what the serial line shows, the last word of it.
func TestRow(t *testing.T) {
	for _, c := range []struct{ serial, state, address, says string }{
		{"U-Boot\nLoading", Booting, "", ""},
		{"firstboot: working node=a site=s role=server step=clock\n[  9.1] x\n", "working", "", "clock"},
		{"firstboot: working node=a site=s role=server step=k3s tailnet=100.64.0.2 problem=waiting-server: No server answers | Wait.\n", "working", "100.64.0.2", "waiting-server: No server answers"},
		{"firstboot: working node=a site=s role=server step=clock\nfirstboot: joined node=a site=s role=server step=longhorn tailnet=100.64.0.2\n[ 99.9] audit\n", Joined, "100.64.0.2", ""},
	} {
		r := Row{}
		if r.read(c.serial); r.State != c.state || r.Address != c.address || r.Says != c.says {
			t.Errorf("%q: %+v", c.serial, r)
		}
	}
}
