package apiserver_test

import (
	"context"
	"crypto/rand"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot"
	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/host"
	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/firstboot/secret"
	"github.com/going-mobile/imagebuilder/image/kubeconfig"
)

// a machine is one below a directory, with firstboot's own code for files and the
// network, and no disks.
type machine struct {
	root string
	host firstboot.Host
}

type noDisks struct{ firstboot.Disks }

func (noDisks) Mounted(string) (*firstboot.Mount, error) { return nil, nil }

// newMachine has the k3s.yaml that k3s writes: an administrator's kubeconfig for
// the loopback.
func newMachine(t *testing.T) *machine {
	t.Helper()
	m := &machine{root: t.TempDir()}
	m.host = host.New(m.root, nil)
	m.host.Disks = noDisks{}
	id, err := first.fleet.Identity()
	if err != nil {
		t.Fatal(err)
	}
	admin, err := id.Admin("system:admin", time.Now(), time.Hour, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	text, err := kubeconfig.New(kubeconfig.Access{Cluster: "default", CA: id.ServerCA(), Admin: admin, Servers: []kubeconfig.Server{{Name: "here", Address: "https://127.0.0.1:" + strconv.Itoa(first.port)}}})
	if err != nil {
		t.Fatal(err)
	}
	m.write(t, "etc/rancher/k3s/k3s.yaml", text)
	return m
}

func (m *machine) write(t *testing.T, name string, text []byte) {
	t.Helper()
	name = filepath.Join(m.root, name)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// seed lets firstboot bring the secrets of a node.yaml into the cluster.
func (m *machine) seed(t *testing.T, secrets ...node.Secret) error {
	t.Helper()
	c := *first.config
	c.Headscale.AuthKey = "hskey-auth-x"
	c.K3s.Seed.Secrets = secrets
	text, err := node.Marshal(&c)
	if err != nil {
		t.Fatal(err)
	}
	m.write(t, contract.BootDir+"/"+node.FileName, text)
	return firstboot.Run(context.Background(), m.host, firstboot.Options{Only: []string{"secrets"}}, func(firstboot.Status) {})
}

// stored is a secret as the API has it.
type stored struct {
	Type     string
	Data     map[string][]byte
	Metadata struct {
		ResourceVersion     string
		Labels, Annotations map[string]string
		ManagedFields       []struct{ Manager, Operation string }
	}
}

func read(t *testing.T, s node.Secret) (got stored) {
	t.Helper()
	if err := first.get(context.Background(), secretPath(s), &got); err != nil {
		t.Fatal(err)
	}
	return got
}

func secretPath(s node.Secret) string {
	return "/api/v1/namespaces/" + s.Namespace + "/secrets/" + s.Name
}

// holds compares the data of a secret with what node.yaml says.
func holds(got stored, want node.Secret) bool {
	have := map[string]secret.String{}
	for k, v := range got.Data {
		have[k] = secret.String(v)
	}
	return maps.Equal(have, want.Data)
}

// TestFirstbootSeedsTheFleetsSecrets into namespaces that it makes, with labels,
// and without the copy in an annotation that kubectl leaves.
func TestFirstbootSeedsTheFleetsSecrets(t *testing.T) {
	secrets := first.config.K3s.Seed.Secrets
	if len(secrets) != 2 {
		t.Fatalf("the fleet has %d secrets", len(secrets))
	}
	m := newMachine(t)
	if err := m.seed(t, secrets...); err != nil {
		t.Fatal(err)
	}
	for _, s := range secrets {
		got := read(t, s)
		if !holds(got, s) || !maps.Equal(got.Metadata.Labels, s.Labels) || got.Type != "Opaque" || len(got.Metadata.Annotations) != 0 {
			t.Errorf("%s/%s is %s, labels %v, annotations %v, with %d values", s.Namespace, s.Name, got.Type, got.Metadata.Labels, got.Metadata.Annotations, len(got.Data))
		}
		if by := got.Metadata.ManagedFields; len(by) != 1 || by[0].Manager != "imagebuilder" || by[0].Operation != "Apply" {
			t.Errorf("%s/%s is managed by %v", s.Namespace, s.Name, by)
		}
	}
	if err := m.seed(t, secrets...); err != nil {
		t.Fatal(err)
	}
}

// sample is a secret in a namespace that nobody has made yet.
func sample() node.Secret {
	return node.Secret{Namespace: "fresh", Name: "seeded", Labels: map[string]string{"example.net/for": "shed"}, Data: map[string]secret.String{"word": "planted-one", "lines": "planted: {\n\t\"x\"\n"}}
}

// TestASecondSeedChangesWhatNodeYAMLChanged, and else nothing.
func TestASecondSeedChangesWhatNodeYAMLChanged(t *testing.T) {
	m, s := newMachine(t), sample()
	s.Namespace = "again"
	if err := m.seed(t, s); err != nil {
		t.Fatal(err)
	}
	before := read(t, s)
	if err := m.seed(t, s); err != nil {
		t.Fatal(err)
	}
	if after := read(t, s); after.Metadata.ResourceVersion != before.Metadata.ResourceVersion || !holds(after, s) {
		t.Error("the same again is written again")
	}
	s.Data = map[string]secret.String{"word": "planted-two", "more": "planted-three"}
	s.Labels = map[string]string{"example.net/for": "cabin"}
	if err := m.seed(t, s); err != nil {
		t.Fatal(err)
	}
	if after := read(t, s); !holds(after, s) || !maps.Equal(after.Metadata.Labels, s.Labels) {
		t.Errorf("labels %v, values %v", after.Metadata.Labels, slices.Sorted(maps.Keys(after.Data)))
	}
}

// TestNodeYAMLGoesBeforeOtherManagers, who keep what is theirs alone.
func TestNodeYAMLGoesBeforeOtherManagers(t *testing.T) {
	m, s := newMachine(t), sample()
	if err := m.seed(t, s); err != nil {
		t.Fatal(err)
	}
	theirs := "{apiVersion: v1, kind: Secret, metadata: {name: seeded, namespace: fresh, labels: {example.net/for: them}}, data: {note: dGhlaXJz, word: dGhlaXJz}}"
	if err := first.put(context.Background(), secretPath(s), theirs); err != nil {
		t.Fatal(err)
	}
	if got := read(t, s); string(got.Data["word"]) != "theirs" || got.Metadata.Labels["example.net/for"] != "them" {
		t.Fatal("the other manager changed nothing")
	}
	if err := m.seed(t, s); err != nil {
		t.Fatal(err)
	}
	got := read(t, s)
	if note := string(got.Data["note"]); note != "theirs" {
		t.Errorf("what was another manager's alone is %q", note)
	}
	delete(got.Data, "note")
	if !holds(got, s) || !maps.Equal(got.Metadata.Labels, s.Labels) {
		t.Errorf("labels %v, values %v", got.Metadata.Labels, slices.Sorted(maps.Keys(got.Data)))
	}
}

// TestASecretThatTheAPIRefusesIsAProblem with the API's reason, and without the
// secret's values.
func TestASecretThatTheAPIRefusesIsAProblem(t *testing.T) {
	m := newMachine(t)
	frozen := sample()
	frozen.Namespace, frozen.Name = sampleSpace, "frozen"
	if err := first.put(context.Background(), secretPath(frozen), "{apiVersion: v1, kind: Secret, metadata: {name: frozen, namespace: sample}, immutable: true, data: {word: dGhlaXJz}}"); err != nil {
		t.Fatal(err)
	}
	labelled := sample()
	labelled.Labels = map[string]string{"no label": "planted"}
	for why, s := range map[string]node.Secret{
		"field is immutable when `immutable` is set": frozen,
		"name part must consist of":                  labelled,
	} {
		err := m.seed(t, s)
		if err == nil || !strings.Contains(err.Error(), why) || !strings.Contains(err.Error(), s.Namespace+"/secrets/"+s.Name) || strings.Contains(err.Error(), "planted") || strings.Contains(err.Error(), "cGxhbnRlZ") {
			t.Errorf("%v\nwant: %s", err, why)
		}
	}
}
