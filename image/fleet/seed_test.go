package fleet

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/firstboot/node"
)

const payload = `  longhorn:
    backup: {endpoint: https://s3.example.net, region: eu-1, bucket: volumes, accessKey: AKIA, secretKey: {env: PAYLOAD_S3}}
  gitops: {repo: "ssh://git@git.example.net/home/cluster.git", path: apps, deployKey: {env: PAYLOAD_KEY}, knownHosts: {env: PAYLOAD_HOSTS}}
sites:
`

// seeded is the example with a payload, and its secrets.
func seeded(t *testing.T, change ...string) (*Fleet, error) {
	t.Helper()
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, SecretsDir), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"server.token", "agent.token"} {
		if err := os.WriteFile(filepath.Join(dir, SecretsDir, name), []byte("planted"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{"PAYLOAD_S3": "planted-s3", "PAYLOAD_KEY": "planted-key", "PAYLOAD_HOSTS": "git.example.net ssh-ed25519 AAAA"} {
		t.Setenv(name, text)
	}
	text := strings.NewReplacer("sites:\n", payload, "    ca: {file: secrets/cluster-ca.yaml} # the cluster's own certificate authorities\n", "").Replace(string(Example))
	for i := 0; i < len(change); i += 2 {
		if !strings.Contains(text, change[i]) {
			t.Fatalf("no %q in\n%s", change[i], text)
		}
		text = strings.Replace(text, change[i], change[i+1], 1)
	}
	return Load(filepath.Join(dir, FileName), []byte(text), nil)
}

// TestThePayloadGoesToTheServerThatCreates the cluster, and to no other node; the
// node takes it.
func TestThePayloadGoesToTheServerThatCreates(t *testing.T) {
	f, err := seeded(t)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range f.Nodes.Names {
		if name == "vps" {
			continue // its keys are not here
		}
		c, err := f.Config(name)
		if err != nil {
			t.Fatal(err)
		}
		c.Headscale.AuthKey = "hskey-auth-x"
		text, err := node.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := node.Load("node.yaml", text); err != nil {
			t.Errorf("%s refuses its node.yaml: %v", name, err)
		}
		want := 0
		if name == "home-pi" {
			want = 6
		}
		if len(c.K3s.Seed.Manifests) != want || strings.Contains(string(text), "planted-") != (want > 0) {
			t.Errorf("%s has %d manifests, %d secrets", name, len(c.K3s.Seed.Manifests), len(c.K3s.Seed.Secrets))
		}
		if label := c.K3s.Labels[diskLabel]; (label == "true") != (c.Role == node.Agent) {
			t.Errorf("%s: %s is %q", name, diskLabel, label)
		}
		if masked, err := node.Marshal(Masked(c)); err != nil || strings.Contains(string(masked), "planted") {
			t.Errorf("%s shows a secret (%v)", name, err)
		}
	}
	for board, want := range map[string]string{"rpi4": "longhorn-chart=1.12.1 argocd-chart=10.1.1", "optiplex-7050": "", "generic-amd64": ""} {
		if got := strings.Join(f.ComponentsFor(board, false), " "); got != want {
			t.Errorf("images of %s have %q, want %q", board, got, want)
		}
	}
	c, err := f.Config("home-pi")
	if err != nil || !strings.Contains(c.K3s.Seed.Manifests["longhorn"], `numberOfReplicas: "2"`) || !strings.Contains(c.K3s.Seed.Manifests["longhorn"], "s3://volumes@eu-1/") {
		t.Errorf("%v: %s", err, c.K3s.Seed.Manifests["longhorn"])
	}
}

func TestPayloadFaults(t *testing.T) {
	for change, want := range map[[2]string]string{
		{"bucket: volumes", "bucket: a/b"}:                  `field "cluster.longhorn.backup.bucket": has a blank, @ or / in it`,
		{"https://s3.example.net", "s3.example.net"}:        `field "cluster.longhorn.backup.endpoint": want an address`,
		{", secretKey: {env: PAYLOAD_S3}", ""}:              `field "cluster.longhorn.backup.secretKey": is missing`,
		{"  longhorn:\n", "  longhorn:\n    replicas: 3\n"}: `field "cluster.longhorn.replicas": is more than the 2 places`,
		{"ssh://git@git.example.net", "git.example.net"}:    `field "cluster.gitops.repo": want an address`,
		{"ssh://git@", "https://me:planted@"}:               `field "cluster.gitops.repo": has a password in it`,
		{"ssh://git@", "https://"}:                          `field "cluster.gitops.deployKey": is for a repository by ssh`,
		{", deployKey: {env: PAYLOAD_KEY}", ""}:             `field "cluster.gitops.deployKey": is missing`,
		{", knownHosts: {env: PAYLOAD_HOSTS}", ""}:          `field "cluster.gitops.knownHosts": is missing: where the host keys of git.example.net are`,
		{"path: apps", "path: ../apps"}:                     `field "cluster.gitops.path": want a directory`,
		{"path: apps", "revision: 'a b'"}:                   `field "cluster.gitops.revision": want a branch`,
	} {
		_, err := seeded(t, change[0], change[1])
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "planted") {
			t.Errorf("%q: %v\nwant %s", change[1], err, want)
		}
	}
	// If all agents are at one site, each has one replica of a volume at most.
	one := []string{"cabin-box: {board: optiplex-7050, site: cabin", "cabin-box: {board: optiplex-7050, site: home"}
	if f, err := seeded(t, one...); err != nil || f.Cluster.Longhorn.Replicas != 2 {
		t.Errorf("%v", err)
	}
	if _, err := seeded(t, append(one, "  longhorn:\n", "  longhorn:\n    replicas: 3\n")...); err == nil || !strings.Contains(err.Error(), "is more than the 2 places") {
		t.Errorf("%v", err)
	}
	for _, repo := range []string{"git@git.example.net:home/cluster.git", "ssh://git@git.example.net:2222/x.git"} {
		if _, err := seeded(t, "ssh://git@git.example.net/home/cluster.git", repo); err != nil {
			t.Errorf("%s: %v", repo, err)
		}
	}
	for repo, known := range map[string]bool{"git@github.com:me/x.git": true, "ssh://git@gitlab.com:22/me/x": true, "ssh://git@github.com:2222/x": false, "ssh://git@ssh.github.com:443/x": true, "git@gitlab.example.net:x": false} {
		if _, err := seeded(t, "ssh://git@git.example.net/home/cluster.git", repo, ", knownHosts: {env: PAYLOAD_HOSTS}", ""); (err == nil) != known {
			t.Errorf("%s: %v", repo, err)
		}
	}
	f, err := seeded(t)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("PAYLOAD_S3", "")
	if _, err := f.Config("home-pi"); err == nil || !strings.Contains(err.Error(), "cluster.longhorn.backup.secretKey") {
		t.Errorf("a secret that is missing: %v", err)
	}
}
