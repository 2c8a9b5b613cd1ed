package firstboot

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/going-mobile/imagebuilder/firstboot/node"
)

// seed: what the cluster begins with. On the server to whose node.yaml they
// belong, its manifests lie where k3s' deploy controller looks, before k3s
// starts there for the first time. Later ones come with a later node.yaml,
// never with a slot. Its Secrets go to the API only: a file for the deploy
// controller would stay, and the API would keep a copy of it in an annotation.

const (
	k3sManifests = k3sServer + "/manifests"
	seedPrefix   = "imagebuilder-" // of our files, among those of k3s and of people
)

// seedFiles are the manifests, and as absent those of an earlier node.yaml.
// Nothing deletes the objects of a manifest that is gone: a person does.
func (m *machine) seedFiles() ([]file, error) {
	if m.cfg.Role != node.Server {
		return nil, nil
	}
	var all []file
	wanted, err := m.seedManifests()
	if err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		all = append(all, file{path: seedFile(name), data: []byte(wanted[name]), mode: 0o600})
	}
	there, err := m.Files.List(k3sManifests)
	if err != nil {
		return nil, err
	}
	for _, n := range there {
		name, ours := strings.CutPrefix(strings.TrimSuffix(n, ".yaml"), seedPrefix)
		if _, stays := wanted[name]; ours && !stays {
			all = append(all, file{path: k3sManifests + "/" + n, absent: true})
		}
	}
	return all, nil
}

// seedManifests returns all manifests; those that need restored volumes only
// once these are back.
func (m *machine) seedManifests() (map[string]string, error) {
	seed := m.cfg.K3s.Seed
	back, err := m.restored()
	if err != nil || !back || seed.Restore == nil {
		return seed.Manifests, err
	}
	all := map[string]string{}
	maps.Copy(all, seed.Restore.Manifests)
	maps.Copy(all, seed.Manifests)
	return all, nil
}

func seedFile(name string) string { return k3sManifests + "/" + seedPrefix + name + ".yaml" }

func (m *machine) seeded() (bool, error) {
	all, err := m.seedFiles()
	if err != nil {
		return false, err
	}
	return m.allMatch(all)
}

func (m *machine) laySeed() error {
	all, err := m.seedFiles()
	if err != nil {
		return err
	}
	return m.ensure(all)
}

// secretsDone only looks into node.yaml: it has the secrets until they are in
// the cluster and sealing removes them.
func (m *machine) secretsDone(context.Context) (bool, error) {
	return len(m.cfg.K3s.Seed.Secrets) == 0, nil
}

// secretsDo applies each Secret and before it its namespace, so that a chart
// that comes later finds both.
func (m *machine) secretsDo(ctx context.Context) error {
	for _, s := range m.cfg.K3s.Seed.Secrets {
		if err := m.apply(ctx, "/api/v1/namespaces/"+s.Namespace, namespaceObject(s.Namespace)); err != nil {
			return err
		}
		s, err := m.ownFolder(ctx, s)
		if err != nil {
			return err
		}
		if err := m.apply(ctx, "/api/v1/namespaces/"+s.Namespace+"/secrets/"+s.Name, secretObject(s)); err != nil {
			return err
		}
	}
	return nil
}

func (m *machine) apply(ctx context.Context, path string, object map[string]any) error {
	text, err := json.Marshal(object)
	if err != nil {
		return err
	}
	if err := m.Net.Apply(ctx, adminConf, path, text); err != nil {
		return problem("seed-refused", strings.TrimPrefix(path, "/api/v1/namespaces/"), err.Error()).because(err)
	}
	return nil
}

func namespaceObject(name string) map[string]any {
	return map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": name}}
}

func secretObject(s node.Secret) map[string]any {
	data := map[string]string{}
	for k, v := range s.Data {
		data[k] = base64.StdEncoding.EncodeToString([]byte(v.Reveal()))
	}
	meta := map[string]any{"name": s.Name, "namespace": s.Namespace}
	if len(s.Labels) > 0 {
		meta["labels"] = s.Labels
	}
	return map[string]any{"apiVersion": "v1", "kind": "Secret", "metadata": meta, "type": "Opaque", "data": data}
}
