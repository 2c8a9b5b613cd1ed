package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"io"
	"net/netip"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/image/fleet"
	"github.com/going-mobile/imagebuilder/image/handover"
	"github.com/going-mobile/imagebuilder/image/inquiry"
	"github.com/going-mobile/imagebuilder/image/roster"
)

// TestApplyTellsWhereItStopped: the JSON names the node, and those that have not had their
// turn. A node for which nothing would change has none.
func TestApplyTellsWhereItStopped(t *testing.T) {
	dir := t.TempDir()
	if err := fleet.Init(dir, fleet.InitOptions{Name: "shed", Headscale: "https://hs.example.org"}, time.Now(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	f, err := loadFleet(filepath.Join(dir, fleet.FileName))
	if err != nil {
		t.Fatal(err)
	}
	var rows []roster.Row
	for _, name := range f.Nodes.Names {
		rows = append(rows, roster.Row{Node: name, State: roster.Online, Address: netip.MustParseAddr("100.64.0.1")})
	}
	line := func(_ context.Context, node, command string, _ io.Reader) ([]byte, error) {
		switch {
		case command != contract.AskPreview:
			return nil, &inquiry.No{Words: "firstboot: too large"}
		case node == "cabin-box":
			return []byte(`{"inForce": true}`), nil
		}
		return []byte(`{"inForce": false, "fields": ["k3s.labels"]}`), nil
	}
	order, err := handover.Prepare(t.Context(), f, rows, roster.Choice{All: true}, line, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := (&applyFlags{asJSON: true}).conclude(&out, order, order.Run(t.Context(), false)); err == nil {
		t.Error("no error")
	}
	var got struct{ Stopped stop }
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if s := got.Stopped; s.Node != "home-pi" || s.Why != "firstboot: too large" || !slices.Equal(s.NotBegun, []string{"cabin-pi", "home-box"}) {
		t.Errorf("%+v", s)
	}
}
