//go:build linux

package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/firstboot/host"
)

// TestCordonAndSnapshot does what an update of many nodes requests from a server.
func TestCordonAndSnapshot(t *testing.T) {
	m := newMachine(t, build(t), serverYAML, "server-token")
	if msg, err := m.command("etcd-snapshot", "save", "--name", "x").CombinedOutput(); err == nil {
		t.Errorf("without a server: %s", msg)
	}
	m.start("server")
	net := host.New(m.root, nil).Net
	ctx, conf := context.Background(), "/etc/rancher/k3s/k3s.yaml"
	for _, want := range []string{`"unschedulable":true`, `"unschedulable":false`} {
		if err := net.Patch(ctx, conf, "/api/v1/nodes/home-pi", []byte(`{"metadata":{"annotations":{"a/b":null}},"spec":{`+want+`}}`)); err != nil {
			t.Fatal(err)
		}
		if err := net.Patch(ctx, conf, "/api/v1/nodes/home-pi", []byte(`{"metadata":{"labels":{"a/b":"c"}}}`)); err != nil {
			t.Fatal(err)
		}
		if got, err := net.API(ctx, conf, "/api/v1/nodes/home-pi"); err != nil || !strings.Contains(string(got), want) {
			t.Errorf("%v: %s, want %s", err, got, want)
		}
	}
	if got, err := net.API(ctx, conf, "/api/v1/pods?fieldSelector=spec.nodeName%3Dhome-pi"); err != nil || !strings.Contains(string(got), `"items":[]`) {
		t.Errorf("%v: %s", err, got)
	}
	dir := filepath.Join(m.root, "var/lib/rancher/k3s/server/db/snapshots")
	if msg, err := m.command("etcd-snapshot", "save", "--name", "before-update").CombinedOutput(); err != nil || !strings.Contains(string(msg), "saved.") {
		t.Errorf("%v: %s", err, msg)
	}
	for _, older := range []string{"before-update-home-pi-1700000001", "before-update-home-pi-1700000002", "other-home-pi-1"} {
		if err := os.WriteFile(filepath.Join(dir, older), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if msg, err := m.command("etcd-snapshot", "prune", "--name", "before-update", "--snapshot-retention", "2").CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, msg)
	}
	left, _ := filepath.Glob(filepath.Join(dir, "*"))
	if len(left) != 3 || filepath.Base(left[0]) != "before-update-home-pi-1700000002" || filepath.Base(left[2]) != "other-home-pi-1" {
		t.Errorf("%q", left)
	}
}
