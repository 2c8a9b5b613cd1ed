package fleet

import (
	"crypto/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/node"
)

func rehearsed(t *testing.T, text string) *Fleet {
	t.Helper()
	r := Rehearsal{Boards: map[string]string{"home-pi": "generic-amd64", RehearsedControl: "generic-amd64"}}
	f, err := r.Rehearse("fleet.yaml", []byte(text), filepath.Join(t.TempDir(), "lab"), time.Now(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// TestRehearse: the copy is a fleet that works, with nothing of the real one's
// secrets, hardware and places in it.
func TestRehearse(t *testing.T) {
	text := strings.NewReplacer(
		"cabin: {", "cabin: {network: {wifi: {ssid: cabin, country: PT, psk: {file: secrets/wifi}}}, ",
		"keyExpiry: 14d", "keyExpiry: 14d\n    ca: {env: REAL_CA}",
		"loginKey: {file: secrets/control-login.key}", "loginKey: {env: REAL_LOGIN}\n      backup: {s3: {endpoint: https://s3.example.net, region: eu, bucket: b, accessKey: A, secretKey: {env: REAL_S3}}}",
		"home-box: {", "home-box: {network: {ntp: [192.168.1.2]}, ssh: {lan: false}, longhorn: {disk: /dev/disk/by-id/ata-REAL}, files: [{path: /etc/sysctl.d/50-a.conf, content: {env: REAL_FILE}}], k3s: {config: {kubelet-arg: max-pods=50, image-service-endpoint: REAL}}, ",
		"version: 1\n", "version: 1\nboards: REAL\noverlays: REAL\n",
		"home-pi: {", "home-pi: {dataDisk: {model: REAL}, install: {disk: {serial: REAL}}, k3s: {config: {etcd-s3: true, etcd-s3-bucket: REAL, etcd-s3-secret-key: REAL, tls-san: home.example.net}}, ",
		"{secrets-encryption: true}", "{datastore-endpoint: 'postgres://u:REAL@db', datastore-certfile: /REAL, etcd-s3-access-key: REAL, cluster-cidr: 172.20.0.0/16, secrets-encryption: true, secrets-encryption-provider: secretbox}",
		"sites:\n", "  longhorn: {backup: {endpoint: 'https://REAL', region: REAL, bucket: REAL, accessKey: REAL, secretKey: {env: REAL_S3}}}\n  gitops: {repo: 'ssh://git@REAL/x.git', deployKey: {env: REAL_KEY}, knownHosts: {env: REAL_HOSTS}}\n  secrets: [{namespace: cloud, name: db, data: {password: {env: REAL_PASSWORD}, b: {file: REAL}}}]\nsites:\n",
		"  k3s:\n", "  ssh: {authorizedKeys: [ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl me]}\n  k3s:\n",
	).Replace(string(Example))
	f := rehearsed(t, text)
	for _, name := range f.Nodes.Names {
		c, err := f.Config(name)
		if err != nil {
			t.Fatal(err)
		}
		data, err := node.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := node.Load("node.yaml", data); err != nil {
			t.Errorf("%s: the node refuses its answer: %v", name, err)
		}
		if len(c.SSH.AuthorizedKeys) == 0 || strings.HasSuffix(c.SSH.AuthorizedKeys[0], " me") || c.SSH.LAN != nil || c.Network.WiFi != nil || len(c.Network.NTP) != 0 {
			t.Errorf("%s: %+v, %+v", name, c.SSH, c.Network)
		}
		if c.Headscale.URL != ExampleHeadscale || c.Headscale.CA == "" || c.OwnerKey == "" {
			t.Errorf("%s: %+v", name, c.Headscale)
		}
		if c.Control != nil && (name != "vps" || c.Control.Cert == "" || c.Control.Backup.S3 != nil) {
			t.Errorf("%s: %+v", name, c.Control)
		}
	}
	if c, _ := f.Config("home-pi"); c.Board != "generic-amd64" {
		t.Errorf("home-pi is a %s", c.Board)
	}
	if c, _ := f.Config("home-pi"); len(c.K3s.Seed.Secrets) != 1 || c.K3s.Seed.Secrets[0].String() != "cloud/db" || len(c.K3s.Seed.Secrets[0].Data["b"]) < 30 {
		t.Errorf("the copy's cluster has the secrets %v", c.K3s.Seed.Secrets)
	}
	if c, _ := f.Config("cabin-pi"); c.Board != "rpi4" {
		t.Errorf("cabin-pi is a %s", c.Board)
	}
	if c, _ := f.Config("home-pi"); len(c.K3s.Config) != 5 || // with disable, of Longhorn
		c.K3s.Config["tls-san"] == nil || c.K3s.Config["cluster-cidr"] == nil || c.K3s.Config["secrets-encryption"] != true || c.K3s.Config["secrets-encryption-provider"] != "secretbox" {
		t.Errorf("home-pi has the flags %v", c.K3s.Config)
	}
	if c, _ := f.Config("home-box"); len(c.K3s.Config) != 1 || len(c.Files) != 0 {
		t.Errorf("home-box has the flags %v, files %v", c.K3s.Config, c.Files)
	}
	written, err := os.ReadFile(filepath.Join(f.Dir(), FileName))
	if err != nil || strings.Contains(string(written), "REAL") {
		t.Errorf("%v:\n%s", err, written)
	}
	if err := f.CanKeepAPIKey(); err != nil {
		t.Error(err)
	}
}

// TestRehearseLeavesTheSnapshotsAlone: the copy writes none into the real bucket.
func TestRehearseLeavesTheSnapshotsAlone(t *testing.T) {
	f := rehearsed(t, strings.Replace(string(Example), "    config:", "    backup: {endpoint: 'https://s3.example.net', region: eu, bucket: real, accessKey: A, secretKey: {env: REAL}}\n    config:", 1))
	if c, err := f.Config("home-pi"); err != nil || len(c.K3s.Seed.Secrets) != 0 || c.K3s.Config["etcd-s3"] != nil {
		t.Errorf("%v, %v", c.K3s.Config, err)
	}
}

// TestRehearseWithoutControl: where somebody else runs the real Headscale, the
// copy has one of its own, at an address that it can have.
func TestRehearseWithoutControl(t *testing.T) {
	for _, url := range []string{"http://192.168.1.5:8080", "https://192.0.2.7", "http://hs.example.org"} {
		f := rehearsed(t, strings.Replace(elsewhere(), ExampleHeadscale, url, 1))
		if f.Control() != RehearsedControl || f.Cluster.Headscale.URL != ExampleHeadscale {
			t.Errorf("%s: %s at %s", url, f.Control(), f.Cluster.Headscale.URL)
		}
		if c, err := f.Config(RehearsedControl); err != nil || c.Control == nil || c.Board != "generic-amd64" {
			t.Errorf("%+v, %v", c, err)
		}
	}
	if f := rehearsed(t, strings.Replace(elsewhere(), ExampleHeadscale, "https://hs.example.org:8443", 1)); f.Cluster.Headscale.URL != "https://hs.example.org:8443" {
		t.Error(f.Cluster.Headscale.URL)
	}
}
