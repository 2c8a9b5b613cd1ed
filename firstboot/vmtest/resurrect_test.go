//go:build vm && linux

package vmtest

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"golang.org/x/crypto/ssh"

	"github.com/going-mobile/imagebuilder/image/seed"
	"github.com/going-mobile/imagebuilder/image/systembackup/systembackuptest"
)

const mortalYAML = `version: 1
cluster:
  name: shed
  ssh: {authorizedKeys: ['%[4]s']}
  headscale:
    url: https://%[1]s:%[2]d
    apiKey: {file: secrets/headscale.key}
    ca: {file: secrets/ca.crt}
    server:
      cert: {file: secrets/tls.crt}
      key: {file: secrets/tls.key}
      hostKey: {file: secrets/control-host.key}
      loginKey: {file: secrets/control-login.key}
      backup: {s3: {endpoint: %[3]s, region: eu, bucket: volumes, prefix: hs/, accessKey: a, secretKey: {file: secrets/s3.key}}}
  k3s: {token: {file: secrets/server.token}, agentToken: {file: secrets/agent.token}, ca: {file: secrets/cluster-ca.yaml}, init: home-pi}
  longhorn: {backup: {endpoint: %[3]s, region: eu, bucket: volumes, prefix: cluster/, accessKey: a, secretKey: {file: secrets/s3.key}}}
  gitops: {repo: https://git.invalid/fleet.git}
  secrets: [{namespace: cloud, name: db, data: {password: {file: secrets/s3.key}}}]
sites:
  cloud: {network: {ntp: [%[1]s]}}
  home: {network: {ntp: [%[1]s]}}
nodes:
  vps: {board: generic-amd64, site: cloud, role: [control, witness]}
  home-pi: {board: generic-amd64, site: home, role: server}
  box: {board: generic-amd64, site: home, role: agent}
`

// mortal is a fleet whose machines all burn. The bucket and the owner's files at home do not.
type mortal struct {
	*ownFleet
	bucket *s3mem.Backend
	proxy  string
	signer ssh.Signer
	images map[string]string
}

const systemBackup = "weekly-2"

func newMortal(t *testing.T) *mortal {
	t.Helper()
	f := &mortal{ownFleet: newOwnFleet(t, "generic-amd64"), bucket: s3mem.New(), signer: newSigner(t)}
	s3 := httptest.NewServer(gofakes3.New(f.bucket).Server())
	t.Cleanup(s3.Close)
	f.proxy = asGuestsSee(t)
	f.write("secrets/s3.key", "s3-secret-77b0c4\n")
	_, port, _ := net.SplitHostPort(s3.Listener.Addr().String())
	login := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(f.signer.PublicKey())))
	f.write("fleet.yaml", fmt.Sprintf(mortalYAML, hostAddress, f.port, "http://"+net.JoinHostPort(hostAddress, port), login))
	f.backedUp()
	f.images = map[string]string{"vps": controlImage(t, "generic-amd64"), "home-pi": f.serverImage()}
	return f
}

// backedUp puts into the bucket what Longhorn would have.
func (f *mortal) backedUp() {
	f.t.Helper()
	files := map[string][]byte{}
	systembackuptest.Add(files, "cluster/backupstore/system-backups/", seed.LonghornVersion(), systemBackup, "2026-11-22T05:11:00Z", "cloud/data")
	if err := f.bucket.CreateBucket("volumes"); err != nil {
		f.t.Fatal(err)
	}
	for name, data := range files {
		if _, err := f.bucket.PutObject("volumes", name, nil, strings.NewReader(string(data)), int64(len(data)), nil); err != nil {
			f.t.Fatal(err)
		}
	}
}

// serverImage builds an image with the charts that the cluster begins with.
func (f *mortal) serverImage() string {
	f.t.Helper()
	args := append(charts(f.t, f.t.TempDir()), "--component", "k3s="+k3s(f.t, "amd64"))
	file := filepath.Join(scratch, "mortal.img")
	build(f.t, "generic-amd64", file, args...)
	return file
}

// asGuestsSee is a proxy through which programs at home reach this computer by the address that
// QEMU's guests use for it.
func asGuestsSee(t *testing.T) string {
	t.Helper()
	here := func(address string) string { return strings.Replace(address, hostAddress+":", "127.0.0.1:", 1) }
	plain := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(&url.URL{Scheme: "http", Host: here(r.In.URL.Host)})
	}}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect {
			plain.ServeHTTP(w, r)
			return
		}
		there, err := net.Dial("tcp", here(r.Host))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer there.Close()
		client, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer client.Close()
		_, _ = io.WriteString(client, "HTTP/1.1 200 OK\r\n\r\n")
		go func() { _, _ = io.Copy(there, client) }()
		_, _ = io.Copy(client, there)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// home runs the program at home, and returns its output and error.
func (f *mortal) home(args ...string) (string, error) {
	cmd := exec.CommandContext(f.t.Context(), builder, append(args, "--fleet", f.dir+"/fleet.yaml")...)
	cmd.Env = append(os.Environ(), "HTTP_PROXY="+f.proxy, "HTTPS_PROXY="+f.proxy, "NO_PROXY=")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (f *mortal) does(args ...string) string {
	f.t.Helper()
	out, err := f.home(args...)
	if err != nil {
		f.t.Fatalf("%v: %v\n%s", args, err, out)
	}
	return out
}

// card returns a new file, to which a command has written a node's card.
func (f *mortal) card(name string, write ...string) string {
	f.t.Helper()
	file := filepath.Join(f.t.TempDir(), name+".card")
	f.does(append(write, name+"="+file, "--image", f.images[name], "--yes", "--quiet")...)
	return file
}

// starts puts a card into a new computer.
func (f *mortal) starts(name, card string) *machine {
	f.t.Helper()
	m := newMachine(f.t, "generic-amd64", card)
	m.signer = f.signer
	if name == "vps" {
		m.signer = f.controlLogin()
		m.config.Forward = map[int]int{f.port: f.port}
	}
	m.powerOn()
	return m
}

// TestResurrect: the house and the VPS burn. From the fleet's directory and a bucket come back: the
// tailnet with the nodes that were elsewhere, the cluster with its authority and secrets, and its
// volumes before anything that would create empty ones.
func TestResurrect(t *testing.T) {
	f := newMortal(t)
	vps := f.starts("vps", f.card("vps", "flash", "--node"))
	vps.seeProblem("control-waits")
	f.init(vps)
	vps.seeProblem("waiting-server")
	pi := f.starts("home-pi", f.card("home-pi", "flash", "--node"))
	pi.seeJoined()
	vps.seeJoined()
	vps.sh(`headscale debug create-node --user fleet --name phone --key hskey-authreq-000000000000000000000001 && headscale auth register --user fleet --auth-id hskey-authreq-000000000000000000000001`)
	vps.sh("systemctl start headscale-backup")
	before, authority := f.nodes(), pi.authority()
	if before["phone"].ID == "" || before["home-pi"].ID == "" {
		t.Fatalf("listed are %+v", before)
	}
	pi.has("Application argocd/root", "Secret cloud/db")
	pi.Kill()
	vps.Kill()

	if plan := f.does("resurrect", "--plan"); !strings.Contains(plan, "imagebuilder flash --node vps") || !strings.Contains(plan, "people's devices keep their addresses") || !strings.Contains(plan, systemBackup) {
		t.Errorf("the plan is\n%s", plan)
	}
	if out, err := f.home("resurrect", "home-pi="+t.TempDir()+"/card", "--image", f.images["home-pi"], "--yes"); err == nil || !strings.Contains(out, "make it first") {
		t.Errorf("without Headscale: %v\n%s", err, out)
	}
	vps = f.starts("vps", f.card("vps", "flash", "--node"))
	vps.seeProblem("control-waits")
	if got := f.init(vps); !strings.Contains(got, "is good") {
		t.Errorf("the API key of before is not: %s", got)
	}
	vps.seeProblem("waiting-server")
	if after := f.nodes(); after["phone"].ID != before["phone"].ID || !slices.Equal(after["phone"].Addresses, before["phone"].Addresses) {
		t.Errorf("the phone is %+v, was %+v", after["phone"], before["phone"])
	}

	pi = f.starts("home-pi", f.card("home-pi", "resurrect", "--ssh", fmt.Sprintf("127.0.0.1:%d", vps.config.SSHPort)))
	pi.bringsVolumesBack()
	pi.seeJoined()
	vps.seeJoined()
	pi.has("Application argocd/root", "Secret cloud/db")
	if got := pi.sh("k3s kubectl get --raw /api/v1/persistentvolumes"); !strings.Contains(got, "unclaimed-pvc-old") {
		t.Errorf("what nobody claimed is anybody's: %s", got)
	}
	if got := pi.authority(); got != authority {
		t.Errorf("the cluster's authority is %s, was %s: kubeconfigs are void", got, authority)
	}
	if after := f.nodes(); !after["home-pi"].Online || after["home-pi"].ID == before["home-pi"].ID || len(after) != len(before) {
		t.Errorf("listed are %+v, were %+v", after, before)
	}
}

// authority returns a digest of the certificate of the cluster's server authority.
func (m *machine) authority() string {
	m.t.Helper()
	return m.sh("sha256sum </var/lib/rancher/k3s/server/tls/server-ca.crt")
}

// objects are those of the cluster's API.
func (m *machine) objects() (all []string) {
	m.t.Helper()
	if err := json.Unmarshal([]byte(m.sh("k3s kubectl get --raw /v1-standin/objects")), &all); err != nil {
		m.t.Fatal(err)
	}
	return all
}

// has waits for objects: k3s applies manifests one after the other.
func (m *machine) has(want ...string) {
	m.t.Helper()
	for end := time.Now().Add(stepLimit); ; time.Sleep(2 * time.Second) {
		got := m.objects()
		missing := slices.DeleteFunc(slices.Clone(want), func(w string) bool { return slices.Contains(got, w) })
		if len(missing) == 0 {
			return
		}
		if time.Now().After(end) {
			m.t.Fatalf("the cluster lacks %q, has %q", missing, got)
		}
	}
}

// longhorn creates an object as Longhorn would have created it, or sets its status.
func (m *machine) longhorn(kind, name, content string) {
	m.t.Helper()
	m.sh(`echo '{"apiVersion":"longhorn.io/v1beta2","kind":"%s","metadata":{"namespace":"longhorn-system","name":"%s"},%s}' | k3s kubectl create --raw /v1-standin/objects -f -`, kind, name, content)
}

// bringsVolumesBack acts as Longhorn. What would create empty volumes waits until it is done.
func (m *machine) bringsVolumesBack() {
	m.t.Helper()
	m.seeProblem("restore-waiting")
	m.longhorn("SystemBackup", systemBackup, `"status":{"state":"Ready"}`)
	m.longhorn("Backup", "backup-data", `"status":{"state":"Completed"}`)
	m.longhorn("Node", "home-pi", `"spec":{"disks":{"d":{"allowScheduling":true}}}`)
	m.seeProblem("restore-running")
	all := m.objects()
	at := slices.IndexFunc(all, func(o string) bool { return strings.HasPrefix(o, "SystemRestore longhorn-system/") })
	if at < 0 || !slices.Contains(all, "Namespace cloud") || slices.Contains(all, "Application argocd/root") {
		m.t.Fatalf("while volumes come back there are %q", all)
	}
	_, restore, _ := strings.Cut(all[at], "/")
	m.sh(`echo '{"apiVersion":"v1","kind":"PersistentVolumeClaim","metadata":{"namespace":"cloud","name":"data"},"status":{"phase":"Bound"}}' | k3s kubectl create --raw /v1-standin/objects -f -`)
	m.sh(`echo '{"apiVersion":"v1","kind":"PersistentVolume","metadata":{"name":"pvc-old","resourceVersion":"1"},"spec":{"csi":{"driver":"driver.longhorn.io"}},"status":{"phase":"Available"}}' | k3s kubectl create --raw /v1-standin/objects -f -`)
	m.longhorn("SystemRestore", restore, fmt.Sprintf(`"spec":{"systemBackup":%q},"status":{"state":"Completed"}`, systemBackup))
}
