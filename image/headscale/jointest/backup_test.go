//go:build linux

package jointest

import (
	"context"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"github.com/going-mobile/imagebuilder/firstboot/backup"
	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/image/headscale/headscaletest"
)

// fakeS3 serves a bucket.
func fakeS3(t *testing.T) *node.S3 {
	t.Helper()
	memory := s3mem.New()
	if err := memory.CreateBucket("home"); err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(gofakes3.New(memory).Server())
	t.Cleanup(s.Close)
	return &node.S3{Endpoint: s.URL, Region: "eu-west-1", Bucket: "home", Prefix: "headscale/", AccessKey: "id", SecretKey: "secret"}
}

// TestARestoredServerKnowsItsNodes: a copy is made while the server runs and a
// node is in its tailnet; a machine that is new takes it from the bucket, and
// the node is a member as before, without a new key.
func TestARestoredServerKnowsItsNodes(t *testing.T) {
	program, s, bucket := program(t), headscaletest.Start(t), backup.Bucket(fakeS3(t))
	m := newMachine(t, "box", s, s.Key("tag:site-a", time.Hour).Key)
	m.start(program)
	m.want("")
	before := nodes(t, s)["box"]
	k := &backup.Keeper{Data: s.Data(), Stores: []backup.Store{backup.Dir(t.TempDir()), bucket}, UID: os.Getuid(), GID: os.Getgid()}
	if err := k.Backup(t.Context(), time.Now()); err != nil {
		t.Fatal(err)
	}

	s.Stop()
	files, err := filepath.Glob(s.Data() + "/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		if base := filepath.Base(name); strings.HasPrefix(base, "db.sqlite") || strings.HasSuffix(base, ".key") {
			if err := os.Remove(name); err != nil {
				t.Fatal(err)
			}
		}
	}
	k.Stores = []backup.Store{backup.Dir(t.TempDir()), bucket} // its own disk is gone
	name, err := k.Restore(t.Context(), func(s string) { t.Error(s) })
	if err != nil || name == "" {
		t.Fatalf("%q, %v", name, err)
	}
	s.Run()
	after := nodes(t, s)
	if len(after) != 1 || after["box"].ID != before.ID || !slices.Equal(after["box"].Addresses, before.Addresses) {
		t.Errorf("it knows %+v, before %+v", after, before)
	}
	for end := time.Now().Add(3 * time.Minute); !nodes(t, s)["box"].Online; time.Sleep(200 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it does not take the node back")
		}
	}
	m.cfg.Headscale.AuthKey = ""
	m.want("")
	if name, err := k.Restore(context.Background(), func(s string) { t.Error(s) }); name != "" || err != nil {
		t.Errorf("over a database that is there: %q, %v", name, err)
	}
}
