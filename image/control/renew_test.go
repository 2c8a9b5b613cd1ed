//go:build linux

package control

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/image/fleet"
	"github.com/going-mobile/imagebuilder/image/headscale"
)

// TestRenew: a real Headscale's key in its last month is recognised and replaced by the next
// one. A key that the server does not accept is not replaced, and the error says what to do.
func TestRenew(t *testing.T) {
	v := newVPS(t)
	f, err := fleet.LoadFile(filepath.Join(v.dir, "fleet.yaml"), nil)
	if err != nil {
		t.Fatal(err)
	}
	open := func() *headscale.Client {
		client, err := Client(f)
		if err != nil {
			t.Fatal(err)
		}
		client.DialAt("127.0.0.1", "") // the certificate's name leads nowhere
		return client
	}
	ends := func() time.Time {
		end, err := EndsSoon(t.Context(), open(), time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return end
	}
	old := v.hs.NewAPIKey(20 * 24 * time.Hour).Reveal()
	v.write("secrets/headscale.key", old+"\n")
	if left := time.Until(ends()).Round(time.Hour); left != 20*24*time.Hour {
		t.Errorf("it ends in %v", left)
	}
	d, err := v.init()
	if err != nil || !d.Created || time.Until(d.Ended).Round(time.Hour) != 20*24*time.Hour {
		t.Fatalf("%+v, %v", d, err)
	}
	if v.read("secrets/headscale.key") == old+"\n" || !ends().IsZero() {
		t.Error("it is the old key")
	}
	if d, err := v.init(); err != nil || d.Created || !d.Ended.IsZero() {
		t.Errorf("the second time: %+v, %v", d, err)
	}

	v.write("secrets/headscale.key", "hskey-api-abcdefghijkl-0000000000000000000000000000000000000000000000000000000000000000")
	_, err = open().Nodes(t.Context())
	if want := "remove secrets/headscale.key, and 'imagebuilder headscale init' makes the next one"; !errors.Is(err, headscale.ErrUnauthorized) || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %q", err, want)
	}
}
