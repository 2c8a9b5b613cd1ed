//go:build linux

package main

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot"
	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/host"
)

const chart = "apiVersion: helm.cattle.io/v1\nkind: HelmChart\nmetadata: {name: longhorn, namespace: kube-system}\nspec: {chart: x%s}\n"

// TestObjectsAreJudged: in manifests and in a server-side apply, an object with a mistake is
// refused; a file with one is read again later.
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

// TestObjectsAreWhatTheirControllersSay: a test creates in the stand-in what Longhorn would have
// created, and firstboot finds it as in the API.
func TestObjectsAreWhatTheirControllersSay(t *testing.T) {
	m := newMachine(t, build(t), serverYAML, "server-token")
	m.start("server")
	net := host.New(m.root, nil).Net
	ctx, conf := context.Background(), "/etc/rancher/k3s/k3s.yaml"
	const nodes = contract.LonghornAPI + "nodes"
	for _, path := range []string{nodes, nodes + "/home-pi", "/api/v1/namespaces/cloud/persistentvolumeclaims/data"} {
		if got, err := net.API(ctx, conf, path); !errors.Is(err, firstboot.ErrNoObject) {
			t.Errorf("%s: %s, %v", path, got, err)
		}
	}
	create := func(object string) {
		t.Helper()
		cmd := m.command("kubectl", "create", "--raw", "/v1-standin/objects", "-f", "-")
		cmd.Stdin = strings.NewReader(object)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	create(`{"apiVersion":"longhorn.io/v1beta2","kind":"Node","metadata":{"namespace":"longhorn-system","name":"home-pi"},"spec":{"disks":{"d":{"allowScheduling":true}}}}`)
	create(`{"apiVersion":"v1","kind":"PersistentVolumeClaim","metadata":{"namespace":"cloud","name":"data"},"status":{"phase":"Bound"}}`)
	for path, want := range map[string]string{nodes: `{"items":[{`, nodes + "/home-pi": `"allowScheduling":true`, "/api/v1/namespaces/cloud/persistentvolumeclaims/data": `"Bound"`} {
		if got, err := net.API(ctx, conf, path); err != nil || !strings.Contains(string(got), want) {
			t.Errorf("%s: %s, %v", path, got, err)
		}
	}
	restore := []byte(`{"apiVersion":"longhorn.io/v1beta2","kind":"SystemRestore","metadata":{"namespace":"longhorn-system","name":"r-1"},"spec":{"systemBackup":"weekly"}}`)
	if err := net.Apply(ctx, conf, contract.LonghornAPI+"systemrestores/r-1", restore); err == nil {
		t.Error("it has a place in no namespace")
	}
	const volumes = "/api/v1/persistentvolumes"
	if got, err := net.API(ctx, conf, volumes); err != nil || !strings.Contains(string(got), `"items":[]`) {
		t.Errorf("a kind that is always there: %s, %v", got, err)
	}
	create(`{"apiVersion":"v1","kind":"PersistentVolume","metadata":{"name":"pvc-1","resourceVersion":"7"},"spec":{"csi":{"driver":"driver.longhorn.io"}},"status":{"phase":"Available"}}`)
	for version, want := range map[string]bool{"6": false, "7": true} {
		err := net.Patch(ctx, conf, volumes+"/pvc-1", []byte(`{"metadata":{"resourceVersion":"`+version+`"},"spec":{"claimRef":{"name":"x"}}}`))
		if (err == nil) != want {
			t.Errorf("a volume at version %s: %v", version, err)
		}
	}
	if got, err := net.API(ctx, conf, volumes); err != nil || !strings.Contains(string(got), `"claimRef":{"name":"x"},"csi":{"driver"`) {
		t.Errorf("a volume that was given away: %s, %v", got, err)
	}
	create(`{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"longhorn-system"}}`)
	if err := net.Apply(ctx, conf, contract.LonghornAPI+"systemrestores/r-1", restore); err != nil {
		t.Error(err)
	}
}
