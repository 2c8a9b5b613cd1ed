//go:build linux

package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/host"
)

const chart = "apiVersion: helm.cattle.io/v1\nkind: HelmChart\nmetadata: {name: longhorn, namespace: kube-system}\nspec: {chart: x%s}\n"

// TestObjectsAreJudged: manifests and a server-side apply, what has a mistake is
// refused and, as a file, looked at again.
func TestObjectsAreJudged(t *testing.T) {
	m := newMachine(t, build(t), serverYAML, "server-token")
	const file = "var/lib/rancher/k3s/server/manifests/imagebuilder-longhorn.yaml"
	m.write(file, strings.Replace(chart, "%s", ", valueContent: a", 1))
	m.start("server")
	net := host.New(m.root, nil).Net
	ctx, conf := context.Background(), "/etc/rancher/k3s/k3s.yaml"
	secret := []byte(`{"apiVersion":"v1","kind":"Secret","metadata":{"name":"s3","namespace":"longhorn-system"},"data":{"KEY":"eA=="}}`)
	const path = "/api/v1/namespaces/longhorn-system"
	if err := net.Apply(ctx, conf, path+"/secrets/s3", secret); err == nil || !strings.Contains(err.Error(), "not found") {
		t.Errorf("without its namespace: %v", err)
	}
	if err := net.Apply(ctx, conf, path, []byte(`{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"longhorn-system"},"spc":{}}`)); err == nil || !strings.Contains(err.Error(), "did you mean spec") {
		t.Errorf("with a mistake: %v", err)
	}
	if err := net.Apply(ctx, conf, path, []byte(`{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"longhorn-system"}}`)); err != nil {
		t.Error(err)
	}
	if err := net.Apply(ctx, conf, path+"/secrets/s3", secret); err != nil {
		t.Error(err)
	}
	all, err := net.API(ctx, conf, "/v1-standin/objects")
	if want := `["Namespace longhorn-system","Secret longhorn-system/s3"]`; err != nil || strings.TrimSpace(string(all)) != want {
		t.Errorf("%v: %s", err, all)
	}
	m.write(file, strings.Replace(chart, "%s", "", 1))
	for begin := time.Now(); !strings.Contains(string(all), `"HelmChart kube-system/longhorn"`); time.Sleep(100 * time.Millisecond) {
		if all, err = net.API(ctx, conf, "/v1-standin/objects"); err != nil || time.Since(begin) > time.Minute {
			t.Fatalf("%v: %s", err, all)
		}
	}
}
