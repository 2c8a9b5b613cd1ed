package firstboot_test

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot"
	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/crashtest"
	"github.com/going-mobile/imagebuilder/firstboot/disks"
	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/firstboot/vault"
)

// world is a node and what is around it, in memory. Every call of firstboot
// to it is counted and can be made to fail.
type world struct {
	t     testing.TB
	files map[string]*entry
	now   time.Time

	calls   int
	names   []string // of the calls, for messages
	endless bool     // many calls are no endless loop
	fault   func(n int, name string) fault

	// the machine
	hostname   string
	synced     bool
	units      map[string]bool
	ranWith    string // config.yaml k3s was started with
	space      int64
	used       int64 // of it
	links      []firstboot.Link
	journal    string
	ready      bool          // k3s comes up
	mute       bool          // and gives no answer
	apart      bool          // and has heard of no API
	etcd       error         // of a witness
	nodes      string        // the cluster's list of them
	late       time.Duration // or one after this time
	unready    string        // why the cluster does not call the node ready
	starts     int           // of k3s
	forgotten  int           // how often systemd was told to count them anew
	trial      *contract.Trial
	trialFault error
	leaves     bool              // for the other slot, at the next start
	keeps      string            // where its trial is told to keep the store
	login      bool              // ssh answers
	worn       error             // what reading the slot says
	failed     []string          // units
	all        string            // the cluster's nodes
	patched    map[string]string // those of them that were written to, by path
	reachable  map[netip.Addr]bool
	nft        string            // the firewall in the kernel, "" for none
	nftFault   func(string) bool // rules that the kernel refuses

	out *out // nil: nobody asks for the router

	// encryption
	policies map[string]string            // directories and their keys
	keys     map[string]bool              // that the kernel has
	stores   bool                         // the attic waits for them
	plain    error                        // why there is none
	holders  map[netip.Addr]*vault.Record // nil ones are away
	place    netip.Addr                   // where they see this node
	member   string                       // as whom
	chip     string                       // the TPM and its PCR 7, "" for none
	chipErr  error                        // what it says instead of an answer

	// its disks
	held     bool
	volumes  bool  // Longhorn's disk is mounted
	attach   error // what Attach says
	wants    []disks.Want
	data     *firstboot.Mount
	volume   firstboot.Mount
	metadata string // of the cluster's node
	applied  map[string]string
	rejects  error             // what the API answers to an object
	longhorn map[string]string // its objects by what follows their common path, and claims and volumes by all of it

	// the tailnet
	listing   string // what Headscale, on this node, lists
	listFault error
	running   bool
	haveKey   bool
	hangs     int // so many times must tailscaled be started anew until it answers
	givenName string
	tags      []string
	owner     int64
	peers     []firstboot.Peer
	spent     map[string]bool
	refuse    map[string]string // key → Headscale's words

	// the network
	resolve  error
	leads    []netip.Addr // where every name does
	control  error
	alive    map[netip.Addr]bool
	silent   map[netip.Addr]bool
	served   map[string][]byte
	fetchErr error
	clusters int
	joins    int
}

// fault and its kinds, by short names.
type fault = crashtest.Fault

const (
	none   = crashtest.None
	before = crashtest.Before
	after  = crashtest.After
	cut    = crashtest.Cut
	cutEnd = crashtest.CutEnd
)

type entry struct {
	data    []byte
	mode    fs.FileMode
	link    string
	uid     int
	gid     int
	changed time.Time
}

// snapshot is all that lies there, as values.
func (w *world) snapshot() map[string]string {
	all := map[string]string{}
	for name, e := range w.files {
		all[name] = fmt.Sprintf("%+v", *e)
	}
	return all
}

// do runs the effect of one call, or what the fault leaves of it.
func (w *world) do(name string, effect func() error) error {
	return w.torn(name, effect, func() {})
}

func (w *world) torn(name string, effect func() error, half func()) error {
	w.calls++
	if !w.endless {
		w.names = append(w.names, name)
	}
	if w.calls > 200000 && !w.endless {
		panic(fmt.Sprint("firstboot never ends: ", w.names[len(w.names)-30:]))
	}
	f := none
	if w.fault != nil {
		f = w.fault(w.calls, name)
	}
	return f.Do(name, effect, half)
}

func newWorld(t testing.TB, yaml string) *world {
	w := &world{
		t: t, files: map[string]*entry{}, now: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC),
		hostname: "localhost", synced: true, nft: "hook prerouting", units: map[string]bool{"tailscaled.service": true, "systemd-networkd.service": true},
		space: 20 << 30, tags: []string{"tag:site-home"}, ready: true, spent: map[string]bool{}, refuse: map[string]string{},
		links: []firstboot.Link{{Name: "eth0", Carrier: true, Addresses: []netip.Addr{netip.MustParseAddr("192.168.1.20")}}},
		alive: map[netip.Addr]bool{}, silent: map[netip.Addr]bool{}, served: map[string][]byte{},
	}
	w.put("/usr/lib/os-release", "ID=debian\nIMAGE_ID=imagebuilder-rpi4\nIMAGE_VERSION=one\n")
	w.put("/usr/lib/clock-epoch", "")
	w.files["/usr/lib/clock-epoch"].changed = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	w.put("/usr/lib/imagebuilder/firewall.nft", "hook prerouting\n")
	w.put("/proc/meminfo", "MemTotal:        3884392 kB\nMemFree:          100000 kB\n")
	w.put("/boot/firmware/imagebuilder.json", "{}")
	w.put("/proc/sys/kernel/random/boot_id", "boot-1\n")
	w.put("/proc/uptime", "30.05 25.00\n")
	w.put("/etc/machine-id", "")
	w.put("/etc/iscsi/initiatorname.iscsi", "# comment\nGenerateName=yes\n")
	w.put("/usr/share/zoneinfo/Etc/UTC", "TZif")
	w.put("/usr/share/zoneinfo/Europe/Lisbon", "TZif")
	w.personalise(yaml)
	return w
}

func (w *world) put(name, content string) {
	w.now = w.now.Add(time.Second)
	w.files[name] = &entry{data: []byte(content), mode: 0o644, changed: w.now}
}

// personalise writes node.yaml as it lies on an image.
func (w *world) personalise(yaml string) {
	padded, err := node.PadTo([]byte(yaml), node.ReservedSize)
	if err != nil {
		padded = []byte(yaml)
	}
	w.put("/boot/firmware/node.yaml", string(padded))
}

// text is a file's content, "" where there is none.
func (w *world) text(name string) string {
	if e, err := (memFiles{w}).find(name); err == nil {
		return string(e.data)
	}
	return ""
}

func (w *world) bootYAML() string { return string(w.files["/boot/firmware/node.yaml"].data) }

// reboot loses what a power cut loses. systemd starts what it would start.
func (w *world) reboot() {
	for name := range w.files {
		if strings.HasPrefix(name, "/run/") {
			delete(w.files, name)
		}
	}
	w.running, w.keys = w.haveKey, nil
	w.units = map[string]bool{"tailscaled.service": true, "systemd-networkd.service": true}
	w.volumes = false
	w.hostname = "localhost"
	if e := w.files["/etc/hostname"]; e != nil {
		w.hostname = strings.TrimSpace(string(e.data))
	}
	w.ranWith = ""
	if w.files["/etc/systemd/system/tailscaled.service.d/20-imagebuilder-k3s.conf"] != nil && w.text("/etc/rancher/k3s/config.yaml") != "" {
		w.startK3s()
	}
}

func (w *world) startK3s() {
	w.units["k3s.service"] = true
	w.starts++
	w.files["/run/systemd/units/invocation:k3s.service"] = &entry{link: fmt.Sprint(w.starts)}
	files := memFiles{w}
	e, err := files.find("/etc/rancher/k3s/config.yaml")
	if _, noToken := files.find("/etc/rancher/k3s/token"); err != nil || noToken != nil {
		return
	}
	w.ranWith = string(e.data)
	if w.files["/var/lib/rancher/k3s/server/db"] == nil && w.files["/var/lib/rancher/k3s/agent/joined"] == nil {
		switch {
		case strings.Contains(w.ranWith, "cluster-init: true"):
			w.clusters++
			w.put("/var/lib/rancher/k3s/server/db", "etcd")
		case strings.Contains(w.ranWith, "server: https://"):
			w.joins++
		}
	}
	w.put("/var/lib/rancher/k3s/agent/joined", "")
	if !w.apart {
		w.put("/var/lib/rancher/k3s/agent/kubelet.kubeconfig", "")
	}
	w.put("/var/lib/rancher/k3s/agent", "")
}

func (w *world) host() firstboot.Host {
	return firstboot.Host{
		Files: memFiles{w}, System: sysWorld{w}, Units: unitWorld{w}, Tailnet: tailWorld{w},
		Net: netWorld{w}, Clock: clockWorld{w}, Programs: progWorld{w}, Slot: slotWorld{w}, Disks: diskWorld{w},
		Crypt: cryptWorld{w}, TPM: chipWorld{w}, Shares: shareWorld{w},
		Random: randWorld{w, rand.NewChaCha8([32]byte{1})},
	}
}

// boot switches the node on and returns the status it ends with: joined, or
// the first that needs a person, or what stop accepts.
func (w *world) boot(stop func(firstboot.Status) bool) (last firstboot.Status, cutAt string) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	defer func() {
		switch p := recover().(type) {
		case nil:
		case crashtest.PowerCut:
			cutAt = p.At
		default:
			panic(p)
		}
	}()
	err := firstboot.Run(ctx, w.host(), firstboot.Options{}, func(s firstboot.Status) {
		if ctx.Err() != nil {
			return
		}
		last = s
		if s.State == firstboot.Joined || stop != nil && stop(s) {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) {
		w.t.Errorf("Run returned %v", err)
	}
	return last, ""
}

func needsPerson(s firstboot.Status) bool { return s.State == firstboot.NeedsPerson }
func anyProblem(s firstboot.Status) bool  { return s.Problem != nil }

// tree is all that stays, one line a file.
func (w *world) tree() map[string]string {
	out := map[string]string{}
	for name, e := range w.files {
		if strings.HasPrefix(name, "/run/") {
			continue
		}
		out[name] = fmt.Sprintf("%v %d %s %x", e.mode, e.uid, e.link, sha256.Sum256(e.data))
	}
	return out
}

type sysWorld struct{ *world }

func (w sysWorld) Hostname() (string, error) {
	return w.hostname, w.do("hostname", func() error { return nil })
}

func (w sysWorld) SetHostname(s string) error {
	return w.do("sethostname", func() error { w.hostname = s; return nil })
}

type unitWorld struct{ *world }

func (w unitWorld) Active(_ context.Context, u string) (up bool, err error) {
	err = w.do("active "+u, func() error { up = w.units[u]; return nil })
	return up, err
}

func (w unitWorld) Ready(_ context.Context, u string) (up bool, err error) {
	err = w.do("ready "+u, func() error { up = w.units[u] && w.ready; return nil })
	return up, err
}

func (w unitWorld) Failed(context.Context) (names []string, err error) {
	err = w.do("failed units", func() error { names = w.failed; return nil })
	return names, err
}

func (w unitWorld) Start(_ context.Context, u string) error {
	return w.do("start "+u, func() error {
		if u == "k3s.service" && !w.units[u] {
			w.startK3s()
		}
		w.units[u] = true
		return nil
	})
}

func (w unitWorld) Restart(_ context.Context, u string) error {
	return w.do("restart "+u, func() error {
		switch {
		case u == "k3s.service":
			w.startK3s()
		case u == "tailscaled.service" && w.hangs > 0:
			w.hangs--
		}
		w.units[u] = true
		return nil
	})
}

func (w unitWorld) Reload(context.Context) error { return w.do("reload", func() error { return nil }) }

func (w unitWorld) Log(context.Context, string, int) (string, error) {
	return w.journal, w.do("log", func() error { return nil })
}

type tailWorld struct{ *world }

var ownIP = netip.MustParseAddr("100.64.0.7")

func (w tailWorld) Status(ctx context.Context) (st firstboot.TailnetStatus, err error) {
	err = w.do("tailnet status", func() error {
		if w.hangs > 0 { // host.Tailnet gives it ten seconds
			limit := 10 * time.Second
			if end, ok := ctx.Deadline(); ok {
				limit = min(limit, time.Until(end).Round(time.Second))
			}
			w.now = w.now.Add(limit)
			return context.DeadlineExceeded
		}
		st = firstboot.TailnetStatus{State: "NeedsLogin", HaveKey: w.haveKey, Tags: w.tags, Owner: w.owner, Peers: w.peers}
		if w.running {
			st.State, st.IPs, st.Name = "Running", []netip.Addr{ownIP}, w.givenName
		} else if w.haveKey {
			st.State = "Starting"
		}
		return nil
	})
	return st, err
}

func (w tailWorld) Up(_ context.Context, j firstboot.Join) error {
	key := j.Key.Reveal()
	return w.torn("tailnet up", func() error {
		switch {
		case w.control != nil:
			return context.DeadlineExceeded
		case key == "" && !w.haveKey:
			return &firstboot.RefusedError{Message: "no key"}
		case key != "" && w.refuse[key] != "":
			return &firstboot.RefusedError{Message: w.refuse[key]}
		case key != "" && w.spent[key] && !w.haveKey:
			return &firstboot.RefusedError{Message: "authkey already used"}
		}
		if key != "" {
			w.spent[key] = true
		}
		w.haveKey, w.running = true, true
		if w.givenName == "" {
			w.givenName = j.Hostname
		}
		return nil
	}, func() { w.spent[key] = true }) // the trap: the server has committed, the node has not
}

func (w tailWorld) Forget(context.Context) error {
	return w.do("tailnet forget", func() error { return nil })
}

type netWorld struct{ *world }

func (w netWorld) Links(context.Context) ([]firstboot.Link, error) {
	return w.links, w.do("links", func() error { return nil })
}

func (w netWorld) Resolve(context.Context, string) ([]netip.Addr, error) {
	return w.leads, w.do("resolve", func() error { return w.resolve })
}

func (w netWorld) Control(ctx context.Context, _, _ string) error {
	return w.do("control", func() error {
		if end, ok := ctx.Deadline(); errors.Is(w.control, firstboot.ErrPortal) && ok && time.Until(end) < 20*time.Second {
			return context.DeadlineExceeded // a network that drops TLS leaves no time to find the login page
		}
		return w.control
	})
}

func (w netWorld) Supervisor(_ context.Context, at netip.AddrPort) (alive bool, err error) {
	err = w.do("supervisor", func() error {
		if w.silent[at.Addr()] {
			return errors.New("i/o timeout")
		}
		alive = w.alive[at.Addr()]
		return nil
	})
	return alive, err
}

func (w netWorld) API(_ context.Context, _, path string) (out []byte, err error) {
	err = w.do("api "+path, func() error {
		switch {
		case !w.units["k3s.service"] || !w.ready || w.ranWith != w.text("/etc/rancher/k3s/config.yaml"):
			return errors.New("connection refused")
		case w.mute:
			w.now = w.now.Add(10 * time.Second)
			return errors.New("no answer within 10s")
		}
		w.now = w.now.Add(w.late)
		if strings.HasPrefix(path, "/api/v1/nodes?") {
			out = []byte(w.nodes)
			return nil
		}
		if path == "/api/v1/nodes" {
			out = []byte(w.all)
			return nil
		}
		if path == volumesPath {
			out = []byte(cmp.Or(w.longhorn[path], `{"items":[]}`))
			return nil
		}
		if object, ok := strings.CutPrefix(path, contract.LonghornAPI); ok || strings.Contains(path, "/persistentvolumeclaims/") {
			text, there := w.longhorn[object]
			if !there {
				return firstboot.ErrNoObject
			}
			out = []byte(text)
			return nil
		}
		if strings.Contains(path, "/secrets/") {
			if w.applied[path] == "" {
				return firstboot.ErrNoObject
			}
			out = []byte(w.applied[path])
			return nil
		}
		status := map[bool]string{true: "True", false: "False"}[w.unready == ""]
		out = fmt.Appendf(nil, `{%s"status":{"conditions":[{"type":"Ready","status":%q,"message":%q}]}}`, w.metadata, status, w.unready)
		return nil
	})
	return out, err
}

// ownObject is where the API has the node itself; others' are only written to.
const ownObject = "/api/v1/nodes/home-pi"

func (w netWorld) Patch(_ context.Context, _, path string, merge []byte) error {
	return w.do("patch "+path, func() error {
		if path != ownObject {
			if w.patched == nil {
				w.patched = map[string]string{}
			}
			w.patched[path] = string(merge)
			return nil
		}
		var had, more map[string]any
		if err := errors.Join(json.Unmarshal([]byte("{"+strings.TrimSuffix(w.metadata, ",")+"}"), &had), json.Unmarshal(merge, &more)); err != nil {
			return err
		}
		text, err := json.Marshal(merged(had, more))
		w.metadata = string(text[1:len(text)-1]) + ","
		return err
	})
}

// merged is RFC 7386's, of objects.
func merged(had, more map[string]any) map[string]any {
	for key, value := range more {
		inner, ok := value.(map[string]any)
		if before, was := had[key].(map[string]any); ok && was {
			value = merged(before, inner)
		}
		had[key] = value
	}
	return had
}

func (w netWorld) Reach(ctx context.Context, at netip.AddrPort) error {
	return w.do("reach", func() error {
		if end, ok := ctx.Deadline(); at.Port() == 10250 && (!ok || time.Until(end) > 3*time.Second) {
			w.t.Errorf("%v has until %v, while the node's own watch waits", at, end)
		}
		if at.Addr().IsLoopback() && at.Port() == 22 && w.login {
			return nil
		}
		if !w.reachable[at.Addr()] || at.Port() != 10250 {
			return errors.New("i/o timeout")
		}
		return nil
	})
}

// Apply keeps what the cluster was given, by path.
func (w netWorld) Apply(_ context.Context, _, path string, object []byte) error {
	return w.do("apply "+path, func() error {
		if w.applied == nil {
			w.applied = map[string]string{}
		}
		w.applied[path] = string(object)
		return w.rejects
	})
}

func (w netWorld) Etcd(context.Context, string) ([]byte, error) {
	return nil, w.do("etcd", func() error { return w.etcd })
}

func (w netWorld) Fetch(_ context.Context, url, name string, _ int64) error {
	data, ok := w.served[url]
	write := func(n int) { w.put(name, string(data[:n])) }
	return w.torn("fetch "+url, func() error {
		if w.fetchErr != nil || !ok {
			return errors.Join(errors.New("server answers 404"), w.fetchErr)
		}
		if e := w.files[name]; e != nil && len(e.data) <= len(data) { // resume keeps what is there
			w.put(name, string(e.data)+string(data[len(e.data):]))
			return nil
		}
		write(len(data))
		return nil
	}, func() { write(len(data) / 2) })
}

type clockWorld struct{ *world }

func (w clockWorld) Now() time.Time { return w.now }

func (w clockWorld) Sleep(ctx context.Context, d time.Duration) error {
	w.now = w.now.Add(d)
	_ = w.do("sleep", func() error { return nil }) // sleeping does not fail
	return ctx.Err()
}

func (w clockWorld) Synced() (bool, error) {
	return w.synced, w.do("synced", func() error { return nil })
}

func (w clockWorld) Set(t time.Time) error {
	return w.do("set clock", func() error { w.now = t; return nil })
}

type progWorld struct{ *world }

func (w progWorld) Run(_ context.Context, argv ...string) (out string, err error) {
	err = w.do("run "+argv[0], func() error {
		switch argv[0] {
		case "nft":
			out, err = w.runNft(argv[1:])
		case "headscale":
			out, err = w.listing, w.listFault
		default:
			if strings.Join(argv, " ") == "systemctl reset-failed k3s.service" {
				w.forgotten++
			}
			out, err = w.runLink(argv)
		}
		return err
	})
	return out, err
}

// runNft lists the rules, or takes them.
func (w *world) runNft(args []string) (string, error) {
	switch {
	case args[0] != "--stateless" && w.nftFault != nil && w.nftFault(args[0]):
		return "", errors.New("nft: syntax error")
	case args[0] != "--stateless":
		w.nft = args[0]
	case w.nft == "":
		return "", errors.New("nft: No such file or directory")
	}
	return w.nft, nil
}

type slotWorld struct{ *world }

func (w slotWorld) Bless(context.Context) error {
	return w.do("bless", func() error { w.trial = nil; return nil })
}

func (w slotWorld) Stores() (waits bool, err error) {
	err = w.do("stores", func() error { waits = w.stores; return nil })
	return waits, err
}

func (w slotWorld) OpenStores() error {
	return w.do("open stores", func() error { w.stores = false; return nil })
}

func (w slotWorld) Check(context.Context) (err error) {
	if did := w.do("check slot", func() error { err = w.worn; return nil }); did != nil {
		return did
	}
	return err
}

func (w slotWorld) Trial(context.Context) (t *contract.Trial, err error) {
	err = w.do("trial", func() error { t = w.trial; return w.trialFault })
	return t, err
}

func (w slotWorld) Leaving(context.Context) (leaves bool, err error) {
	err = w.do("leaving", func() error { leaves = w.leaves; return nil })
	return leaves, err
}

func (w slotWorld) KeepStore(_ context.Context, at contract.StorePlace) error {
	return w.do("keep store", func() error { w.keeps = fmt.Sprint(at); return nil })
}

type diskWorld struct{ *world }

func (w diskWorld) Mounted(dir string) (on *firstboot.Mount, err error) {
	err = w.do("mounted "+dir, func() error {
		switch {
		case dir == "/var":
			on = w.data
		case w.volumes:
			copied := w.volume
			on = &copied
		}
		return nil
	})
	return on, err
}

func (w diskWorld) Attach(_ context.Context, dir string, want disks.Want) (id string, err error) {
	w.wants = append(w.wants, want)
	err = w.do("attach "+dir, func() error {
		if w.volume.Lost {
			w.volumes, w.volume.Lost = false, false
		}
		if w.attach != nil {
			return w.attach
		}
		w.volumes, id = true, "disk-1"
		return nil
	})
	return id, err
}

func (w diskWorld) Hold(_ string, on bool) error {
	return w.do("hold", func() error { w.held = on; return nil })
}

func (w diskWorld) Held(string) (held bool, err error) {
	err = w.do("held", func() error { held = w.held; return nil })
	return held, err
}

func (w diskWorld) Hidden() int { return 0 }

type randWorld struct {
	*world
	r io.Reader
}

func (w randWorld) Read(p []byte) (int, error) {
	if err := w.do("random", func() error { return nil }); err != nil {
		return 0, err
	}
	return w.r.Read(p)
}
