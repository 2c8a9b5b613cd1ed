package fleet

import (
	"crypto/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"
	"github.com/google/go-cmp/cmp"

	"github.com/going-mobile/imagebuilder/firstboot/node"
)

const listed = `  secrets:
    - {namespace: cloud, name: db, data: {password: {env: PAYLOAD_PASSWORD}, user.name: {file: secrets/server.token}}}
sites:
`

// TestSecretsGoToTheServerThatCreates the cluster, with a payload and without one,
// and no other node has them.
func TestSecretsGoToTheServerThatCreates(t *testing.T) {
	t.Setenv("PAYLOAD_PASSWORD", "planted-password\n")
	for what, change := range map[string][]string{
		"with a payload": {"sites:\n", listed},
		"without":        {payload, listed},
	} {
		f, err := seeded(t, change...)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		for _, name := range []string{"home-pi", "cabin-pi", "home-box"} {
			c, err := f.Config(name)
			if err != nil {
				t.Fatal(err)
			}
			text, err := node.Marshal(c)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := node.Load("node.yaml", text); err != nil {
				t.Errorf("%s: %s refuses its node.yaml: %v", what, name, err)
			}
			all := c.K3s.Seed.Secrets
			if has := strings.Contains(string(text), "planted-password"); has != (name == "home-pi") {
				t.Errorf("%s: %s has the secret: %v", what, name, has)
			}
			if name != "home-pi" {
				continue
			}
			if s := all[len(all)-1]; s.String() != "cloud/db" || s.Data["password"].Reveal() != "planted-password" || s.Data["user.name"].Reveal() != "planted" {
				t.Errorf("%s: %s with %d keys", what, s, len(s.Data))
			}
			if masked, err := node.Marshal(Masked(c)); err != nil || strings.Contains(string(masked), "planted") || !strings.Contains(string(masked), "user.name: (secret)") {
				t.Errorf("%s: %v\n%s", what, err, masked)
			}
		}
	}
	f, err := seeded(t, "sites:\n", listed)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("PAYLOAD_PASSWORD", "")
	if _, err := f.Config("home-pi"); err == nil || !strings.Contains(err.Error(), "cluster.secrets[0].data.password: $PAYLOAD_PASSWORD is empty") {
		t.Errorf("a secret that is empty: %v", err)
	}
}

func TestSecretsThatKubernetesRefuses(t *testing.T) {
	again := "    - {namespace: NS, name: NAME, data: {x: {env: X}}}\nsites:\n"
	other := func(namespace, name string) string {
		return strings.TrimSuffix(listed, "sites:\n") + strings.NewReplacer("NS", namespace, "NAME", name).Replace(again)
	}
	for change, want := range map[[2]string]string{
		{"namespace: cloud", "namespace: My.Cloud"}:        `fleet.yaml:25: field "cluster.secrets[0].namespace": want a name of small letters`,
		{"namespace: cloud, ", ""}:                         `field "cluster.secrets[0].namespace": want a name`,
		{"name: db", "name: db_1"}:                         `field "cluster.secrets[0].name": want a name of small letters, digits, hyphens and dots`,
		{"name: db", "name: a..b"}:                         `field "cluster.secrets[0].name": want a name`,
		{"name: db", "name: " + strings.Repeat("a.", 127)}: `field "cluster.secrets[0].name": want a name`,
		{"user.name:", "a/b:"}:                             `field "cluster.secrets[0].data": want keys of letters`,
		{"user.name:", "..a:"}:                             `field "cluster.secrets[0].data": want keys of letters`,
		{"{env: PAYLOAD_PASSWORD}", "planted"}:             `secrets do not belong in this file`,
		{"{env: PAYLOAD_PASSWORD}", ""}:                    `field "cluster.secrets[0].data.password": is empty: write a value`,
		{", data: {password: {env: PAYLOAD_PASSWORD}, user.name: {file: secrets/server.token}}", ""}: `field "cluster.secrets[0].data": is missing`,
		{"data:", "labels: {a: b}, data:"}:                `unknown`,
		{listed, other("cloud", "db")}:                    `field "cluster.secrets[1].name": cloud/db is listed twice`,
		{listed, other("longhorn-system", "longhorn-s3")}: `longhorn-system/longhorn-s3 is made of other settings of cluster already`,
		{listed, other("argocd", "fleet-repo")}:           `argocd/fleet-repo is made of`,
	} {
		_, err := seeded(t, "sites:\n", listed, change[0], change[1])
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "planted") {
			t.Errorf("%q: %v\nwant %s", change[1], err, want)
		}
	}
	for _, good := range []string{"name: registry.example.net", "name: " + strings.Repeat("a.", 126) + "a"} {
		if _, err := seeded(t, "sites:\n", listed, "name: db", good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
}

// TestMissingPasswordsAreMade, once, for their owner alone.
func TestMissingPasswordsAreMade(t *testing.T) {
	f, err := seeded(t, "sites:\n", listed)
	if err != nil {
		t.Fatal(err)
	}
	wanted := []Secret{
		{Namespace: "cloud", Name: "db", Data: map[string]Ref{"password": {}}}, // the file has it
		{Namespace: "cloud", Name: "admin", Data: map[string]Ref{"password": {}}},
	}
	want := []Secret{{Namespace: "cloud", Name: "admin", Data: map[string]Ref{"password": {File: "secrets/app-cloud-admin.password"}}}}
	file := filepath.Join(f.Dir(), SecretsDir, "app-cloud-admin.password")
	var before string
	for range 2 {
		got, err := f.MakeMissing(wanted, nil, rand.Reader)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Fatalf("%v\n%s", err, diff)
		}
		text, err := os.ReadFile(file)
		if err != nil || len(text) < 30 || before != "" && before != string(text) {
			t.Fatalf("%v: %d bytes", err, len(text))
		}
		before = string(text)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if ignored, err := os.ReadFile(filepath.Join(f.Dir(), ".gitignore")); err != nil || string(ignored) != gitignore {
		t.Errorf("%q, %v", ignored, err)
	}
	if found, _ := filepath.Glob(filepath.Join(f.Dir(), SecretsDir, "app-*")); len(found) != 1 {
		t.Errorf("%v", found)
	}
	wanted[0].Data["other"] = Ref{}
	if _, err := f.MakeMissing(wanted, nil, rand.Reader); err == nil || !strings.Contains(err.Error(), "cluster.secrets[0] (cloud/db) lacks the key other") {
		t.Errorf("%v", err)
	}
}

func TestMissingPasswordsAreEncrypted(t *testing.T) {
	f, err := seeded(t)
	if err != nil {
		t.Fatal(err)
	}
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	keys := filepath.Join(t.TempDir(), "identity")
	if err := os.WriteFile(keys, []byte(id.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv(AgeIdentityEnv, keys)
	wanted := []Secret{{Namespace: "cloud", Name: "db", Data: map[string]Ref{"password": {}}}}
	for _, recipients := range [][]age.Recipient{{id.Recipient()}, nil} { // what is there stays as it is
		got, err := f.MakeMissing(wanted, recipients, rand.Reader)
		if err != nil || len(got) != 1 || got[0].Data["password"] != (Ref{Age: "secrets/app-cloud-db.password.age"}) {
			t.Fatalf("%+v, %v", got, err)
		}
		if s, err := got[0].Data["password"].read(f.Dir()); err != nil || len(s) != 32 {
			t.Errorf("%d characters, %v", len(s), err)
		}
	}
	if found, _ := filepath.Glob(filepath.Join(f.Dir(), SecretsDir, "app-*")); len(found) != 1 {
		t.Errorf("%v", found)
	}
}
