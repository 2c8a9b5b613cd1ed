package firstboot_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot"
)

func replace(from, to string) func(*world) {
	return func(w *world) {
		if !strings.Contains(initYAML, from) {
			w.t.Fatalf("no %q in the test's node.yaml", from)
		}
		w.personalise(strings.Replace(initYAML, from, to, 1))
	}
}

// noProxy makes names the node's own business.
var noProxy = replace(`  proxy: "http://user:proxy-secret@192.168.1.1:3128"`, "")

// withWiFi names one in node.yaml.
var withWiFi = replace("  ntp:", "  wifi: {country: DE, ssid: the shed, psk: wifi psk secret}\n  ntp:")

// onLAN has eth0 in other networks.
func onLAN(all ...string) func(*world) {
	return func(w *world) {
		w.links = []firstboot.Link{{Name: "eth0", Carrier: true}}
		for _, s := range all {
			p := netip.MustParsePrefix(s)
			w.links[0].Addresses, w.links[0].Networks = append(w.links[0].Addresses, p.Addr()), append(w.links[0].Networks, p)
		}
	}
}

var (
	cabin = netip.MustParseAddr("100.64.0.9")
	peer  = []firstboot.Peer{{Name: "cabin-pi", IPs: []netip.Addr{cabin}, Online: true, Tags: []string{"tag:site-home"}}}
)

// expired is what crypto/tls returns for a certificate outside its time.
var expired = &tls.CertificateVerificationError{Err: x509.CertificateInvalidError{Reason: x509.Expired, Cert: &x509.Certificate{}}}

// faults is every fault and what must be read on the screen.
var faults = []struct {
	name   string
	spoil  func(*world)
	code   string
	words  []string // on the screen
	person bool
}{
	{"boot partition not mounted", func(w *world) {
		delete(w.files, "/boot/firmware/node.yaml")
		delete(w.files, "/boot/firmware/imagebuilder.json")
	}, "boot-missing", []string{"not mounted", "check the card"}, true},
	{"no node.yaml", func(w *world) { delete(w.files, "/boot/firmware/node.yaml") }, "node-missing", []string{"no node.yaml", "imagebuilder personalize"}, true},
	{"empty", func(w *world) { w.personalise("") }, "node-empty", []string{"never personalised"}, true},
	{"binary", func(w *world) { w.personalise("\x7fELF\x00\x01") }, "node-binary", []string{"not a text file"}, true},
	{"1 MB", func(w *world) { w.put("/boot/firmware/node.yaml", strings.Repeat("# x\n", 1<<18)) }, "node-too-large", []string{"too large"}, true},
	{"version", replace("version: 1", "version: 2"), "node-version", []string{"another version"}, true},
	{"bad field", replace("site: home", "sites: home"), "bad-field", []string{`node.yaml:4: field "sites"`, `did you mean "site"?`}, true},
	{"time zone", replace("Europe/Lisbon", "Europe/Atlantis"), "bad-field", []string{"Europe/Atlantis is not in this image"}, true},
	{"wrong board", replace("board: rpi4", "board: optiplex-7050"), "wrong-board", []string{"for board optiplex-7050, this image is for rpi4"}, true},
	{"foreign data", func(w *world) { w.put("/var/lib/imagebuilder/firstboot/owner", "cabin-box\n") }, "foreign-data", []string{"belongs to node cabin-box", "Put the right card or disk"}, true},
	{"data disk gone", func(w *world) { w.data = &firstboot.Mount{Device: "/dev/sda1", Lost: true} }, "data-lost", []string{"The disk with this node's data (/dev/sda1) is gone", "Plug it in again", "Once an hour it restarts itself"}, true},
	{"data disk failed", func(w *world) { w.data = &firstboot.Mount{Device: "/dev/sda1", Failed: true} }, "data-failed", []string{"had an error and is not written to any more", "off and on"}, true},
	{"data disk for a node that runs", func(w *world) {
		replace("timezone:", "dataDisk: /dev/disk/by-id/usb-2\ntimezone:")(w)
		w.put("/run/imagebuilder/boot.json", `{"disk": "mmcblk0"}`)
	}, "data-restart", []string{"which a node takes only when it starts", "off and on"}, true},
	{"small disk", func(w *world) { w.space = 1 << 30 }, "disk-too-small", []string{"The disk is too small: 1.0 GiB", "Use a larger card"}, true},
	{"no link", func(w *world) { w.links = []firstboot.Link{{Name: "eth0"}} }, "no-link", []string{"No network cable", "Plug the network cable in"}, true},
	{"a network of the cluster's", onLAN("10.42.0.20/24"), "lan-overlaps", []string{"This network (10.42.0.0/24) uses addresses of the cluster (10.42.0.0/16)", "192.168.77.0/24"}, true},
	{"no port", func(w *world) { w.links = nil }, "no-port", []string{"no network port that this system can use", "USB network adapter"}, true},
	{"no port at all, and Wi-Fi wanted", func(w *world) { withWiFi(w); w.links = nil }, "no-radio", []string{"The Wi-Fi of this computer was not found", "the shed"}, true},
	{"no DHCP", func(w *world) { w.links = []firstboot.Link{{Name: "eth0", Carrier: true}} }, "no-dhcp", []string{"no answer from DHCP on eth0", "router"}, true},
	{"no Wi-Fi", func(w *world) {
		withWiFi(w)
		w.links = []firstboot.Link{{Name: "eth0"}, {Name: "wlan0"}}
	}, "no-wifi", []string{"The Wi-Fi the shed is not connected", "network: wifi:"}, true},
	{"no port for it", func(w *world) { withWiFi(w); w.links = []firstboot.Link{{Name: "eth0"}} }, "no-radio", []string{"The Wi-Fi of this computer was not found", "Plug in a network cable"}, true},
	{"a port for Wi-Fi and none wanted", func(w *world) { w.links = []firstboot.Link{{Name: "wlan0"}} }, "no-port", []string{"no network port"}, true},
	{"no DHCP by Wi-Fi", func(w *world) {
		withWiFi(w)
		w.links = []firstboot.Link{{Name: "eth0"}, {Name: "wlan0", Carrier: true}}
	}, "no-dhcp-wifi", []string{"The Wi-Fi the shed gives this node no address"}, true},
	{"no DHCP by both", func(w *world) {
		withWiFi(w)
		w.links = []firstboot.Link{{Name: "wlan0", Carrier: true}, {Name: "eth0", Carrier: true}}
	}, "no-dhcp", []string{"no answer from DHCP on eth0, wlan0"}, true},
	{"DNS down", func(w *world) { noProxy(w); w.resolve = &net.DNSError{Err: "i/o timeout", IsTimeout: true} }, "dns-down", []string{"headscale.example.net cannot be found"}, false},
	{"no name server", func(w *world) {
		noProxy(w)
		w.resolve = &net.DNSError{Err: "server misbehaving", IsTemporary: true}
		w.put("/run/systemd/resolve/resolv.conf", "# No nameserver known.\nsearch .\n")
	}, "no-dns", []string{"names no name server, so headscale.example.net cannot be found", "network: {interfaces: [{name: eth0, dns: [ADDRESS]}]}"}, true},
	{"a name server that is silent", func(w *world) {
		noProxy(w)
		w.resolve = &net.DNSError{Err: "server misbehaving", IsTemporary: true}
		w.put("/run/systemd/resolve/resolv.conf", "nameserver 192.168.1.1\n")
	}, "dns-down", []string{"headscale.example.net cannot be found"}, false},
	{"wrong name", func(w *world) { noProxy(w); w.resolve = &net.DNSError{Err: "no such host", IsNotFound: true} }, "unknown-host", []string{"headscale.example.net does not exist", "headscale: url:"}, true},
	{"server down", func(w *world) { w.control = errors.New("connection refused") }, "unreachable", []string{"does not answer", "keeps trying"}, false},
	{"portal", func(w *world) { w.control = firstboot.ErrPortal }, "captive-portal", []string{"login in a browser"}, true},
	{"wrong URL", func(w *world) { w.control = firstboot.ErrNotHeadscale }, "not-headscale", []string{"something else than a Headscale server"}, true},
	{"certificate", func(w *world) {
		w.control = &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}
	}, "untrusted", []string{"is not trusted", "headscale: ca:"}, true},
	{"expired certificate", func(w *world) { w.control = expired }, "cert-date", []string{"The certificate of headscale.example.net is not valid today", "or the clock, 2026-11-22, is wrong, which this network's time server set"}, true},
	{"certificate and clock", func(w *world) { w.control = expired; w.synced = false }, "clock-wrong", []string{"The clock is wrong (2026-11-22)"}, true},
	{"2100", func(w *world) { w.synced = false; w.now = time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC) }, "clock-wrong", []string{"The clock is wrong (2100-01-01)", "network: ntp:"}, true},
	{"2100 by a time server", func(w *world) { w.now = time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC) }, "clock-served", []string{"set the clock to 2100-01-01, which cannot be", "network: ntp:"}, true},
	{"2020 by a time server", func(w *world) { w.now = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC) }, "clock-served", []string{"set the clock to 2020-01-01"}, true},
	{"key spent", func(w *world) { w.spent["hskey-auth-first"] = true }, "key-spent", []string{"works only once", "Ask the owner for a new key"}, true},
	{"key expired", func(w *world) { w.refuse["hskey-auth-first"] = "authkey expired" }, "key-expired", []string{"has expired"}, true},
	{"key unknown", func(w *world) { w.refuse["hskey-auth-first"] = "invalid pre auth key" }, "key-unknown", []string{"does not know the key"}, true},
	{"refused", func(w *world) { w.refuse["hskey-auth-first"] = "requested tags are invalid\x1b[31m" }, "login-failed", []string{"requested tags are invalid?[31m", "keeps trying"}, false},
	{"database locked", func(w *world) { w.refuse["hskey-auth-first"] = "failed to save node: database is locked" }, "login-failed", []string{"database is locked", "look at the Headscale server"}, false},
	{"no key", replace(", authKey: hskey-auth-first", ""), "key-missing", []string{"has no key", "authKey:"}, true},
	{"name taken", func(w *world) { w.givenName = "home-pi-1" }, "name-taken", []string{"called home-pi already", "home-pi-1"}, true},
	{"download", func(w *world) { w.served = map[string][]byte{} }, "component-down", []string{"k3s v1 cannot be downloaded"}, false},
	{"digest", func(w *world) { w.served["https://example.net/k3s"] = []byte("something else") }, "component-digest", []string{"wrong digest"}, true},
	{"manifest", func(w *world) { w.put("/usr/lib/imagebuilder/components.json", "{") }, "component-none", []string{"Write the image again"}, true},
	{"role", func(w *world) {
		w.put("/etc/rancher/k3s/k3s.env", "K3S_ROLE=agent\nFIRSTBOOT_ROLE=agent\n")
		w.put("/var/lib/rancher/k3s/agent", "")
	}, "role-conflict", []string{"set up as agent, node.yaml says server"}, true},
	{"peer silent", func(w *world) { w.peers = peer; w.silent[cabin] = true }, "maybe-cluster", []string{"cabin-pi is known but does not answer"}, true},
	{"peer offline", func(w *world) {
		w.peers = []firstboot.Peer{{Name: "cabin-pi", IPs: []netip.Addr{cabin}, Tags: w.tags}}
	}, "maybe-cluster", []string{"cabin-pi is known"}, true},
	{"a stranger's name", func(w *world) { w.peers = []firstboot.Peer{personal(laptop, 1)} }, "strange-server", []string{"The cabin-pi of this tailnet", "lacks tag:site-home", "gets no token", "rename the device"}, true},
	{"two of one name", func(w *world) { w.peers = append(peer, tagged(laptop, w.tags...)) }, "server-twice", []string{"Two servers of the tailnet are called cabin-pi", "delete or rename"}, true},
	{"no server yet", replace(creates, "init: false"), "waiting-server", []string{"Waiting for a server of the cluster: cabin-pi"}, false},
	{"not ready", func(w *world) { w.ready = false }, "k3s-starting", []string{"The cluster program is starting"}, false},
	{"token", func(w *world) { w.ready = false; w.journal = "level=fatal msg=\"token CA hash does not match\"" }, "k3s-token", []string{"refused this node's token"}, true},
	{"password", func(w *world) {
		w.ready = false
		w.journal = "x\nlevel=error msg=\"Node password rejected, duplicate hostname\""
	}, "k3s-password", []string{"k3s kubectl delete node home-pi", "In Headscale, delete the old machine of this name"}, true},
	{"a dead member's name", func(w *world) {
		w.ready = false
		w.journal = "level=fatal msg=\"etcd cluster join failed: duplicate node name found, please use a unique name for this node\""
	}, "k3s-password", []string{"k3s kubectl delete node home-pi"}, true},
	{"a server that is starting", func(w *world) {
		w.ready = false
		w.journal = "level=error msg=\"failed to get CA certs: https://100.64.0.9:6443/v1-k3s/server-bootstrap: 401 Unauthorized\""
	}, "k3s-refused", []string{"does not let this node in yet", "wait ten minutes", "a new token"}, false},
	{"a secret of the seed", func(w *world) { w.rejects = errors.New("admission webhook denied the request") }, "seed-refused", []string{"longhorn-system", "denied the request", "the node keeps trying"}, false},
	{"unlike servers", func(w *world) {
		w.ready = false
		w.journal = "level=fatal msg=\"failed to validate server configuration: critical configuration value mismatch between servers\""
	}, "k3s-config", []string{"critical configuration value mismatch", "Correct k3s: config:"}, true},
	{"an etcd that fell back", func(w *world) {
		w.ready = false
		w.journal = `{"level":"panic","ts":"2026-11-22T12:00:00.000000Z","caller":"membership/cluster.go:1","msg":"invalid downgrade; server version is lower than determined cluster version","current-server-version":"3.6.5","determined-cluster-version":"3.7"}
panic: invalid downgrade; server version is lower than determined cluster version
goroutine 1 [running]:`
	}, "k3s-behind", []string{"its update fell back", "imagebuilder update home-pi --image FILE --reboot --no-drain"}, true},
	{"flag", func(w *world) { w.ready = false; w.journal = "Error: flag provided but not defined: -nonsense" }, "k3s-config", []string{"-nonsense"}, true},
}

func TestFaults(t *testing.T) {
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			w := crashWorld(t)
			f.spoil(w)
			s, _ := w.boot(anyProblem)
			if s.Problem == nil || s.Problem.Code != f.code || s.Problem.Person != f.person {
				t.Fatalf("status %s", s.Line())
			}
			if want := map[bool]firstboot.State{true: firstboot.NeedsPerson, false: firstboot.Waiting}[f.person]; s.State != want {
				t.Errorf("state %s", s.State)
			}
			screen := strings.Join(strings.Fields(strings.Join(s.Lines(76), " ")), " ")
			for _, words := range append(f.words, s.Problem.Remedy) {
				if !strings.Contains(screen, words) {
					t.Errorf("the screen lacks %q:\n%s", words, strings.Join(s.Lines(76), "\n"))
				}
			}
			for _, secret := range secrets {
				for what, text := range map[string]string{"screen": screen, "json": string(s.JSON()), "line": s.Line(), "error": s.Problem.Error()} {
					if strings.Contains(text, secret) {
						t.Errorf("%s is in the %s", secret, what)
					}
				}
			}
		})
	}
}

// TestEveryTextFits: each row of the table fits a screen of 25 lines and ends
// in a full sentence.
func TestEveryTextFits(t *testing.T) {
	for _, f := range faults {
		w := crashWorld(t)
		f.spoil(w)
		s, _ := w.boot(anyProblem)
		if lines := s.Lines(76); len(lines) > 22 {
			t.Errorf("%s: %d lines", f.name, len(lines))
		}
		for _, l := range s.Lines(76) {
			if len(l) > 76 {
				t.Errorf("%s: line of %d characters: %s", f.name, len(l), l)
			}
		}
	}
}

// TestMended: after every fault a person can mend in node.yaml, the new file
// alone brings the node in.
func TestMended(t *testing.T) {
	for _, f := range faults {
		if !strings.HasPrefix(f.code, "node-") && !strings.HasPrefix(f.code, "bad-") && !strings.HasPrefix(f.code, "key-") {
			continue
		}
		t.Run(f.name, func(t *testing.T) {
			w := crashWorld(t)
			f.spoil(w)
			s, _ := w.boot(func(s firstboot.Status) bool {
				if s.State == firstboot.NeedsPerson {
					w.personalise(strings.Replace(initYAML, "hskey-auth-first", "hskey-auth-second", 1))
				}
				return false
			})
			if s.State != firstboot.Joined {
				t.Error(s.Line())
			}
			if leak := leaks(w); leak != "" {
				t.Error(leak)
			}
		})
	}
}

// TestMendedElsewhere: the node was let in again on the server, and sees it by
// itself.
func TestMendedElsewhere(t *testing.T) {
	o := watch(t, crashWorld(t))
	o.after(10*time.Minute, func() { o.running, o.haveKey = false, false })
	o.after(11*time.Minute, func() { o.sees("deleted on the server", red, "no longer a member") })
	o.after(60*time.Minute, func() { o.running, o.haveKey = true, true })
	o.after(71*time.Minute, func() { o.sees("let in again", green) })
	o.run(72 * time.Minute)
}

func TestRetryWakes(t *testing.T) {
	w := crashWorld(t)
	w.refuse["hskey-auth-first"] = "authkey expired"
	s, _ := w.boot(func(s firstboot.Status) bool {
		if s.State == firstboot.NeedsPerson {
			delete(w.refuse, "hskey-auth-first")
			if err := firstboot.Retry(memFiles{w}, clockWorld{w}); err != nil {
				t.Error(err)
			}
		}
		return false
	})
	if s.State != firstboot.Joined {
		t.Error(s.Line())
	}
}

func TestLivingPeerWins(t *testing.T) {
	w := crashWorld(t)
	w.peers, w.alive[cabin] = peer, true
	if s, _ := w.boot(nil); s.State != firstboot.Joined {
		t.Fatal(s.Line())
	}
	conf := string(w.files["/etc/rancher/k3s/config.yaml"].data)
	if w.clusters != 0 || !strings.Contains(conf, "server: https://100.64.0.9:6443") || strings.Contains(conf, "cluster-init") {
		t.Errorf("%d clusters, config:\n%s", w.clusters, conf)
	}
	t.Run("for good", func(t *testing.T) {
		w.alive[cabin] = false
		w.reboot()
		if s, _ := w.boot(nil); s.State != firstboot.Joined || w.clusters != 0 {
			t.Error(s.Line())
		}
	})
}

// TestRestartingPeer: a server whose k3s is just restarting has a cluster.
func TestRestartingPeer(t *testing.T) {
	w := crashWorld(t)
	w.peers = peer
	asked := 0
	w.fault = func(_ int, name string) fault {
		if name == "supervisor" {
			if asked++; asked > 3 {
				w.alive[cabin] = true
			}
		}
		return none
	}
	if s, _ := w.boot(nil); s.State != firstboot.Joined || w.clusters != 0 || w.joins != 1 {
		t.Errorf("%s: %d clusters, %d joins", s.Line(), w.clusters, w.joins)
	}
}

func TestK3sConfig(t *testing.T) {
	agent := `version: 1
node: cabin-box
site: cabin
role: agent
headscale: {url: "https://headscale.example.net", authKey: hskey-auth-first}
k3s: {servers: [cabin-pi], bootstrapToken: k3s-token-very-secret, labels: {example.net/disk: ssd}, config: {kubelet-arg: max-pods=50}}
`
	witness := strings.NewReplacer("role: agent", "role: witness", "bootstrapToken", "token").Replace(agent)
	common := `flannel-iface: tailscale0
kubelet-arg:
    - max-pods=50
    - volume-plugin-dir=/var/lib/kubelet/volumeplugins
node-ip: 100.64.0.7
node-label:
    - example.net/disk=ssd
    - topology.kubernetes.io/region=cabin
    - topology.kubernetes.io/zone=cabin
node-name: cabin-box
`
	for name, c := range map[string]struct{ yaml, want, env string }{
		"agent": {agent, common + `resolv-conf: /run/systemd/resolve/resolv.conf
server: https://100.64.0.9:6443
token-file: /etc/rancher/k3s/token
`, "K3S_ROLE=agent"},
		"witness": {witness, "advertise-address: 100.64.0.7\ndisable-apiserver: true\ndisable-controller-manager: true\ndisable-scheduler: true\netcd-arg:\n    - heartbeat-interval=500\n    - election-timeout=5000\n" + common +
			`node-taint:
    - node-role.kubernetes.io/etcd=true:NoExecute
resolv-conf: /run/systemd/resolve/resolv.conf
server: https://100.64.0.9:6443
tls-san:
    - 100.64.0.7
    - cabin-box
token-file: /etc/rancher/k3s/token
write-kubeconfig-mode: "0600"
`, "K3S_ROLE=server"},
	} {
		w := newWorld(t, c.yaml)
		w.peers, w.alive[cabin] = peer, true
		if s, _ := w.boot(nil); s.State != firstboot.Joined {
			t.Fatal(s.Line())
		}
		_, have, _ := strings.Cut(string(w.files["/etc/rancher/k3s/config.yaml"].data), "\n")
		if have != c.want {
			t.Errorf("%s: config.yaml:\n%s\nwant:\n%s", name, have, c.want)
		}
		if env := string(w.files["/etc/rancher/k3s/k3s.env"].data); !strings.Contains(env, c.env+"\n") {
			t.Errorf("%s: k3s.env:\n%s", name, env)
		}
	}
}

// TestVarLost: without its data a sealed node asks for a key, and only that.
func TestVarLost(t *testing.T) {
	w := crashWorld(t)
	w.boot(nil)
	for name := range w.files {
		if strings.HasPrefix(name, "/var/") || strings.HasPrefix(name, "/etc/") {
			delete(w.files, name)
		}
	}
	w.haveKey = false
	w.reboot()
	s, _ := w.boot(needsPerson)
	if s.Problem == nil || s.Problem.Code != "key-lost" {
		t.Fatal(s.Line())
	}
}

// TestSpoiltFileStopsNoMember: a joined node keeps working and tells.
func TestSpoiltFileStopsNoMember(t *testing.T) {
	w := crashWorld(t)
	w.boot(nil)
	w.personalise("version: 1\nnode: home-pi\nnonsense: true\n")
	w.reboot()
	s, _ := w.boot(nil)
	if s.State != firstboot.Joined || s.Notice == nil || s.Notice.Code != "bad-field" {
		t.Error(s.Line())
	}
	if !strings.Contains(w.bootYAML(), "nonsense") {
		t.Error("the person's file was overwritten")
	}
}

func TestClock1970(t *testing.T) {
	w := crashWorld(t)
	w.synced = false
	w.now = time.Unix(0, 0)
	if s, _ := w.boot(nil); s.State != firstboot.Joined || w.now.Year() < 2026 {
		t.Errorf("%s, clock %v", s.Line(), w.now)
	}
}

func TestScreen(t *testing.T) {
	w := crashWorld(t)
	w.spent["hskey-auth-first"] = true
	s, _ := w.boot(anyProblem)
	s.Time = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	s.NextTry = nil
	want := `PLEASE HELP - somebody must do something

Node        home-pi
Site        home
Role        server
Address     192.168.1.20 (eth0)
Step        5 of 13: tailnet - joining the private network
Time        2026-11-22 12:00:00 UTC

Problem     The key in node.yaml was used before; it works only once.
What to do  Ask the owner for a new key (imagebuilder key --link) and open
            its link with a phone in this network; or write the key into
            node.yaml on the boot partition (headscale: authKey:), then
            switch the node off and on.
Code        key-spent`
	if have := strings.Join(s.Lines(76), "\n"); have != want {
		t.Errorf("have:\n%s\nwant:\n%s", have, want)
	}
	if b := s.Screen(80, 25); strings.Count(string(b), "\n") > 24 {
		t.Errorf("%d lines on a screen of 25", strings.Count(string(b), "\n"))
	}
	if strings.Contains(strings.ReplaceAll(string(s.Text()), "\r\n", ""), "\n") {
		t.Error("STATUS.TXT mixes line ends")
	}
}
