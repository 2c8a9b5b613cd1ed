package fleet

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"filippo.io/age"

	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/firstboot/secret"
	"github.com/going-mobile/imagebuilder/image/atomicfile"
	"github.com/going-mobile/imagebuilder/image/clusterca"
)

// secrets reads the secrets that the fleet's file lists for the cluster.
func (f *Fleet) secrets(read reader) (all []node.Secret, err error) {
	for i, s := range f.Cluster.Secrets {
		out := node.Secret{Namespace: s.Namespace, Name: s.Name, Data: map[string]secret.String{}}
		for _, key := range slices.Sorted(maps.Keys(s.Data)) {
			if out.Data[key], err = optional(s.Data[key], read, fmt.Sprintf("cluster.secrets[%d].data.%s", i, key)); err != nil {
				return nil, err
			}
		}
		all = append(all, out)
	}
	return all, nil
}

// secrets checks names by Kubernetes' rules, and refuses duplicates: the later Secret would
// silently replace the earlier.
func (c *checker) secrets() {
	seen := map[string]string{}
	of := *c.fleet
	of.Cluster.Secrets = nil
	if own, err := of.seed(placeholder); err == nil {
		for _, s := range own.Secrets {
			seen[s.String()] = "is made of other settings of cluster already"
		}
	}
	all, _ := c.fleet.secrets(placeholder)
	for i, s := range all {
		at := []string{"cluster", "secrets", strconv.Itoa(i)}
		problems := s.Problems()
		for _, field := range slices.Sorted(maps.Keys(problems)) {
			c.Refuse(append(at, field), "%s", problems[field])
		}
		if why := seen[s.String()]; why != "" {
			c.Refuse(append(at, "name"), "%s %s", s, why)
		}
		seen[s.String()] = "is listed twice"
	}
}

// MakeMissing makes those of the wanted Secrets that fleet.yaml does not list, and returns
// them with references to their passwords. It writes the passwords into SecretsDir, encrypted
// for the recipients if there are any; existing files stay as they are. It does not write the
// references into fleet.yaml, which only the owner changes. A listed Secret that lacks a
// wanted key is an error.
func (f *Fleet) MakeMissing(wanted []Secret, recipients []age.Recipient, random io.Reader) (all []Secret, err error) {
	for _, w := range wanted {
		at := slices.IndexFunc(f.Cluster.Secrets, func(s Secret) bool { return s.Namespace == w.Namespace && s.Name == w.Name })
		if at < 0 {
			all = append(all, w)
			continue
		}
		for key := range w.Data {
			if _, there := f.Cluster.Secrets[at].Data[key]; !there {
				return nil, fmt.Errorf("cluster.secrets[%d] (%s/%s) lacks the key %s, which is asked for", at, w.Namespace, w.Name, key)
			}
		}
	}
	for i, s := range all {
		data := map[string]Ref{}
		for _, key := range slices.Sorted(maps.Keys(s.Data)) {
			if data[key], err = f.password("app-"+s.Namespace+"-"+s.Name+"."+key, recipients, random); err != nil {
				return nil, err
			}
		}
		all[i].Data = data
	}
	return all, nil
}

// password writes a new password into a file, unless that file exists, plain or encrypted.
func (f *Fleet) password(name string, recipients []age.Recipient, random io.Reader) (Ref, error) {
	name = SecretsDir + "/" + name
	for _, r := range []Ref{{File: name}, {Age: name + ".age"}} {
		if _, err := os.Lstat(within(f.dir, r.String())); !errors.Is(err, fs.ErrNotExist) {
			return r, err
		}
	}
	plain, err := newPassword(random)
	if err != nil {
		return Ref{}, err
	}
	data, suffix, err := InitOptions{Recipients: recipients}.seal(plain)
	if err != nil {
		return Ref{}, err
	}
	if err := atomicfile.MkdirAll(filepath.Join(f.dir, SecretsDir), 0o700); err != nil {
		return Ref{}, err
	}
	if err := ignoreSecrets(filepath.Join(f.dir, ".gitignore")); err != nil {
		return Ref{}, err
	}
	if suffix != "" {
		return Ref{Age: name + suffix}, atomicfile.WriteFile(within(f.dir, name+suffix), data, 0o600)
	}
	return Ref{File: name}, atomicfile.WriteFile(within(f.dir, name), data, 0o600)
}

// newPassword is the content of a password file: letters and digits only, which no shell,
// URL or connection string interprets.
func newPassword(random io.Reader) ([]byte, error) {
	s, err := clusterca.NewSecret(random)
	return []byte(s + "\n"), err
}
