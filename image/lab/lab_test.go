package lab

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/boards"
	"github.com/going-mobile/imagebuilder/image/fleet"
)

func example(t *testing.T, changes ...string) (*fleet.Fleet, *Plan) {
	t.Helper()
	text := []byte(strings.NewReplacer(changes...).Replace(string(fleet.Example)))
	f, err := fleet.Load("fleet.yaml", text, boards.FS)
	if err != nil {
		t.Fatal(err)
	}
	p, err := MakePlan(f, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	return f, p
}

// rehearsed is a lab whose machines are switched off.
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

// TestPlan: Headscale's machine comes first, then the server that creates the cluster. A Pi
// is replaced by a virtual machine. The plan shows the resources that it needs.
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
	if p, err := MakePlan(f, 0); err != nil || p.Memory != 10<<30 {
		t.Errorf("with the boards' own memory: %+v, %v", p, err)
	}
	if _, p := example(t, elsewhere...); p.Machines[0].Node != fleet.RehearsedControl || len(p.Machines) != 5 {
		t.Errorf("%+v", p.Machines)
	}
}

// TestNew: every site has its own network, and another process finds the lab as
// soon as something is switched on.
func TestNew(t *testing.T) {
	l := rehearsed(t, "lan: [192.168.8.0/24]", "lan: [100.64.0.0/10]")
	lans := lans(l.Fleet)
	if len(lans) != 3 || lans["home"].String() != "192.168.1.0/24" || !lans["cabin"].Addr().IsPrivate() || lans["cabin"] == lans["home"] {
		t.Errorf("%v", lans)
	}
	if err := Claim(l.dir); err != nil || !Claimed(l.dir) || Claimed(t.TempDir()) {
		t.Error(err)
	}
	if _, err := Find(l.dir); err == nil || !strings.Contains(err.Error(), "nothing on yet") {
		t.Error(err)
	}
	for range 2 { // a machine that is switched on again keeps its ports
		for _, m := range l.machines {
			was := m.config.SSHPort
			if err := l.openWays(m); err != nil || was != 0 && m.config.SSHPort != was || len(m.config.Forward) != 0 != m.Control {
				t.Errorf("%+v, %v", m.config, err)
			}
		}
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

// majority is the example with two of three servers at home, and Headscale
// elsewhere.
var majority = append(slices.Clone(elsewhere), "home-box: {board: optiplex-7050, site: home, role: agent}", "home-box: {board: optiplex-7050, site: home, role: server}")

// TestExpect: the votes that are connected decide. A site that is cut off keeps running, and
// without Headscale's relay so does every site.
func TestExpect(t *testing.T) {
	three, two, most := rehearsed(t), rehearsed(t, elsewhere...), rehearsed(t, majority...)
	for _, c := range []struct {
		lab     *Lab
		dead    []string
		cut     string
		goesOn  bool
		watcher string
		gone    []string
		words   string
	}{
		{three, nil, "cabin", true, "home-pi", []string{"cabin-pi", "cabin-box"}, "2 of 3 votes are left: the cluster goes on without cabin-pi and cabin-box"},
		{three, []string{"home-pi"}, "", true, "cabin-pi", []string{"home-pi"}, "2 of 3 votes are left: the cluster goes on without home-pi"},
		{three, []string{"home-box"}, "", true, "home-pi", []string{"home-box"}, "3 of 3 votes are left"},
		{three, []string{"home-pi", "cabin-pi"}, "", false, "", nil, "1 of 3 votes are left: the cluster stops until home-pi and cabin-pi is back"},
		{three, []string{"vps"}, "", false, "cabin-pi", nil, "without vps no site reaches another, and 1 of 3 votes are together: the cluster stops"},
		{two, []string{"cabin-pi"}, "", false, "home-pi", nil, "1 of 2 votes are left: the cluster stops until cabin-pi is back"},
		{two, nil, "cabin", false, "home-pi", nil, "1 of 2 votes are left: the cluster stops until cabin is back"},
		{most, nil, "home", true, "home-pi", []string{"cabin-pi", "cabin-box"}, "2 of 3 votes are at home: the cluster goes on there, without lab-headscale and cabin-pi and cabin-box"},
		{most, nil, "cabin", true, "home-pi", []string{"cabin-pi", "cabin-box"}, "2 of 3 votes are left: the cluster goes on without cabin-pi and cabin-box"},
		{most, []string{"lab-headscale"}, "", true, "home-pi", []string{"cabin-pi", "cabin-box"}, "2 of 3 votes are at home: the cluster goes on there"},
	} {
		o := c.lab.expect(c.dead, c.cut)
		if o.goesOn != c.goesOn || o.watcher != c.watcher || !strings.Contains(o.words, c.words) || c.goesOn && !slices.Equal(o.gone, c.gone) {
			t.Errorf("%v dead, %q cut off: %+v", c.dead, c.cut, o)
		}
	}
}

// TestExpectWitnesses: a majority of votes without a server has no API.
func TestExpectWitnesses(t *testing.T) {
	l := rehearsed(t, "home-box: {board: optiplex-7050, site: home, role: agent}", "home-box: {board: optiplex-7050, site: home, role: witness}",
		"cabin-pi: {board: rpi4, site: cabin, role: server}", "cabin-pi: {board: rpi4, site: cabin, role: agent}")
	o := l.expect([]string{"home-pi"}, "")
	if o.goesOn || o.watcher != "" || !strings.Contains(o.words, "2 of 3 votes are left, and no server is among them") {
		t.Errorf("%+v", o)
	}
}

// TestVerdict: the outlook must be met for a minute; an answer that says nothing about the
// cluster decides nothing.
func TestVerdict(t *testing.T) {
	goesOn := outlook{goesOn: true, watcher: "a", gone: []string{"b"}}
	alone := outlook{goesOn: true, watcher: "a"}
	stops := outlook{watcher: "a", gone: []string{"b"}}
	with, without := sight{ready: []string{"a", "b"}}, sight{ready: []string{"a"}}
	silent, dead := sight{silent: true}, sight{unclear: "cannot be asked"}
	for name, c := range map[string]struct {
		outlook outlook
		sights  []sight // one each half minute
		settled bool
	}{
		"it stops":                     {stops, []sight{with, silent, silent, silent}, true},
		"silence of a moment":          {stops, []sight{silent, silent, without, silent}, false},
		"it did not stop":              {stops, []sight{without, without, without, without}, false},
		"nobody can be asked":          {stops, []sight{dead, dead, dead, dead}, false},
		"who could not be asked":       {stops, []sight{silent, dead, silent, silent}, false},
		"it goes on":                   {goesOn, []sight{with, without, without, without}, true},
		"nobody is missed":             {goesOn, []sight{with, with, with, with}, false},
		"it goes on, but not for long": {goesOn, []sight{without, without, silent, silent}, false},
		"with nobody gone":             {alone, []sight{with, with, with}, true},
		"with nobody gone, at once":    {alone, []sight{with, with}, false},
	} {
		v, now, settled := verdict{outlook: c.outlook}, time.Now(), false
		for i, s := range c.sights {
			settled = v.hear(s, now.Add(time.Duration(i)*steady/2))
		}
		if settled != c.settled || v.seen == "" {
			t.Errorf("%s: settled %v, seen %q", name, settled, v.seen)
		}
	}
}

// answers is a machine that answers the commands in the map.
type answers map[string]string

func (a answers) Run(_ context.Context, command string) (string, error) {
	for known, text := range a {
		if strings.Contains(command, known) {
			return text, nil
		}
	}
	return "", errors.New("no answer")
}

func TestAsk(t *testing.T) {
	nodes := `{"items": [{"metadata": {"name": "b"}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}},
		{"metadata": {"name": "c\u009b2J"}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}, {"metadata": {"name": "c"}, "status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}},
		{"metadata": {"name": "a"}, "status": {"conditions": [{"type": "DiskPressure", "status": "False"}, {"type": "Ready", "status": "True"}]}}]}`
	for name, c := range map[string]struct {
		machine answers
		want    sight
	}{
		"answers": {answers{"get nodes": nodes}, sight{ready: []string{"a", "b", "c 2J"}}},
		"silent":  {answers{"true": ""}, sight{silent: true}},
		"dead":    {answers{}, sight{unclear: "cannot be asked"}},
		"rubbish": {answers{"get nodes": "<html>", "true": ""}, sight{unclear: "answers with something else than its nodes"}},
	} {
		if got := ask(t.Context(), c.machine); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestCanCut(t *testing.T) {
	l := rehearsed(t)
	theirs, _ := example(t, elsewhere...)
	if err := CanCut(theirs, "home"); err != nil {
		t.Error(err)
	}
	for site, want := range map[string]string{"cabin": "", "cloud": "pull the plug of vps", "shed": "no site"} {
		if err := CanCut(l.Fleet, site); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", site, err)
		}
	}
	if _, err := l.PullPlug(t.Context(), "cabin-po"); err == nil || !strings.Contains(err.Error(), `did you mean "cabin-pi"`) {
		t.Error(err)
	}
}

// TestRow reads the last status line on the serial line.
func TestRow(t *testing.T) {
	for _, c := range []struct{ serial, state, address, says string }{
		{"U-Boot\nLoading", Booting, "", ""},
		{"firstboot: working node=a site=s role=server step=clock\n[  9.1] x\n", "working", "", "clock"},
		{"firstboot: working node=a site=s role=server step=clock\r\nfirstboot: joined node=a site=s role=server tailnet=100.64.0.2", "working", "", "clock"},
		{"firstboot: joined node=a tailnet=100.64.0.2\x1b7\n", Joined, "100.64.0.2 7", ""},
		{"firstboot: waiting problem=x: There\tis\u009b2J none\x07\x1b | Wait.\n", "waiting", "", "x: There is 2J none"},
		{"firstboot: working step=k3s\x1b7\n", "working", "", "k3s 7"},
		{"firstboot: needs-person problem=no-config: There is none | Write it.\r\n", NeedsPerson, "", "no-config: There is none"},
		{"firstboot: working node=a site=s role=server step=k3s tailnet=100.64.0.2 problem=waiting-server: No server answers | Wait.\n", "working", "100.64.0.2", "waiting-server: No server answers"},
		{"firstboot: working node=a site=s role=server step=clock\nfirstboot: joined node=a site=s role=server step=longhorn tailnet=100.64.0.2\n[ 99.9] audit\n", Joined, "100.64.0.2", ""},
	} {
		r := Row{}
		if r.read(c.serial); r.State != c.state || r.Address != c.address || r.Says != c.says {
			t.Errorf("%q: %+v", c.serial, r)
		}
	}
}
