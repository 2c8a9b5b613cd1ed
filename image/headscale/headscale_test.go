//go:build linux

package headscale_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/image/headscale"
	"github.com/going-mobile/imagebuilder/image/headscale/headscaletest"
)

// TestRealServer walks through the whole API against Headscale itself.
func TestRealServer(t *testing.T) { walk(t, headscaletest.Start(t), "v0.29.0") }

func walk(t *testing.T, s *headscaletest.Server, version string) {
	c, ctx := s.Client, context.Background()
	u, err := c.CreateUser(ctx, "edge")
	if err != nil || u.Name != "edge" || u.ID == "" {
		t.Errorf("create user: %+v, %v", u, err)
	}
	if again, err := c.CreateUser(ctx, "edge"); err != nil || again.ID != u.ID {
		t.Errorf("create it again: %+v, %v", again, err)
	}
	keys(t, c, u.ID)
	policy(t, c, version >= "v0.29")
	defer policyFile(t, s)
	if nodes, err := c.Nodes(ctx); err != nil || len(nodes) != 0 {
		t.Errorf("nodes: %v, %v", nodes, err)
	}
	if err := c.DeleteNode(ctx, "77"); !errors.Is(err, headscale.ErrNotFound) {
		t.Errorf("a node that is not there: %v", err)
	}
	wrong, err := headscale.New(s.URL, "hskey-api-wrong-key", "")
	if err != nil {
		t.Fatal(err)
	}
	_, err = wrong.Users(ctx)
	if !errors.Is(err, headscale.ErrUnauthorized) || strings.Contains(err.Error(), "wrong-key") {
		t.Errorf("wrong API key: %v", err)
	}
}

func keys(t *testing.T, c *headscale.Client, user headscale.ID) {
	ctx := context.Background()
	if _, err := c.CreateKey(ctx, headscale.KeyRequest{User: user}); err == nil {
		t.Error("a key without expiry was made")
	}
	k, err := c.CreateKey(ctx, headscale.KeyRequest{User: user, Tags: []string{"tag:site-a"}, Expires: time.Now().Add(time.Hour)})
	if err != nil || k.Key.Empty() || k.Used || len(k.Tags) != 1 {
		t.Fatalf("create key: %+v, %v", k, err)
	}
	if s := fmt.Sprintf("%v %+v %#v", k, k, k); strings.Contains(s, k.Key.Reveal()) {
		t.Error("a key prints itself")
	}
	if all, err := c.ListKeys(ctx); err != nil || len(all) != 1 || all[0].ID != k.ID {
		t.Errorf("list keys: %v, %v", all, err)
	}
	if err := c.ExpireKey(ctx, k); err != nil {
		t.Error(err)
	}
	if err := c.ExpireKey(ctx, headscale.Key{ID: "4711"}); !errors.Is(err, headscale.ErrNotFound) {
		t.Errorf("expire what is not there: %v", err)
	}
	var api *headscale.APIError
	if _, err := c.CreateKey(ctx, headscale.KeyRequest{User: "999", Expires: time.Now().Add(time.Hour)}); !errors.As(err, &api) && !errors.Is(err, headscale.ErrNotFound) {
		t.Errorf("a key for nobody: %v", err)
	}
}

func policy(t *testing.T, c *headscale.Client, checks bool) {
	ctx := context.Background()
	if without, err := c.SetPolicy(ctx, headscaletest.Policy); err != nil || without && checks {
		t.Errorf("set the policy: %t, %v", without, err)
	}
	if text, err := c.Policy(ctx); err != nil || !strings.Contains(text, "tag:site-b") {
		t.Errorf("the policy: %q, %v", text, err)
	}
	if !checks {
		if err := c.PolicyCheck(ctx, headscaletest.Policy); !errors.Is(err, headscale.ErrNotFound) {
			t.Errorf("an old server checks a policy: %v", err)
		}
		return
	}
	if err := c.PolicyCheck(ctx, headscaletest.Policy); err != nil {
		t.Error(err)
	}
	var api *headscale.APIError
	err := c.PolicyCheck(ctx, `{"acls":[{"action":"accept","src":["tag:nobody"],"dst":["*:*"]}]}`)
	if !errors.As(err, &api) {
		t.Errorf("a bad policy: %v", err)
	}
}

// policyFile: a policy in a file is read like another, and cannot be set; one that is missing
// is neither.
func policyFile(t *testing.T, s *headscaletest.Server) {
	ctx, name := context.Background(), filepath.Join(t.TempDir(), "policy.hujson")
	if err := os.WriteFile(name, []byte("{ /* of a file */ }"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.Configure("policy", map[string]string{"mode": "file", "path": name})
	if text, err := s.Client.Policy(ctx); err != nil || text != "{ /* of a file */ }" {
		t.Errorf("a policy in a file: %q, %v", text, err)
	}
	if _, err := s.Client.SetPolicy(ctx, headscaletest.Policy); !errors.Is(err, headscale.ErrPolicyInFile) {
		t.Errorf("set it: %v", err)
	}
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	if text, err := s.Client.Policy(ctx); !errors.Is(err, headscale.ErrPolicyInFile) {
		t.Errorf("a file that is missing: %q, %v", text, err)
	}
}
