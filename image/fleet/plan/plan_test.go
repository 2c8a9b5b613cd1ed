package plan

import (
	"bytes"
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"gopkg.in/yaml.v3"

	"github.com/going-mobile/imagebuilder/boards"
	"github.com/going-mobile/imagebuilder/image/board"
	"github.com/going-mobile/imagebuilder/image/fleet"
	"github.com/going-mobile/imagebuilder/overlays"
)

func planned(t *testing.T, changes ...string) *Plan {
	t.Helper()
	for i := 0; i < len(changes); i += 2 {
		if !strings.Contains(string(fleet.Example), changes[i]) {
			t.Fatalf("no %q in the example", changes[i])
		}
	}
	text := strings.NewReplacer(changes...).Replace(string(fleet.Example))
	return plannedText(t, strings.NewReplacer("\n  k3s:", "\n  ssh: "+login+"\n  k3s:", "control-login.key} #", "control-login.key}\n      backup: {s3: "+bucket+"} #").Replace(text))
}

// login lets somebody in.
const login = "{authorizedKeys: [ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl me]}"

func plannedText(t *testing.T, text string) *Plan {
	t.Helper()
	f, err := fleet.Load("fleet.yaml", []byte(text), boards.FS)
	if err != nil {
		t.Fatal(err)
	}
	p, err := Make(f, overlays.FS)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// withoutVPS is the example with a Headscale somewhere else.
var withoutVPS = []string{"  vps: {", "  # {", "  cloud: {}", "",
	"    server: # of the VPS\n      hostKey: {file: secrets/control-host.key} # of the VPS\n      loginKey: {file: secrets/control-login.key} # of the VPS\n", ""}

func codes(p *Plan) []string {
	var out []string
	for _, w := range p.Warnings {
		out = append(out, w.Code)
	}
	return out
}

const bucket = "{endpoint: 'https://s3.example.net', region: eu, bucket: b, accessKey: A, secretKey: {env: NONE}}"

// named gives the example names of applications.
const named = "  names: {hosts: [code, nextcloud]}\nsites:\n"

// TestWarnings: each problem is reported in the fleet that has it, and only there.
func TestWarnings(t *testing.T) {
	const agents = "  cabin-box:"
	for _, c := range []struct {
		name    string
		changes []string
		want    []string
	}{
		{"the example", nil, []string{"etcd-wan", "etcd-card", "etcd-card"}},
		{"a server on a Pi 3", []string{"home-pi: {board: rpi4", "home-pi: {board: rpi3"}, []string{"etcd-wan", "memory", "etcd-card", "etcd-card"}},
		{"a server on a Pi 4 with 1 GB", []string{"home-pi: {", "home-pi: {machine: {cpus: 4, memoryGiB: 1}, "}, []string{"etcd-wan", "memory", "etcd-card", "etcd-card"}},
		{"a server on a Pi 4 with 2 GB", []string{"home-pi: {", "home-pi: {machine: {cpus: 4, memoryGiB: 2}, "}, []string{"etcd-wan", "etcd-card", "etcd-card"}},
		{"an agent on a Pi 3", []string{"cabin-box: {board: optiplex-7050", "cabin-box: {board: rpi3"}, []string{"etcd-wan", "etcd-card", "etcd-card", "card-life"}},
		{"without its VPS", withoutVPS, []string{"quorum", "etcd-wan", "etcd-card", "etcd-card"}},
		{"one server", append([]string{"site: cabin, role: server", "site: cabin, role: agent"}, withoutVPS...), []string{"etcd-card", "card-life"}},
		{"four voters", []string{agents, "  a: {board: generic-arm64, site: home, role: witness}\n" + agents},
			[]string{"quorum", "etcd-wan", "etcd-card", "etcd-card"}},
		{"a disk of its own", []string{"  cabin-pi: {", "  cabin-pi: {dataDisk: {model: '*T7*'}, "}, []string{"etcd-wan", "etcd-card"}},
		{"a stick for a Pi", []string{"  cabin-pi: {", "  cabin-pi: {install: {disk: {only: true}}, "}, []string{"etcd-wan", "etcd-card", "etcd-card", "install-pi"}},
		{"a stick for a PC", []string{"  cabin-box: {", "  cabin-box: {install: {disk: {only: true}, wipe: true}, "}, []string{"etcd-wan", "etcd-card", "etcd-card"}},
		{"a stick that finds two disks", []string{"  cabin-box: {", "  cabin-box: {longhorn: {disk: {size: 2TB}}, install: {disk: {only: true}}, "}, []string{"etcd-wan", "etcd-card", "etcd-card", "install-only"}},
		{"a stick that knows its disk", []string{"  cabin-box: {", "  cabin-box: {dataDisk: {size: 2TB}, install: {disk: {serial: S1}}, "}, []string{"etcd-wan", "etcd-card", "etcd-card"}},
		{"a stick that replaces data", []string{"  cabin-box: {", "  cabin-box: {install: {disk: {serial: S1}, replaceData: true}, "}, []string{"etcd-wan", "etcd-card", "etcd-card", "install-replaces"}},
		{"plain http", append([]string{"https://headscale", "http://headscale"}, withoutVPS...), []string{"quorum", "etcd-wan", "etcd-card", "etcd-card", "plain-http"}},
		{"plain http in a LAN", append([]string{"https://headscale.example.net", "http://192.168.1.5:8080"}, withoutVPS...), []string{"quorum", "etcd-wan", "etcd-card", "etcd-card"}},
		{"pods' network", []string{"192.168.8.0/24", "10.42.7.0/24"}, []string{"etcd-wan", "etcd-card", "etcd-card", "overlap"}},
		{"pods' network moved", []string{"192.168.8.0/24", "10.42.7.0/24", "{secrets-encryption: true}", "{cluster-cidr: 172.20.0.0/16}"}, []string{"etcd-wan", "etcd-card", "etcd-card"}},
		{"pods' networks moved", []string{"192.168.8.0/24", "10.42.7.0/24", "{secrets-encryption: true}", `{cluster-cidr: "10.142.0.0/16,fd00:42::/56"}`}, []string{"etcd-wan", "etcd-card", "etcd-card"}},
		{"pods' networks as a list", []string{"192.168.8.0/24", "10.142.7.0/24", "{secrets-encryption: true}", `{cluster-cidr: ["10.142.0.0/16", "fd00:42::/56"]}`}, []string{"etcd-wan", "etcd-card", "etcd-card", "overlap"}},
		{"pods' second network", []string{"192.168.8.0/24", "'fd00:42:0:7::/64'", "{secrets-encryption: true}", `{cluster-cidr: "10.142.0.0/16,fd00:42::/56"}`}, []string{"etcd-wan", "etcd-card", "etcd-card", "overlap"}},
		{"the tailnet's", []string{"192.168.8.0/24", "100.64.0.0/24"}, []string{"etcd-wan", "etcd-card", "etcd-card", "overlap"}},
		{"services in the tailnet", []string{"{secrets-encryption: true}", "{service-cidr: 100.100.0.0/16}"}, []string{"etcd-wan", "etcd-card", "etcd-card", "overlap"}},
		{"short keys", []string{"14d", "2d"}, []string{"etcd-wan", "etcd-card", "etcd-card", "key-expiry"}},
		{"one place", []string{"site: cabin", "site: home", "  cabin: {timezone: Europe/Lisbon, lan: [192.168.8.0/24]}\n", "", "  cloud: {}", "", "site: cloud", "site: home"}, []string{"etcd-card", "etcd-card", "single-site"}},
		{"an empty place", []string{"  cabin: {", "  shed: {}\n  cabin: {"}, []string{"etcd-wan", "etcd-card", "etcd-card", "empty-site"}},
		{"no agent there", []string{"optiplex-7050, site: cabin", "optiplex-7050, site: home"}, []string{"etcd-wan", "etcd-card", "etcd-card", "no-agents"}},
		{"no agent there, a server that works", []string{"optiplex-7050, site: cabin", "optiplex-7050, site: home", "    config:", "    workOnServers: true\n    config:"}, []string{"etcd-wan", "etcd-card", "etcd-card"}},
		{"no agent there, one that works without volumes", []string{"optiplex-7050, site: cabin", "optiplex-7050, site: home", "    config:", "    workOnServers: true\n    config:", "sites:\n", "  longhorn: {replicas: 1}\nsites:\n"}, []string{"etcd-wan", "etcd-card", "etcd-card", "no-agents"}},
		{"an image of today", []string{"version: 1\n", "version: 1\nimages: {rpi4: [\"a/b:latest\", \"c/d:1\"], optiplex-7050: [\"a/b:latest\"]}\n"}, []string{"etcd-wan", "etcd-card", "etcd-card", "latest"}},
		{"snapshots that all can read", []string{"config: {secrets-encryption: true}", "backup: " + bucket}, []string{"etcd-wan", "etcd-card", "etcd-card", "plain-snapshots"}},
		{"snapshots", []string{"    config:", "    backup: " + bucket + "\n    config:"}, []string{"etcd-wan", "etcd-card", "etcd-card"}},
		{"names of applications", []string{"sites:\n", named}, []string{"etcd-wan", "etcd-card", "etcd-card"}},
		{"names that somebody else serves", append([]string{"sites:\n", named}, withoutVPS...), []string{"quorum", "etcd-wan", "etcd-card", "etcd-card", "names"}},
		{"names where nobody listens", []string{"sites:\n", named, "{secrets-encryption: true}", "{secrets-encryption: true, disable: [servicelb]}"}, []string{"etcd-wan", "etcd-card", "etcd-card", "names"}},
		{"a proxy for pods that need none", []string{"  cabin: {", "  cabin: {network: {proxy: {env: NONE}}, "}, []string{"etcd-wan", "etcd-card", "etcd-card"}},
		{"a proxy between pods and the bucket", []string{"  cabin: {", "  cabin: {network: {proxy: {env: NONE}}, ", "sites:\n", "  longhorn: {backup: " + bucket + "}\nsites:\n"}, []string{"etcd-wan", "etcd-card", "etcd-card", "proxy"}},
		{"a proxy between pods and Git", []string{"cabin-box: {board", "cabin-box: {network: {proxy: {env: NONE}}, board", "sites:\n", "  gitops: {repo: 'https://git.example.net/cluster.git', path: apps}\nsites:\n"}, []string{"etcd-wan", "etcd-card", "etcd-card", "proxy"}},
		{"a proxy where no agent is", []string{"cabin-pi: {board", "cabin-pi: {network: {proxy: {env: NONE}}, board", "sites:\n", "  gitops: {repo: 'https://git.example.net/cluster.git', path: apps}\nsites:\n"}, []string{"etcd-wan", "etcd-card", "etcd-card"}},
		{"encrypted, with one who can unlock", []string{"sites:\n", "  storage: {encrypt: true}\nsites:\n"}, []string{"etcd-wan", "etcd-card", "etcd-card", "unlock"}},
		{"encrypted, with two", []string{"home-box: {board", "home-box: {storage: {encrypt: true}, board"}, []string{"etcd-wan", "etcd-card", "etcd-card"}},
		{"Headscale's own names", []string{agents, "  home-box-1:"}, []string{"etcd-wan", "etcd-card", "etcd-card", "lookalike"}},
	} {
		p := planned(t, c.changes...)
		if got := codes(p); !slices.Equal(got, c.want) {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
		for _, w := range p.Warnings {
			if w.Summary == "" || w.Remedy == "" {
				t.Errorf("%s: %+v says too little", c.name, w)
			}
		}
	}
}

// TestNoPiIsSentToAnotherDisk: the plan does not advise booting from a disk that no board of
// ours was seen to boot from.
func TestNoPiIsSentToAnotherDisk(t *testing.T) {
	for _, name := range []string{"rpi3", "rpi4", "rpi5"} {
		b, err := board.Load(name, boards.FS)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(strings.Join(b.Untested, "\n"), "Starting from") {
			t.Fatalf("%s starts from other disks now: the plan may say so", name)
		}
		p := planned(t, "home-pi: {board: rpi4", "home-pi: {board: "+name, "  cabin-pi: {board: rpi4", "  cabin-pi: {install: {disk: {only: true}}, board: "+name, "cabin-box: {board: optiplex-7050", "cabin-box: {board: "+name)
		told := 0
		for _, w := range p.Warnings {
			if w.Code != "etcd-card" && w.Code != "card-life" && w.Code != "install-pi" {
				continue
			}
			told++
			if !strings.Contains(w.Remedy, "dataDisk") || !strings.Contains(w.Remedy, "card") {
				t.Errorf("%s, %s: %s", name, w.Code, w.Remedy)
			}
		}
		if told != 4 {
			t.Errorf("%s: %d warnings, want 4", name, told)
		}
	}
}

// TestNoLogin: nodes that nobody logs in to are named, those with a key are not.
func TestNoLogin(t *testing.T) {
	if p := planned(t); slices.Contains(codes(p), "no-login") {
		t.Error("told of nodes that somebody logs in to")
	}
	p := plannedText(t, strings.Replace(string(fleet.Example), "  home-box: {", "  home-box: {ssh: "+login+", ", 1))
	at := slices.IndexFunc(p.Warnings, func(w Warning) bool { return w.Code == "no-login" })
	if at < 0 || !strings.Contains(p.Warnings[at].Summary, "log in to home-pi, cabin-pi, cabin-box, vps:") {
		t.Errorf("%+v", p.Warnings)
	}
}

// TestHeadscaleCopy: in the unchanged example, the only copy is on the database's disk.
func TestHeadscaleCopy(t *testing.T) {
	if p := planned(t); slices.Contains(codes(p), "headscale-copy") {
		t.Error("told of a Headscale with a bucket")
	}
	p := plannedText(t, string(fleet.Example))
	at := slices.IndexFunc(p.Warnings, func(w Warning) bool { return w.Code == "headscale-copy" })
	if at < 0 || !strings.Contains(p.Warnings[at].Summary, "one disk of vps") {
		t.Errorf("%+v", p.Warnings)
	}
	if p := plannedText(t, strings.NewReplacer(withoutVPS...).Replace(string(fleet.Example))); slices.Contains(codes(p), "headscale-copy") {
		t.Error("told of somebody else's Headscale")
	}
}

func TestText(t *testing.T) {
	var b bytes.Buffer
	if err := planned(t).Text(&b); err != nil {
		t.Fatal(err)
	}
	want := `going-mobile, joined over https://headscale.example.net

cabin · Europe/Lisbon · 192.168.8.0/24
├─ cabin-pi    server   Raspberry Pi 4 Model B, Pi 400, Compute Module 4   joins home-pi
└─ cabin-box   agent    Dell OptiPlex 7050 (Intel Kaby Lake, I219-LM)      joins home-pi or cabin-pi

cloud
└─ vps   witness   Any 64-bit PC or virtual machine with UEFI or BIOS   runs Headscale, votes with home-pi and cabin-pi

home · Europe/Lisbon · 192.168.1.0/24
├─ home-pi    server   Raspberry Pi 4 Model B, Pi 400, Compute Module 4   creates the cluster, unless cabin-pi has one
└─ home-box   agent    Dell OptiPlex 7050 (Intel Kaby Lake, I219-LM)      joins home-pi or cabin-pi

! The servers' data store spans several places`
	if got := b.String()[:min(b.Len(), len(want))]; got != want {
		t.Error(cmp.Diff(want, got))
	}
}

// TestNames: the plan shows the names and the nodes to which they resolve; without names it
// shows nothing.
func TestNames(t *testing.T) {
	var b bytes.Buffer
	if err := planned(t, "sites:\n", named).Text(&b); err != nil {
		t.Fatal(err)
	}
	want := `
names in the tailnet, which lead to home-box, cabin-box
   code.going-mobile.example.net
   nextcloud.going-mobile.example.net

! `
	if !strings.Contains(b.String(), want) {
		t.Errorf("%s\nlacks%s", b.String(), want)
	}
	if p := planned(t); p.Names == nil || len(p.Names) > 0 || len(p.LeadTo) > 0 {
		t.Errorf("%+v", p)
	}
}

// TestCarriers: the container images in a disk image come from fleet, board and overlays;
// the one with Headscale has its board's only.
func TestCarriers(t *testing.T) {
	text := strings.Replace(string(fleet.Example), "version: 1\n", "version: 1\nimages: {rpi4: [\"a/b:1\"], optiplex-7050: [\"a/b:2\"]}\n", 1)
	builtin := fstest.MapFS{}
	for _, name := range []string{"rpi4", "generic-amd64", "optiplex-7050"} {
		builtin[name+".yaml"] = &fstest.MapFile{Data: withOwn(t, name)}
	}
	f, err := fleet.Load("fleet.yaml", []byte(text), builtin)
	if err != nil {
		t.Fatal(err)
	}
	over := fstest.MapFS{}
	for name, images := range map[string]string{"base": "[]", "headscale": "[\"h/s@sha256:" + strings.Repeat("0", 64) + "\"]"} {
		over[name+"/overlay.yaml"] = &fstest.MapFile{Data: []byte("version: 1\ndescription: x\nimages: " + images + "\n")}
	}
	p, err := Make(f, over)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := p.Text(&b); err != nil {
		t.Fatal(err)
	}
	want := `
container images on home-pi, cabin-pi (rpi4)
   docker.io/a/b:1
   docker.io/own/rpi4:3

container images on home-box, cabin-box (optiplex-7050)
   docker.io/a/b:2

container images on vps (generic-amd64 with Headscale)
   docker.io/h/s:sha256-000000000000@sha256:` + strings.Repeat("0", 64) + `
   docker.io/own/generic-amd64:3

! `
	if !strings.Contains(b.String(), want) {
		t.Errorf("%s\nlacks%s", b.String(), want)
	}
	if p := planned(t); p.Carriers == nil || len(p.Carriers) != 0 {
		t.Errorf("%+v", p.Carriers)
	}
	over["base/overlay.yaml"].Data = []byte("version: 1\ndescription: x\nimages: [\"a/b:2@sha256:" + strings.Repeat("0", 64) + "\"]\n")
	f.Images["optiplex-7050"] = []string{"a/b:2@sha256:" + strings.Repeat("1", 64)}
	if _, err := Make(f, over); err == nil || !strings.Contains(err.Error(), "images of board optiplex-7050: docker.io/a/b:2 is wanted as") {
		t.Error(err)
	}
}

// withOwn is a board with the overlay base alone, and, but for one, an image of its own.
func withOwn(t *testing.T, name string) []byte {
	t.Helper()
	text, err := boards.FS.ReadFile(name + ".yaml")
	if err != nil {
		t.Fatal(err)
	}
	var b map[string]any
	if err := yaml.Unmarshal(text, &b); err != nil {
		t.Fatal(err)
	}
	if b["overlays"] = []string{"base"}; name != "optiplex-7050" {
		b["images"] = []string{"own/" + name + ":3"}
	}
	text, err = yaml.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

var update = flag.Bool("update", false, "write the README's picture")

// TestREADME: the picture there is what this package draws.
func TestREADME(t *testing.T) {
	p := planned(t)
	var b bytes.Buffer
	if err := p.SVG(&b); err != nil {
		t.Fatal(err)
	}
	const name = "../../../.github/plan.svg"
	if *update {
		if err := os.WriteFile(name, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if have, err := os.ReadFile(name); err != nil || !bytes.Equal(have, b.Bytes()) {
		t.Errorf("%s is old (%v); run: go test ./image/fleet/plan -update", name, err)
	}
}

// TestSVG: well-formed, every node in it, nothing from elsewhere.
func TestSVG(t *testing.T) {
	p := planned(t, "home-box", "home-b0x")
	p.Sites[0].LAN = []string{`<script>"&`}
	var b bytes.Buffer
	if err := p.SVG(&b); err != nil {
		t.Fatal(err)
	}
	for d := xml.NewDecoder(bytes.NewReader(b.Bytes())); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range []string{"home-pi", "cabin-pi", "home-b0x", "cabin-box", "first server", "prefers-color-scheme: dark"} {
		if !strings.Contains(b.String(), s) {
			t.Errorf("%s is missing", s)
		}
	}
	for _, s := range []string{"<script", "href", "@import", "url("} {
		if strings.Contains(b.String(), s) {
			t.Errorf("%s is in it", s)
		}
	}
}
