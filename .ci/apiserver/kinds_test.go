package apiserver_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/going-mobile/imagebuilder/image/objects"
)

// object is one of Kubernetes, or a part of one.
type object = map[string]any

// document is a YAML document with an object, as it stands in its file.
type document struct {
	objects.Object
	node *yaml.Node
}

func (d document) String() string { return d.APIVersion + " " + d.Kind + " " + d.Name }

// rename gives the object another name.
func (d *document) rename(name string) {
	d.Name = name
	meta := valueOf(d.node.Content[0], "metadata")
	valueOf(meta, "name").SetString(name)
}

// valueOf is a field of a mapping, which has it.
func valueOf(n *yaml.Node, field string) *yaml.Node {
	for i := 0; i < len(n.Content); i += 2 {
		if n.Content[i].Value == field {
			return n.Content[i+1]
		}
	}
	panic("no " + field)
}

func (d document) text() ([]byte, error) { return yaml.Marshal(d.node) }

// documents reads a file's objects, strictly.
func documents(name string, data []byte) ([]document, error) {
	all, err := objects.Parse(name, data)
	if err != nil {
		return nil, err
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var out []document
	for len(out) < len(all) {
		var n yaml.Node
		if err := dec.Decode(&n); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if n.Content[0].Kind == yaml.MappingNode {
			out = append(out, document{all[len(out)], &n})
		}
	}
	return out, nil
}

// definitions are the kinds that helm-controller and the charts bring, as upstream
// has them (testdata/README.md).
func definitions() ([]document, error) {
	names, err := filepath.Glob("testdata/crds/*.yaml.gz")
	if err != nil || len(names) == 0 {
		return nil, errors.Join(err, errors.New("testdata/crds has no files"))
	}
	var all []document
	for _, name := range names {
		data, err := unzip(name)
		if err != nil {
			return nil, err
		}
		some, err := documents(name, data)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	return all, nil
}

func unzip(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return io.ReadAll(z)
}

// addKinds installs the definitions, and waits until the API has their kinds.
func (s *server) addKinds(ctx context.Context) error {
	all, err := definitions()
	if err != nil {
		return err
	}
	var paths []string
	for _, d := range all {
		path, err := s.path(ctx, d.APIVersion, d.Kind, "", d.Name)
		if err != nil {
			return err
		}
		text, err := d.text()
		if err != nil {
			return err
		}
		if err := s.put(ctx, path, string(text)); err != nil {
			return err
		}
		paths = append(paths, path)
	}
	for _, path := range paths {
		if err := s.established(ctx, path); err != nil {
			return err
		}
	}
	return nil
}

func (s *server) established(ctx context.Context, path string) error {
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(100 * time.Millisecond) {
		var d struct {
			Status struct {
				Conditions []struct{ Type, Status, Message string }
			}
		}
		if err := s.get(ctx, path, &d); err != nil {
			return err
		}
		for _, c := range d.Status.Conditions {
			if c.Type == "Established" && c.Status == "True" {
				return nil
			}
		}
		if time.Now().After(end) {
			return fmt.Errorf("%s is not established: %+v", path, d.Status)
		}
	}
}

// sampleSpace is the namespace of testdata/samples.yaml.
const sampleSpace = "sample"

// prepare makes the namespaces of what mutants are made of, and what a controller
// manager would in them: no pod is taken without its service account.
func (s *server) prepare(ctx context.Context) error {
	for _, name := range []string{sampleSpace, "longhorn-system", "argocd"} {
		if err := s.put(ctx, "/api/v1/namespaces/"+name, "{apiVersion: v1, kind: Namespace, metadata: {name: "+name+"}}"); err != nil {
			return err
		}
	}
	for _, name := range []string{"default", "worker"} {
		if err := s.put(ctx, "/api/v1/namespaces/"+sampleSpace+"/serviceaccounts/"+name, "{apiVersion: v1, kind: ServiceAccount, metadata: {name: "+name+"}}"); err != nil {
			return err
		}
	}
	return nil
}

// put applies what the API takes.
func (s *server) put(ctx context.Context, path, text string) error {
	refused, err := s.apply(ctx, path, []byte(text), false)
	if err == nil && refused != "" {
		err = errors.New(refused)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}
