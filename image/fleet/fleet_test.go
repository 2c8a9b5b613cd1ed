package fleet

import (
	"bytes"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/going-mobile/imagebuilder/boards"
	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/firstboot/strictyaml"
	"github.com/going-mobile/imagebuilder/image/clusterca"
)

var known = boards.FS

// directory lays out a fleet with its secrets.
func directory(t *testing.T, yaml string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"fleet.yaml": yaml, "secrets/server.token": "K10aa::server:s3cret\n", "secrets/agent.token": "K10aa::node:s3cret\r\n", "secrets/wifi": "correct horse",
		"secrets/cluster-ca.yaml": string(identity(t)),
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "fleet.yaml")
}

func identity(t *testing.T) []byte {
	t.Helper()
	id, err := clusterca.New("going-mobile", time.Now(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	text, err := bundle(id.Servers)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func load(t *testing.T, yaml string) *Fleet {
	t.Helper()
	f, err := LoadFile(directory(t, yaml), known)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// TestAnswers: a server gets the servers' token and its own role, an agent gets nothing that
// gives access beyond its own, and only one node may create the cluster.
func TestAnswers(t *testing.T) {
	f := load(t, elsewhere())
	want := map[string]*node.Config{
		"home-pi": {Node: "home-pi", Board: "rpi4", Site: "home", Role: node.Server, K3s: node.K3s{
			Init: true, Token: "K10aa::server:s3cret", Config: node.Settings{"secrets-encryption": true}, Taints: []string{"node-role.kubernetes.io/control-plane=true:NoSchedule"},
		}},
		"cabin-box": {Node: "cabin-box", Board: "optiplex-7050", Site: "cabin", Role: node.Agent},
	}
	for name, w := range want {
		w.Version, w.Timezone, w.Headscale.URL = 1, "Europe/Lisbon", "https://headscale.example.net"
		w.K3s.ServerTags = []string{"tag:k3s-server"}
		w.K3s.Servers, w.K3s.AgentToken = []string{"home-pi", "cabin-pi"}, "K10aa::node:s3cret"
		got, err := f.Config(name)
		if err != nil {
			t.Fatal(err)
		}
		if got.K3s.Init != (len(got.K3s.CA) > 0) {
			t.Errorf("%s: %d authorities", name, len(got.K3s.CA))
		}
		if d := cmp.Diff(w, got, cmpopts.IgnoreFields(node.K3s{}, "CA", "Seed")); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
		data, err := node.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := node.Load("node.yaml", data); err != nil {
			t.Errorf("%s: the node refuses its answer: %v", name, err)
		}
	}
}

// TestAWrongRoleIsToldOnce: what follows from it is not.
func TestAWrongRoleIsToldOnce(t *testing.T) {
	_, err := Load("fleet.yaml", []byte(strings.ReplaceAll(string(Example), "role: server", "role: sever")), known)
	var all strictyaml.Problems
	if !errors.As(err, &all) {
		t.Fatal(err)
	}
	want := []string{
		`fleet.yaml:26: field "nodes": has no node with role server`,
		`fleet.yaml:27: field "nodes.home-pi.role": unknown role "sever" (did you mean "server"?)`,
		`fleet.yaml:28: field "nodes.cabin-pi.role": unknown role "sever" (did you mean "server"?)`,
	}
	if got := strings.Split(err.Error(), "\n"); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestASiteMayBeItsName: a site needs no settings.
func TestASiteMayBeItsName(t *testing.T) {
	text := strings.NewReplacer("home: {timezone: Europe/Lisbon, lan: [192.168.1.0/24]}", "home:", "cabin: {timezone: Europe/Lisbon, lan: [192.168.8.0/24]}", "cabin: # later").Replace(elsewhere())
	if strings.Contains(text, "lan:") {
		t.Fatal(text)
	}
	if f := load(t, text); len(f.Sites) != 2 {
		t.Errorf("%+v", f.Sites)
	}
}

// TestFaults: each is told with its line, its field and what comes near.
func TestFaults(t *testing.T) {
	for _, c := range []struct{ from, to, want string }{
		{"version: 1\n", "", `field "version": is missing; write "version: 1"`},
		{"home-pi: {board: rpi4, ", "home-pi: {", `field "nodes.home-pi.board": is missing; one of generic-amd64`},
		{"    keyExpiry: 14d", "    user: a b\n    keyExpiry: 14d", `field "cluster.headscale.user": want a user of Headscale`},
		{"version: 1", "version: 2", `fleet.yaml:3: field "version": is 2, this program reads 1`},
		{"keyExpiry: 14d", "keyExpiry: soon", `fleet.yaml:9: field "cluster.headscale.keyExpiry": want a number of hours, days or weeks`},
		{"keyExpiry", "keyexpiry", `did you mean "keyExpiry"?`},
		{"apiKey: {env: HEADSCALE_API_KEY}", "apiKey: hskey-api-verysecret", `fleet.yaml:8: field "cluster.headscale.apiKey": secrets do not belong in this file`},
		{"{env: HEADSCALE_API_KEY}", "{env: A, file: b}", `want exactly one of env, file and age`},
		{"https://headscale", "ftp://headscale", `field "cluster.headscale.url": begins with "ftp"`},
		{"    token: {file: secrets/server.token}\n", "", `fleet.yaml:10: field "cluster.k3s.token": is missing`},
		{"    agentToken: {file: secrets/agent.token}\n", "", `field "cluster.k3s.agentToken": is missing`},
		{"  k3s:\n", "  k3s:\n    init: home-po\n", `field "cluster.k3s.init": "home-po" is no server of this file (did you mean "home-pi"?)`},
		{"home: {timezone: Europe/Lisbon", "home: {timezone: Europe/Lissabon", `fleet.yaml:16: field "sites.home.timezone": "Europe/Lissabon" is no time zone of Debian's tzdata; did you mean "Europe/Lisbon"?`},
		{"192.168.1.0/24", "192.168.1.7/24", `fleet.yaml:16: field "sites.home.lan[0]": want a network`},
		{"board: rpi4, site: home", "board: rpi6, site: home", `fleet.yaml:19: field "nodes.home-pi.board": "rpi6" is no board (did you mean "rpi3"?)`},
		{"board: rpi4, site: home", "board: nuc8, site: home", `"nuc8" is no board (known: generic-amd64, `},
		{"version: 1\n", "version: 1\nboards: mine\n", `fleet.yaml:4: field "boards": "mine" is no directory`},
		{"site: home, role: server", "site: hoem, role: server", `"hoem" is no site of this file (did you mean "home"?)`},
		{"home-pi: {board: rpi4, site: home, role: server}", "home-pi: {board: rpi4, site: home, role: sever}", `field "nodes.home-pi.role": unknown role "sever" (did you mean "server"?)`},
		{"home-box:", "Home_Box:", `field "nodes.Home_Box": want a host name`},
		{"cabin-box:", "home-box:", `is already set on line 21`},
		{"cabin-box: {", "cabin-box: {taints: [nonsense], ", `field "nodes.cabin-box.taints[0]": want KEY=VALUE:EFFECT`},
		{"cabin-pi: {", "cabin-pi: {dataDisk: /dev/sda, ", `fleet.yaml:20: field "nodes.cabin-pi.dataDisk": want /dev/disk/by-id/NAME`},
		{"cabin-box: {", "cabin-box: {install: {disk: {serial: X, only: true}}, ", `field "nodes.cabin-box.install.disk": say which disk by one of`},
		{"cabin-box: {", "cabin-box: {install: {disk: {seriel: X}}, ", `did you mean "serial"?`},
		{"cabin-pi: {", "cabin-pi: {longhorn: {disk: {size: big}}, ", `field "nodes.cabin-pi.longhorn.disk.size": want a size`},
		{"cabin-pi: {", "cabin-pi: {files: [{path: /etc/motd, content: {file: motd}}], ", `field "nodes.cabin-pi.files[0].path": is in none of the places`},
		{"cabin-pi: {", "cabin-pi: {files: [{path: /etc/sysctl.d/50-a.conf}], ", `files[0].content: is missing`},
		{"cabin-pi: {", "cabin-pi: {files: [{path: /etc/sysctl.d/50-a.conf, content: vm.swappiness=1}], ", `secrets do not belong in this file`},
		{"cabin-pi: {", "cabin-pi: {k3s: {config: {server: x}}, ", `field "nodes.cabin-pi.k3s.config.server": is decided by firstboot`},
		{"cabin-pi: {", "cabin-pi: {k3s: {config: {disable: [servicelb]}}, ", `field "nodes.cabin-pi.k3s.config.disable": disable=servicelb is the same for all servers: write it under cluster: k3s: config`},
		{"cabin, role: agent", "cabin, role: witness, k3s: {config: {flannel-backend: host-gw}}", `field "nodes.cabin-box.k3s.config.flannel-backend": flannel-backend is the same for all servers`},
		{"home-pi: {", "home-pi: {k3s: {config: {cluster-cidr: 10.99.0.0/16}}, ", `field "nodes.home-pi.k3s.config.cluster-cidr": cluster-cidr is the same for all servers`},
		{"home-pi: {", "home-pi: {k3s: {config: {etcd-arg: [election-timeout=9000, heartbeat-interval=900]}}, ", `field "nodes.home-pi.k3s.config.etcd-arg": etcd-arg election-timeout is the same for all servers`},
		{"  k3s:\n", "  longhorn: # over the sites\n  k3s:\n", `field "cluster.longhorn": is empty: write {} for its defaults, or leave it out`},
		{"cabin-box: {", "cabin-box: {install: , ", `field "nodes.cabin-box.install": is empty: write {}`},
		{"cabin-box: {", "cabin-box: {dataDisk: , ", `field "nodes.cabin-box.dataDisk": is empty: write a value`},
		{"cabin-box: {", "cabin-box: {storage: {encrypt: }, ", `field "nodes.cabin-box.storage.encrypt": is empty: write a value`},
		{"  k3s:\n", "  gitops:\n  k3s:\n", `field "cluster.gitops": is empty: write {}`},
		{"{secrets-encryption: true}", "{secret-encryption: true}", `field "cluster.k3s.config.secret-encryption": is no flag of k3s v1.36 (did you mean "secrets-encryption"?)`},
		{"{secrets-encryption: true}", "{kubelet-arg: {max-pods: 9}}", `field "cluster.k3s.config.kubelet-arg": want NAME=VALUE`},
		{"cabin-box: {", "cabin-box: {k3s: {config: {disable: traefik}}, ", `field "nodes.cabin-box.k3s.config.disable": is for servers`},
		{"cabin-pi: {", "cabin-pi: {k3s: {config: {etcd-snapshot-compress: yes}}, ", `field "nodes.cabin-pi.k3s.config.etcd-snapshot-compress": want true or false`},
		{"cabin-box: {", "cabin-box: {labels: {node-role.kubernetes.io/worker: a}, ", `field "nodes.cabin-box.labels.node-role.kubernetes.io/worker": no node may give itself this label`},
		{"cabin-box: {", "cabin-box: {network: {interfaces: [{name: eth0, addresses: [10.1.2.3/24], gateway: 10.1.3.1}]}, ", `field "nodes.cabin-box.network.interfaces[0].gateway": is in none of the networks`},
		{"{secrets-encryption: true}", "{server: x}", `field "cluster.k3s.config.server": is decided by firstboot`},
		{"version: 1\n", "version: 1\nimages: {rpi5: [\"a/b:1\"]}\n", `field "images.rpi5": "rpi5" is no board of a node of this file (did you mean "rpi4"?)`},
		{"version: 1\n", "version: 1\nimages: {rpi4: [\"a/b:1\", a/c]}\n", `field "images.rpi4[1]": "a/c" has neither tag nor digest: write a/c:TAG`},
		{"version: 1\n", "version: 1\nimages: {rpi4: [\"a/b:1@sha256:" + strings.Repeat("0", 64) + "\", \"a/b:1@sha256:" + strings.Repeat("1", 64) + "\"]}\n", `field "images.rpi4[1]": docker.io/a/b:1 is wanted as`},
		{"timezone: Europe/Lisbon, lan: [192.168.1.0/24]", "timezone: 7 o'clock", `is no time zone`},
		{"  k3s:\n", "  ssh: {hostKey: verysecret}\n  k3s:\n", `field "cluster.ssh.hostKey": unknown (known here: authorizedKeys, lan)`},
		{"cabin-box: {", "cabin-box: {ssh: {hostKey: verysecret}, ", `field "nodes.cabin-box.ssh.hostKey": unknown`},
		{"cabin-box: {", "cabin-box: {network: {noProxy: [a.example.net]}, ", `field "nodes.cabin-box.network.noProxy": is for who has a proxy`},
		{"  cabin: {", "  cabin: {network: {noProxy: [a.example.net]}, ", `field "sites.cabin.network.noProxy": is for who has a proxy`},
		{"keyExpiry: 14d", "server: {email: a@example.net}", `field "cluster.headscale.server.email": is for a node that runs Headscale, and none does`},
		{"keyExpiry: 14d", "server: {acme: 'https://ca.example.net/d'}", `field "cluster.headscale.server.acme": is for a node that runs Headscale`},
		{"keyExpiry: 14d", "server: {cert: {file: c}}", `field "cluster.headscale.server.cert": is for a node that runs Headscale`},
		{"keyExpiry: 14d", "server: {key: {file: c}}", `field "cluster.headscale.server.key": is for a node that runs Headscale`},
		{"keyExpiry: 14d", "server: {backup: {path: /var/b}}", `field "cluster.headscale.server.backup": is for a node that runs Headscale`},
	} {
		text := strings.Replace(elsewhere(), c.from, c.to, 1)
		if text == elsewhere() {
			t.Fatalf("no %q in the example", c.from)
		}
		_, err := Load("fleet.yaml", []byte(text), known)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s:\n got %v\nwant %s", c.to, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), "verysecret") {
			t.Error("the error repeats a secret")
		}
	}
}

// TestSiteAndNodeNetworks: a node's own setting comes before its site's.
func TestSiteAndNodeNetworks(t *testing.T) {
	f := load(t, strings.NewReplacer(
		"cabin: {", "cabin: {network: {wifi: {ssid: cabin, country: PT, psk: {file: secrets/wifi}}, ntp: [192.168.8.1]}, ",
		"cabin-box: {", "cabin-box: {network: {ntp: [192.168.8.2]}, ").Replace(elsewhere()))
	pi, errPi := f.Config("cabin-pi")
	box, errBox := f.Config("cabin-box")
	if errPi != nil || errBox != nil {
		t.Fatal(errPi, errBox)
	}
	if pi.Network.WiFi.PSK != "correct horse" || pi.Network.NTP[0] != "192.168.8.1" || box.Network.NTP[0] != "192.168.8.2" || box.Network.WiFi.SSID != "cabin" {
		t.Errorf("cabin-pi %+v, cabin-box %+v", pi.Network, box.Network)
	}
}

// TestNoProxy: a node's own exceptions replace its site's. A site's exceptions apply to the
// site's proxy only.
func TestNoProxy(t *testing.T) {
	f := load(t, strings.NewReplacer(
		"  cabin: {", "  cabin: {network: {proxy: {file: secrets/server.token}, noProxy: [nas]}, ",
		"cabin-pi: {", "cabin-pi: {network: {proxy: {file: secrets/agent.token}}, ",
		"cabin-box: {", "cabin-box: {network: {noProxy: [printer]}, ").Replace(elsewhere()))
	for name, want := range map[string]node.Network{
		"cabin-pi":  {Proxy: "K10aa::node:s3cret"},
		"cabin-box": {Proxy: "K10aa::server:s3cret", NoProxy: []string{"printer"}},
	} {
		if c, err := f.Config(name); err != nil || !cmp.Equal(c.Network, want) {
			t.Errorf("%s: %+v, %v", name, c.Network, err)
		}
	}
}

// TestSSHAndFirewall: a node adds to the cluster's keys and has its own doors.
func TestSSHAndFirewall(t *testing.T) {
	const key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl "
	f := load(t, strings.NewReplacer(
		"  k3s:", "  ssh: {authorizedKeys: ["+key+"me]}\n  k3s:",
		"home-box: {", "home-box: {ssh: {lan: false, authorizedKeys: ["+key+"you]}, firewall: {lan: [http]}, ").Replace(elsewhere()))
	box, errBox := f.Config("home-box")
	pi, errPi := f.Config("home-pi")
	if errBox != nil || errPi != nil {
		t.Fatal(errBox, errPi)
	}
	if len(box.SSH.AuthorizedKeys) != 2 || box.SSH.LAN == nil || *box.SSH.LAN || len(box.Firewall.LAN) != 1 {
		t.Errorf("home-box: %+v, %+v", box.SSH, box.Firewall)
	}
	if len(pi.SSH.AuthorizedKeys) != 1 || pi.SSH.LAN != nil || len(pi.Firewall.LAN) != 0 {
		t.Errorf("home-pi: %+v, %+v", pi.SSH, pi.Firewall)
	}
}

// TestOwnSettings: a node's disks, files and flags reach its node.yaml, its own flags before
// the cluster's. An agent gets none of the cluster's flags.
func TestOwnSettings(t *testing.T) {
	name := directory(t, strings.NewReplacer(
		"{secrets-encryption: true}", "{kubelet-arg: [max-pods=110], cluster-cidr: 172.20.0.0/16}",
		"cabin-pi: {", "cabin-pi: {dataDisk: {model: '*T7*', size: '>=400GB'}, k3s: {config: {kubelet-arg: [max-pods=50]}}, ",
		"cabin-box: {", "cabin-box: {install: {disk: {serial: S1}, wipe: true}, longhorn: {disk: /dev/disk/by-id/ata-WDC_1}, k3s: {config: {kubelet-arg: max-pods=50}}, files: [{path: /etc/sysctl.d/50-a.conf, mode: 0644, content: {file: a.conf}}], ",
	).Replace(elsewhere()))
	if err := os.WriteFile(filepath.Join(filepath.Dir(name), "a.conf"), []byte("vm.swappiness=1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := LoadFile(name, known)
	if err != nil {
		t.Fatal(err)
	}
	pi, errPi := f.Config("cabin-pi")
	box, errBox := f.Config("cabin-box")
	if errPi != nil || errBox != nil {
		t.Fatal(errPi, errBox)
	}
	if d := cmp.Diff(node.Settings{"kubelet-arg": []any{"max-pods=50"}, "cluster-cidr": "172.20.0.0/16"}, pi.K3s.Config); d != "" || pi.DataDisk != (node.Disk{Model: "*T7*", Size: ">=400GB"}) {
		t.Errorf("cabin-pi: %+v %s", pi.DataDisk, d)
	}
	if d := cmp.Diff(node.Settings{"kubelet-arg": "max-pods=50"}, box.K3s.Config); d != "" || box.Longhorn.Disk.Path != "/dev/disk/by-id/ata-WDC_1" {
		t.Errorf("cabin-box: %+v %s", box.Longhorn, d)
	}
	if d := cmp.Diff(&node.Install{Disk: node.InstallDisk{Serial: "S1"}, Wipe: true}, box.Install); d != "" || pi.Install != nil {
		t.Error(d)
	}
	if d := cmp.Diff([]node.File{{Path: "/etc/sysctl.d/50-a.conf", Mode: 0o644, Content: "vm.swappiness=1\n"}}, box.Files); d != "" || len(pi.Files) != 0 {
		t.Error(d)
	}
	if home, err := f.Config("home-pi"); err != nil || len(home.K3s.Config["kubelet-arg"].([]any)) != 1 || home.K3s.Config["kubelet-arg"].([]any)[0] != "max-pods=110" {
		t.Errorf("home-pi has flags of another node: %v", err)
	}
	if text := Masked(box).Files[0].Content.Reveal(); text != mask {
		t.Errorf("shown: %s", text)
	}
}

// TestReferences: secrets come from a variable, a file or an age file, and
// what is missing is named without any of them.
func TestReferences(t *testing.T) {
	dir := t.TempDir()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	var sealed bytes.Buffer
	w, err := age.Encrypt(&sealed, id.Recipient())
	if err != nil {
		t.Fatal(err)
	}
	w.Write([]byte("from age\n"))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"plain": "from file\n", "empty": "\n", "x.age": sealed.String(), "id": id.String(), "long": strings.Repeat("x", maxSecret+1)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("FLEET_TEST", "from env")
	for want, r := range map[string]Ref{"from file": {File: "plain"}, "from env": {Env: "FLEET_TEST"}} {
		if got, err := r.read(dir); err != nil || got.Reveal() != want {
			t.Errorf("%s: %v, %v", r, err, got.Reveal() == want)
		}
	}
	if _, err := (Ref{Age: "x.age"}).read(dir); err == nil || !strings.Contains(err.Error(), AgeIdentityEnv) {
		t.Errorf("without an identity: %v", err)
	}
	t.Setenv(AgeIdentityEnv, filepath.Join(dir, "id"))
	if got, err := (Ref{Age: "x.age"}).read(dir); err != nil || got.Reveal() != "from age" {
		t.Errorf("age: %v", err)
	}
	for want, r := range map[string]Ref{"not set": {Env: "FLEET_TEST_2"}, "no such file": {File: "none"}, "is empty": {File: "empty"}, "longer than": {File: "long"}, "open": {Age: "plain"}} {
		if _, err := r.read(dir); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", r, err, want)
		}
	}
}

func TestDuration(t *testing.T) {
	f := load(t, strings.Replace(elsewhere(), "14d", "36h", 1))
	if d := time.Duration(f.Cluster.Headscale.KeyExpiry); d != 36*time.Hour {
		t.Error(d)
	}
}

func FuzzLoad(f *testing.F) {
	f.Add(Example)
	f.Fuzz(func(t *testing.T, data []byte) {
		if fleet, err := Load("fleet.yaml", data, known); err == nil && len(fleet.Servers()) == 0 {
			t.Error("a fleet without a server")
		}
	})
}
