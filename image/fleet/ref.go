package fleet

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"filippo.io/age"
	"filippo.io/age/armor"
	"gopkg.in/yaml.v3"

	"github.com/going-mobile/imagebuilder/firstboot/secret"
	"github.com/going-mobile/imagebuilder/firstboot/strictyaml"
)

// Ref says where a secret is. It never contains the secret, so fleet.yaml can be kept in
// Git.
type Ref struct {
	// Env names an environment variable.
	Env string `yaml:"env"`
	// File is relative to fleet.yaml.
	File string `yaml:"file"`
	// Age is a file encrypted with age, binary or armored.
	Age string `yaml:"age"`
}

// AgeIdentityEnv names the file with the age identities that open Age files.
const AgeIdentityEnv = "IMAGEBUILDER_AGE_IDENTITY"

var errNoSecret = errors.New(`secrets do not belong in this file: write {env: NAME}, {file: PATH} or {age: PATH}`)

// UnmarshalYAML refuses a secret that was written in place of a reference.
func (r *Ref) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind != yaml.MappingNode {
		return errNoSecret
	}
	type plain Ref
	if err := strictyaml.DecodeNode(n, (*plain)(r)); err != nil {
		return err
	}
	given := 0
	for _, s := range []string{r.Env, r.File, r.Age} {
		if s != "" {
			given++
		}
	}
	if given != 1 {
		return errors.New("want exactly one of env, file and age")
	}
	return nil
}

// Empty reports whether r refers to nothing.
func (r Ref) Empty() bool { return r == Ref{} }

// maxSecret bounds the size of a secret, in bytes.
const maxSecret = 64 << 10

// read returns the secret that r refers to, without the line break that editors put at the
// end. No error contains any of the secret.
func (r Ref) read(dir string) (secret.String, error) {
	text, err := r.raw(dir)
	if err != nil {
		return "", err
	}
	if len(text) > maxSecret {
		return "", fmt.Errorf("%s is longer than %d bytes", r, maxSecret)
	}
	s := secret.String(strings.TrimRight(string(text), "\r\n"))
	if s.Empty() {
		return "", fmt.Errorf("%s is empty", r)
	}
	return s, nil
}

func (r Ref) raw(dir string) ([]byte, error) {
	switch {
	case r.Env != "":
		v, ok := os.LookupEnv(r.Env)
		if !ok {
			return nil, fmt.Errorf("the environment variable %s is not set", r.Env)
		}
		return []byte(v), nil
	case r.File != "":
		return readLimited(within(dir, r.File))
	}
	return decrypt(within(dir, r.Age))
}

// String is the place of the secret, never the secret.
func (r Ref) String() string {
	switch {
	case r.Env != "":
		return "$" + r.Env
	case r.File != "":
		return r.File
	}
	return r.Age
}

func within(dir, name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(dir, name)
}

func readLimited(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxSecret+1))
}

func decrypt(name string) ([]byte, error) {
	ids, err := identities()
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	data, err := readLimited(name)
	if err != nil {
		return nil, err
	}
	var in io.Reader = bytes.NewReader(data)
	if bytes.HasPrefix(data, []byte(armor.Header)) {
		in = armor.NewReader(in)
	}
	out, err := age.Decrypt(in, ids...)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	return io.ReadAll(io.LimitReader(out, maxSecret+1))
}

func identities() ([]age.Identity, error) {
	name := os.Getenv(AgeIdentityEnv)
	if name == "" {
		return nil, fmt.Errorf("%s does not name the file with your age identity", AgeIdentityEnv)
	}
	data, err := readLimited(name)
	if err != nil {
		return nil, err
	}
	return age.ParseIdentities(bytes.NewReader(data))
}
