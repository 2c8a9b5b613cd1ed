package fleet

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"aead.dev/minisign"
	"filippo.io/age"
	"gopkg.in/yaml.v3"

	"github.com/going-mobile/imagebuilder/image/clusterca"
	"github.com/going-mobile/imagebuilder/image/owner"
)

var noon = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

func initialise(t *testing.T, o InitOptions) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "fleet")
	if err := Init(dir, o, noon, rand.Reader); err != nil {
		t.Fatal(err)
	}
	return dir
}

var answers = InitOptions{Name: "shed", Headscale: "https://hs.example.org"}

// TestInit: what is made loads, its tokens pin the cluster's own root, and
// nobody else on the machine reads a secret.
func TestInit(t *testing.T) {
	dir := initialise(t, answers)
	f, err := LoadFile(filepath.Join(dir, FileName), known)
	if err != nil {
		t.Fatal(err)
	}
	own := answers
	own.Own = true
	if text, err := os.ReadFile(filepath.Join(initialise(t, own), FileName)); err != nil || strings.Contains(string(text), "# of the VPS") {
		t.Errorf("%v, a mark of ours is left:\n%s", err, text)
	}
	c, err := f.Config("home-pi")
	if err != nil {
		t.Fatal(err)
	}
	files := identityOf(t, filepath.Join(dir, SecretsDir, "cluster-ca.yaml"))
	if err := files.Check(noon); err != nil {
		t.Error(err)
	}
	key, err := owner.Open(filepath.Join(dir, SecretsDir, "owner.key"), nil)
	if err != nil || c.OwnerKey == "" {
		t.Fatalf("owner's key %q, %v", c.OwnerKey, err)
	}
	if public := key.Public().(minisign.PublicKey); public.String() != c.OwnerKey {
		t.Error("the nodes are told another owner's key")
	}
	pin, err := files.Token("server", "")
	if err != nil || !strings.HasPrefix(c.K3s.Token.Reveal(), pin) || f.Cluster.Name != "shed" || c.Headscale.URL != answers.Headscale {
		t.Errorf("the token does not pin the cluster, or answers are lost: %v, %+v", err, f.Cluster)
	}
	err = filepath.WalkDir(filepath.Join(dir, SecretsDir), func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s is %v", p, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if ignored, err := os.ReadFile(filepath.Join(dir, ".gitignore")); err != nil || string(ignored) != gitignore {
		t.Errorf(".gitignore is %q, %v", ignored, err)
	}
}

// gitignore is the .gitignore that Init writes.
const gitignore = "/secrets/\n/.secrets-*\n*.key\n/bin\n/dist/\n*.img\n*.img.*.tmp\n*.img.gz\n*.img.xz\n*.img.zst\n"

// TestGitTakesNoSecret: Git ignores all secrets, and the link to the program, that the commands
// in the README and --help's examples leave in the fleet's directory, and .gitignore is written before any secret.
func TestGitTakesNoSecret(t *testing.T) {
	dir := initialise(t, answers)
	for _, name := range []string{"vps.img", ".vps.img.123.tmp", "vps.img.gz", ".secrets-123/owner.key", "dist/rpi4.img", "owner.key", "keys/secureboot.key", "secrets/link.txt"} {
		file := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, nil, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(dir, filepath.Join(dir, "bin")); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("git", "init", "-q", dir).CombinedOutput(); err != nil {
		t.Fatal(err, string(out))
	}
	out, err := exec.Command("git", "-C", dir, "status", "--porcelain", "-uall").Output()
	if err != nil || string(out) != "?? .gitignore\n?? fleet.yaml\n" {
		t.Errorf("%v, Git takes\n%s", err, out)
	}
	dir = t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, ".gitignore"), 0o700); err != nil {
		t.Fatal(err)
	}
	err = Init(dir, answers, noon, rand.Reader)
	if left, _ := filepath.Glob(filepath.Join(dir, "*secrets*")); err == nil || len(left) > 0 {
		t.Errorf("%v, and there are %v", err, left)
	}
}

// TestInitStaysOutsideOfTheClone: Init refuses every directory in the clone, but not one in
// another Go module.
func TestInitStaysOutsideOfTheClone(t *testing.T) {
	own, other := t.TempDir(), t.TempDir()
	ours, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	for dir, text := range map[string]string{own: string(ours), other: "module example.net/imagebuilder\n"} {
		if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{own, filepath.Join(own, "a", "fleet")} {
		err := Init(dir, answers, noon, rand.Reader)
		if err == nil || !strings.Contains(err.Error(), own+" is the clone of imagebuilder") || !strings.Contains(err.Error(), filepath.Join(filepath.Dir(own), "fleet")) {
			t.Errorf("%s: %v", dir, err)
		}
	}
	if left, err := os.ReadDir(own); err != nil || len(left) != 1 {
		t.Errorf("%v, %v", left, err)
	}
	if err := Init(other, answers, noon, rand.Reader); err != nil {
		t.Error(err)
	}
}

func identityOf(t *testing.T, name string) clusterca.Files {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	text, files := map[string]string{}, clusterca.Files{}
	if err := yaml.Unmarshal(data, &text); err != nil {
		t.Fatal(err)
	}
	for k, v := range text {
		files[k] = []byte(v)
	}
	return files
}

// TestNewAgentToken: the token pins the cluster as the present one does, and differs from it.
func TestNewAgentToken(t *testing.T) {
	dir := initialise(t, answers)
	f, err := LoadFile(filepath.Join(dir, FileName), known)
	if err != nil {
		t.Fatal(err)
	}
	old, err := os.ReadFile(filepath.Join(dir, SecretsDir, "agent.token"))
	if err != nil {
		t.Fatal(err)
	}
	token, err := f.NewAgentToken(rand.Reader)
	pin, _, ok := strings.Cut(string(old), "::node:")
	if err != nil || !ok || !strings.HasPrefix(token.Reveal(), pin+"::node:") || token.Reveal() == strings.TrimSpace(string(old)) || len(token.Reveal()) != len(strings.TrimSpace(string(old))) {
		t.Errorf("%d bytes, %d before, %v", len(token.Reveal()), len(old), err)
	}
	f.Cluster.K3s.CA = Ref{}
	if _, err := f.NewAgentToken(rand.Reader); err == nil || !strings.Contains(err.Error(), "not this fleet's") {
		t.Error(err)
	}
}

// TestInitKeepsWhatIsThere: a second Init changes nothing, and lines of a .gitignore stay.
func TestInitKeepsWhatIsThere(t *testing.T) {
	dir := t.TempDir()
	ignore := filepath.Join(dir, ".gitignore")
	if err := os.WriteFile(ignore, []byte("*.img"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := Init(dir, answers, noon, rand.Reader); err != nil {
		t.Fatal(err)
	}
	token := filepath.Join(dir, SecretsDir, "server.token")
	before, err := os.ReadFile(token)
	if err != nil {
		t.Fatal(err)
	}
	if err := Init(dir, answers, noon, rand.Reader); err == nil || !strings.Contains(err.Error(), "has a fleet already: fleet.yaml") {
		t.Error(err)
	}
	if err := os.Remove(filepath.Join(dir, FileName)); err != nil {
		t.Fatal(err)
	}
	if err := Init(dir, answers, noon, rand.Reader); err == nil || !strings.Contains(err.Error(), "secrets out of the way") {
		t.Error(err)
	}
	if after, err := os.ReadFile(token); err != nil || string(after) != string(before) {
		t.Errorf("the token changed, %v", err)
	}
	if lines, err := os.ReadFile(ignore); err != nil || string(lines) != "*.img\n"+strings.Replace(gitignore, "*.img\n", "", 1) {
		t.Errorf(".gitignore is %q, %v", lines, err)
	}
	left, err := filepath.Glob(filepath.Join(dir, ".secrets-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestInitWithAge: no file that grants access is there in clear text, and with the identity
// the fleet still makes node.yaml files.
func TestInitWithAge(t *testing.T) {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	o := answers
	o.Recipients = []age.Recipient{id.Recipient()}
	dir := initialise(t, o)
	names, err := filepath.Glob(filepath.Join(dir, SecretsDir, "*"))
	if err != nil || len(names) == 0 {
		t.Fatal(names, err)
	}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil || !strings.HasPrefix(string(data), "age-encryption.org/v1") {
			t.Errorf("%s is not encrypted, %v", name, err)
		}
	}
	key := filepath.Join(t.TempDir(), "id")
	if err := os.WriteFile(key, []byte(id.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv(AgeIdentityEnv, key)
	f, err := LoadFile(filepath.Join(dir, FileName), known)
	if err != nil {
		t.Fatal(err)
	}
	if c, err := f.Config("cabin-box"); err != nil || !strings.HasPrefix(c.K3s.AgentToken.Reveal(), "K10") || !c.K3s.Token.Empty() {
		t.Errorf("cabin-box: %v", err)
	}
}

func TestInitRefuses(t *testing.T) {
	for want, o := range map[string]InitOptions{
		"cluster's name \"My Cluster\": want a host name": {Name: "My Cluster", Headscale: "https://x.example"},
		"Headscale \"ftp://x.example\": begins with":      {Name: "shed", Headscale: "ftp://x.example"},
		"want https:// and a name":                        {Name: "shed", Headscale: "https://203.0.113.7", Own: true},
		"no other command would take it":                  {Name: "shed", Headscale: "https://x.example", AuthorizedKeys: []string{"nonsense"}},
	} {
		dir := filepath.Join(t.TempDir(), "new")
		if err := Init(dir, o, noon, rand.Reader); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
		if _, err := os.Stat(dir); err == nil {
			t.Error("something was written all the same")
		}
	}
}

// TestInitInsideAFile: a path that is not a directory is not reported as a fleet.
func TestInitInsideAFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Init(file, answers, noon, rand.Reader); err == nil || !strings.Contains(err.Error(), "f is a file") || strings.Contains(err.Error(), "already") {
		t.Error(err)
	}
}

const loginKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"

// TestInitLetsIn: every node gets the login keys as they are in their files, with any
// comment.
func TestInitLetsIn(t *testing.T) {
	o := answers
	o.AuthorizedKeys = []string{loginKey + " me: the \"one\" # here", loginKey}
	f, err := LoadFile(filepath.Join(initialise(t, o), FileName), known)
	if err != nil {
		t.Fatal(err)
	}
	if c, err := f.Config("cabin-box"); err != nil || !slices.Equal(c.SSH.AuthorizedKeys, o.AuthorizedKeys) || len(f.Shut()) != 0 {
		t.Errorf("%v, shut %v, %v", c.SSH.AuthorizedKeys, f.Shut(), err)
	}
	if f, err = LoadFile(filepath.Join(initialise(t, answers), FileName), known); err != nil || len(f.Shut()) != 4 {
		t.Errorf("%v", err)
	}
}

// TestReadLoginKeys: public keys alone, and nothing of another text in an error.
func TestReadLoginKeys(t *testing.T) {
	name := filepath.Join(t.TempDir(), "key")
	for text, want := range map[string]string{
		"\n# two\n" + loginKey + " me\r\n" + loginKey:        "",
		"-----BEGIN OPENSSH PRIVATE KEY-----\nvery-secret\n": "is a private key",
		"PuTTY-User-Key-File-3: ssh-ed25519\nvery-secret\n":  "is a private key",
		loginKey + "\nvery-secret\n":                         ":2: want a line like",
		"\n":                                                 "no public key",
		strings.Repeat("very-secret\n", maxSecret):           "too long",
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		keys, err := ReadLoginKeys(name)
		switch {
		case want == "" && (err != nil || !slices.Equal(keys, []string{loginKey + " me", loginKey})):
			t.Errorf("%v, %v", keys, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "very-secret")):
			t.Errorf("got %v, want %q", err, want)
		}
	}
	if _, err := ReadLoginKeys("-----BEGIN OPENSSH PRIVATE KEY-----very-secret"); err == nil || strings.Contains(err.Error(), "very-secret") {
		t.Error(err)
	}
}
