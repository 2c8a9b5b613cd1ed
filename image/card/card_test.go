//go:build linux

package card_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/image/card"
	"github.com/going-mobile/imagebuilder/image/flash"
	"github.com/going-mobile/imagebuilder/image/headscale"
	"github.com/going-mobile/imagebuilder/image/headscale/headscaletest"
	"github.com/going-mobile/imagebuilder/image/imagetest"
	"github.com/going-mobile/imagebuilder/image/mint"
	"github.com/going-mobile/imagebuilder/image/progress"
)

// interrupts ends the context when a stage begins.
type interrupts struct {
	progress.Reporter
	stage string
	end   func()
}

func (i interrupts) Start(stage, name string, total int64) progress.Task {
	if stage == i.stage {
		i.end()
	}
	return i.Reporter.Start(stage, name, total)
}

// valid lists the keys with which a node could still join.
func valid(t *testing.T, s *headscaletest.Server) (ids []headscale.ID) {
	t.Helper()
	all, err := s.Client.ListKeys(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range all {
		if !k.Used && k.Expiration.After(time.Now()) {
			ids = append(ids, k.ID)
		}
	}
	return ids
}

// TestNoKeyIsLeftBehind of a card that was not written, because it is for another board,
// does not fit, or was interrupted. The key of the previous card, which is in the post,
// stays valid. After a card was written, only its key is valid.
func TestNoKeyIsLeftBehind(t *testing.T) {
	s := headscaletest.Start(t)
	f := s.NewFleet()
	m, err := mint.Open(f, s.Client)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	dir := t.TempDir()
	image, other, target := filepath.Join(dir, "rpi4.img"), filepath.Join(dir, "rpi5.img"), filepath.Join(dir, "card")
	for name, board := range map[string]string{image: "rpi4", other: "rpi5"} {
		if err := imagetest.Write(name, board, contract.MBR, true); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := card.Write(t.Context(), f, m, card.Card{Node: "home-pi", Image: image, Target: filepath.Join(dir, "posted")}, flash.Options{}); err != nil {
		t.Fatal(err)
	}
	posted := valid(t, s)
	for name, c := range map[string]struct {
		image, target, stop string
		device              flash.Device
		words               string
	}{
		"another board":                   {image: other, target: target, words: "rpi5"},
		"nowhere to write it":             {image: image, target: filepath.Join(dir, "none", "card"), words: "no such file"},
		"the device is gone":              {image: image, target: target, device: flash.Device{Path: "/dev/sdb"}, words: "/dev/sdb (0 bytes) is gone"},
		"interrupted while it is written": {image: image, target: target, stop: "write", words: context.Canceled.Error()},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, end := context.WithCancel(t.Context())
			defer end()
			_, err := card.Write(ctx, f, m, card.Card{Node: "home-pi", Image: c.image, Target: c.target, Device: c.device}, flash.Options{Progress: interrupts{progress.Discard, c.stop, end}})
			if err == nil || !strings.Contains(err.Error(), c.words) || strings.Contains(err.Error(), "hskey") {
				t.Errorf("%v, want %q", err, c.words)
			}
			if _, err := os.Stat(target); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("a card is there: %v", err)
			}
			if got := valid(t, s); !slices.Equal(got, posted) || len(got) != 1 {
				t.Errorf("keys %v are good, that of the card in the post is %v", got, posted)
			}
		})
	}
	all, err := s.Client.ListKeys(t.Context())
	if err != nil || len(all) != 2 {
		t.Errorf("%d keys were made, of which one card could be refused no more, %v", len(all), err)
	}
	w, err := card.Write(t.Context(), f, m, card.Card{Node: "home-pi", Image: image, Target: target}, flash.Options{})
	if err != nil {
		t.Fatal(err)
	}
	written, err := os.ReadFile(target)
	if got := valid(t, s); err != nil || len(got) != 1 || slices.Equal(got, posted) || !w.Key.Replaced || !strings.Contains(string(written), w.Key.Text.Reveal()) {
		t.Errorf("%v are good, %v", got, err)
	}
}
