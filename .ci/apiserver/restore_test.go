package apiserver_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot"
	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/node"
)

const (
	longhorn = "/apis/longhorn.io/v1beta2/namespaces/longhorn-system/"
	asks     = "systemrestores/r-01d49076" // for weekly-1
)

// restore lets firstboot work at bringing volumes back, once.
func (m *machine) restore(t *testing.T) *firstboot.Problem {
	t.Helper()
	c := *first.config
	c.Headscale.AuthKey = "hskey-auth-x"
	c.K3s.Seed.Restore = &node.Restore{SystemBackup: "weekly-1", Claims: map[string]string{"brought-back/home": "backup-1"}, Manifests: map[string]string{"later": "kind: Later\n"}}
	text, err := node.Marshal(&c)
	if err != nil {
		t.Fatal(err)
	}
	m.write(t, contract.BootDir+"/"+node.FileName, text)
	err = firstboot.Run(context.Background(), m.host, firstboot.Options{Only: []string{"restore"}}, func(firstboot.Status) {})
	var p *firstboot.Problem
	if err != nil && !errors.As(err, &p) {
		t.Fatal(err)
	}
	return p
}

// says changes an object as its controller does.
func says(t *testing.T, object, status string) {
	t.Helper()
	code, answer, err := first.do(context.Background(), http.MethodPatch, object+"/status", "application/merge-patch+json", []byte(`{"status":`+status+`}`))
	if err != nil || code != http.StatusOK {
		t.Fatalf("%s: %d %s %v", object, code, answer, err)
	}
}

// TestVolumesAreBroughtBackThroughTheAPI, with Longhorn's kinds there and its
// manager played: what firstboot reads has the form that the API gives it, and what
// it asks for is taken.
func TestVolumesAreBroughtBackThroughTheAPI(t *testing.T) {
	m := newMachine(t)
	waits := func(code, word string) {
		t.Helper()
		for begin := time.Now(); ; time.Sleep(100 * time.Millisecond) { // a list of a kind that is new is refused at first (429)
			p := m.restore(t)
			if p != nil && p.Code == code && strings.Contains(p.Summary, word) {
				return
			}
			if time.Since(begin) > 30*time.Second {
				t.Fatalf("%+v, want %s: %s", p, code, word)
			}
		}
	}
	waits("restore-waiting", "not found it in the bucket")
	must(t, longhorn+"systembackups/weekly-1", `{"apiVersion":"longhorn.io/v1beta2","kind":"SystemBackup","metadata":{"name":"weekly-1","namespace":"longhorn-system"},"spec":{}}`)
	says(t, longhorn+"systembackups/weekly-1", `{"state":"Ready"}`)
	waits("restore-waiting", "backup-1 of brought-back/home is not listed")
	must(t, longhorn+"backups/backup-1", `{"apiVersion":"longhorn.io/v1beta2","kind":"Backup","metadata":{"name":"backup-1","namespace":"longhorn-system"},"spec":{}}`)
	says(t, longhorn+"backups/backup-1", `{"state":"Completed"}`)
	waits("restore-waiting", "no node with a disk")
	must(t, longhorn+"nodes/box", `{"apiVersion":"longhorn.io/v1beta2","kind":"Node","metadata":{"name":"box","namespace":"longhorn-system"},"spec":{"disks":{"d":{"allowScheduling":true,"path":"/var/lib/longhorn"}}}}`)
	waits("restore-running", "asked for")
	var asked struct{ Spec struct{ SystemBackup string } }
	if err := first.get(context.Background(), longhorn+asks, &asked); err != nil || asked.Spec.SystemBackup != "weekly-1" {
		t.Fatalf("%+v, %v", asked, err)
	}
	if err := first.get(context.Background(), "/api/v1/namespaces/brought-back", &asked); err != nil {
		t.Fatal(err)
	}
	says(t, longhorn+asks, `{"state":"Error","conditions":[{"type":"Error","message":"no room"}]}`)
	waits("restore-failed", "no room")
	says(t, longhorn+asks, `{"state":"Completed"}`)
	waits("restore-partial", "brought-back/home")
	const claim = "/api/v1/namespaces/brought-back/persistentvolumeclaims/home"
	must(t, claim, `{"apiVersion":"v1","kind":"PersistentVolumeClaim","metadata":{"name":"home","namespace":"brought-back"},"spec":{"storageClassName":"longhorn","accessModes":["ReadWriteOnce"],"resources":{"requests":{"storage":"1Gi"}}}}`)
	waits("restore-running", "Pending: brought-back/home") // no controller binds it here
	says(t, claim, `{"phase":"Bound"}`)
	if p := m.restore(t); p != nil {
		t.Fatalf("%+v", p)
	}
}

// must puts an object into the cluster.
func must(t *testing.T, path, object string) {
	t.Helper()
	if err := first.put(context.Background(), path, object); err != nil {
		t.Fatal(err)
	}
}
