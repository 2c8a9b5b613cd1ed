package fleet

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"filippo.io/age"
	"gopkg.in/yaml.v3"

	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/firstboot/sshkey"
	"github.com/going-mobile/imagebuilder/image/atomicfile"
	"github.com/going-mobile/imagebuilder/image/clusterca"
	"github.com/going-mobile/imagebuilder/image/owner"
)

// SecretsDir holds what Init makes, beside fleet.yaml.
const SecretsDir = "secrets"

// InitOptions are the answers that a new fleet needs.
type InitOptions struct {
	// Name of the cluster, a DNS label.
	Name string
	// Headscale is the address of the server that nodes join.
	Headscale string
	// Own keeps the example's VPS, which runs Headscale; false means that somebody else runs
	// Headscale.
	Own bool
	// AuthorizedKeys are public ssh keys; without one nobody can log in to a node.
	AuthorizedKeys []string
	// Recipients encrypt every secret with age; if there are none, secrets are plain files
	// that only their owner can read.
	Recipients []age.Recipient
}

// Init makes a fleet in dir: a commented fleet.yaml with the nodes of the example, and the
// secrets it refers to. It never touches existing files. fleet.yaml is written last: if it
// exists, everything else is complete.
func Init(dir string, o InitOptions, now time.Time, random io.Reader) error {
	if err := o.check(); err != nil {
		return err
	}
	if err := Vacant(dir); err != nil {
		return err
	}
	pair, err := owner.NewPair("") // no password: whoever reads this directory has stronger secrets than this key
	if err != nil {
		return err
	}
	text, err := o.text(pair.Key)
	if err != nil {
		return err
	}
	if _, err := Load(filepath.Join(dir, FileName), text, nil); err != nil {
		return fmt.Errorf("nothing was written, as no other command would take it: %w", err)
	}
	secrets, err := o.secrets(now, random)
	if err != nil {
		return err
	}
	secrets[ownerKeyFile] = append(pair.Secret, '\n')
	return o.write(dir, text, secrets)
}

// Vacant refuses a path that already has a fleet, is not a directory, or is in
// imagebuilder's own clone.
func Vacant(dir string) error {
	if err := outsideClone(dir); err != nil {
		return err
	}
	if info, err := os.Stat(dir); err == nil && !info.IsDir() {
		return fmt.Errorf("%s is a file: name a directory, which is made where there is none", dir)
	}
	for _, name := range []string{FileName, SecretsDir} {
		_, err := os.Lstat(filepath.Join(dir, name))
		switch {
		case err == nil && name == SecretsDir: // fleet.yaml is written last
			return fmt.Errorf("%s has the secrets of a fleet, but no %s: bring that back; if there never was one, as 'fleet init' was cut short (by a full disk, say), move %s out of the way and do it again",
				dir, FileName, filepath.Join(dir, SecretsDir))
		case err == nil:
			return fmt.Errorf("%s has a fleet already: %s is there", dir, name)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func (o InitOptions) write(dir string, text []byte, secrets map[string][]byte) error {
	if err := atomicfile.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := ignoreSecrets(filepath.Join(dir, ".gitignore")); err != nil {
		return err
	}
	if err := o.writeSecrets(dir, secrets); err != nil {
		return err
	}
	return atomicfile.WriteFile(filepath.Join(dir, FileName), text, 0o644)
}

func (o InitOptions) check() error {
	if err := node.CheckHostname(o.Name); err != nil {
		return fmt.Errorf("the cluster's name %q: %w", o.Name, err)
	}
	if err := o.CheckHeadscale(o.Headscale); err != nil {
		return fmt.Errorf("the address of Headscale %q: %w", o.Headscale, err)
	}
	return nil
}

// CheckHeadscale checks an address of Headscale. With Own it must be a host name, as Let's
// Encrypt issues the VPS a certificate for names.
func (o InitOptions) CheckHeadscale(address string) error {
	if err := node.CheckURL(address); err != nil || !o.Own {
		return err
	}
	u, err := url.Parse(address)
	if err != nil {
		return err
	}
	if _, err := netip.ParseAddr(u.Hostname()); err == nil || u.Scheme != "https" {
		return errors.New("want https:// and a name of the VPS in the DNS, for which Let's Encrypt gives it a certificate")
	}
	return nil
}

// secrets makes the files of SecretsDir.
func (o InitOptions) secrets(now time.Time, random io.Reader) (map[string][]byte, error) {
	id, err := clusterca.New(o.Name, now, random)
	if err != nil {
		return nil, err
	}
	bundle, err := bundle(id.Servers)
	if err != nil {
		return nil, err
	}
	out := map[string][]byte{
		"root-ca.crt": id.Root.Cert, "root-ca.key": id.Root.Key,
		"intermediate-ca.crt": id.Intermediate.Cert, "intermediate-ca.key": id.Intermediate.Key,
		"cluster-ca.yaml": bundle,
	}
	for _, name := range controlFiles {
		if out[name], err = sshkey.NewEd25519(random); err != nil {
			return nil, err
		}
	}
	for user, name := range map[string]string{clusterca.ServerToken: "server.token", clusterca.AgentToken: "agent.token"} {
		s, err := clusterca.NewSecret(random)
		if err != nil {
			return nil, err
		}
		token, err := id.Servers.Token(user, s)
		if err != nil {
			return nil, err
		}
		out[name] = []byte(token + "\n")
	}
	return out, nil
}

// bundle puts the files of an identity into one file, so that one reference, or one age
// file, covers them all.
func bundle(files clusterca.Files) ([]byte, error) {
	text := map[string]string{}
	for name, b := range files {
		text[name] = string(b)
	}
	return yaml.Marshal(text)
}

// writeSecrets makes the directory under a temporary name first: it appears with all of its
// files or not at all.
func (o InitOptions) writeSecrets(dir string, secrets map[string][]byte) (err error) {
	tmp, err := atomicfile.MkdirTemp(dir, "."+SecretsDir+"-") // 0700
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(tmp))
		}
	}()
	for _, name := range slices.Sorted(maps.Keys(secrets)) {
		data, suffix, err := o.seal(secrets[name])
		if err != nil {
			return err
		}
		if err := atomicfile.WriteFile(filepath.Join(tmp, name+suffix), data, 0o600); err != nil {
			return err
		}
	}
	return os.Rename(tmp, filepath.Join(dir, SecretsDir))
}

// seal encrypts a file if there are recipients.
func (o InitOptions) seal(plain []byte) (data []byte, suffix string, err error) {
	if len(o.Recipients) == 0 {
		return plain, "", nil
	}
	var b bytes.Buffer
	w, err := age.Encrypt(&b, o.Recipients...)
	if err != nil {
		return nil, "", err
	}
	if _, err := w.Write(plain); err != nil {
		return nil, "", err
	}
	err = w.Close() // writes the last block
	return b.Bytes(), ".age", err
}

// ignored are the lines for .gitignore. They cover the secrets, also those left behind when
// Init was killed, and keys wherever a person made them. They also cover images, because an
// image with a node.yaml contains that node's secrets: complete, partly written
// (image/atomicfile) or compressed. "/bin" is the README's link to the program: a path of
// one computer.
var ignored = []string{
	"/" + SecretsDir + "/", "/." + SecretsDir + "-*", "*.key",
	"/bin", "/dist/", "*.img", "*.img.*.tmp", "*.img.gz", "*.img.xz", "*.img.zst",
}

// ignoreSecrets adds those lines to .gitignore, whether the secrets are encrypted or not:
// the key of the root CA must not be in Git. What a person wrote there stays.
func ignoreSecrets(name string) error {
	have, err := os.ReadFile(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	lines := strings.Split(strings.TrimSuffix(string(have), "\n"), "\n")
	var more []string
	for _, line := range ignored {
		if !slices.Contains(lines, line) {
			more = append(more, line)
		}
	}
	if len(more) == 0 {
		return nil
	}
	if len(have) > 0 && have[len(have)-1] != '\n' {
		have = append(have, '\n')
	}
	return atomicfile.WriteFile(name, append(have, strings.Join(more, "\n")+"\n"...), 0o644)
}

// text is the example's text with the answers filled in.
func (o InitOptions) text(ownerKey string) ([]byte, error) {
	logins, err := logins(o.AuthorizedKeys)
	if err != nil {
		return nil, err
	}
	text := elsewhere()
	if o.Own {
		text = withVPS()
	}
	text = strings.NewReplacer(
		"name: "+ExampleName, "name: "+o.Name+"\n  ownerKey: "+ownerKey+" # nodes that have joined take changes signed by it"+logins,
		ExampleHeadscale, o.Headscale,
	).Replace(text)
	if len(o.Recipients) > 0 {
		text = ageReference.ReplaceAllString(text, "{age: $1.age}")
	}
	return []byte(text), nil
}

var ageReference = regexp.MustCompile(`\{file: (` + SecretsDir + `/[^}]+)\}`)
