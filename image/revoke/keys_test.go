package revoke

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/image/fleet"
	"github.com/going-mobile/imagebuilder/image/headscale"
	"github.com/going-mobile/imagebuilder/image/mint"
)

// minted writes the book: the keys of cabin-box by number, and when they were made.
func (w *world) minted(t *testing.T, made map[headscale.ID]time.Time) {
	t.Helper()
	if w.dir == "" {
		w.dir = t.TempDir()
	}
	entries := []mint.Entry{}
	for id, at := range made {
		end := at.Add(14 * 24 * time.Hour)
		entries = append(entries, mint.Entry{ID: id, Minted: at, Expires: end})
		if !slices.ContainsFunc(w.keys, func(k headscale.Key) bool { return k.ID == id }) {
			w.keys = append(w.keys, headscale.Key{ID: id, Expiration: end})
		}
	}
	text, err := json.Marshal(map[string]any{"version": 1, "nodes": map[string]any{"cabin-box": entries}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(w.dir, fleet.SecretsDir, "keys.json")
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, text, 0o600)); err != nil {
		t.Fatal(err)
	}
}

// TestUnusedKey: a card that is stolen on its way lets nobody join any more. Another node's
// key, and a used key, are left alone.
func TestUnusedKey(t *testing.T) {
	yesterday := time.Now().Add(-24 * time.Hour)
	w := stolen()
	w.nodes = w.nodes[1:] // it was never a member
	w.keys = []headscale.Key{{ID: "2", Used: true, Expiration: yesterday.AddDate(0, 0, 14)}, {ID: "4", Expiration: yesterday.AddDate(0, 0, 14)}}
	w.minted(t, map[headscale.ID]time.Time{"2": yesterday, "3": yesterday})
	o, err := prepare(t, w, "cabin-box")
	if err != nil {
		t.Fatal(err)
	}
	if s := strings.Join(o.Steps(), "\n"); !strings.Contains(s, "expire the key on its card that was not used (number 3)") || strings.Contains(s, "number 4") {
		t.Errorf("%s", s)
	}
	w.stuck = errors.New("the disk is full")
	w.does(t, Options{}, "its keys that were not used: number 3 stays valid until", "vps refuses []", "home-pi refuses []")
	w.stuck = nil
	w.does(t, Options{}, "", "expire 3")
	w.does(t, Options{}, "")

	w = stolen()
	w.minted(t, map[headscale.ID]time.Time{"3": yesterday})
	w.does(t, Options{}, "", "vps refuses [7]", "home-pi refuses [7]", "expire 3", "delete 7")
}

// TestKeyOfTheNewCard: the new card's key stays, unless its owner says that this card is
// stolen as well.
func TestKeyOfTheNewCard(t *testing.T) {
	w := stolen()
	w.away = []string{"home-pi"}
	w.does(t, Options{}, "home-pi", "vps refuses [7]", "delete 7")
	w.away = nil
	w.minted(t, map[headscale.ID]time.Time{"5": time.Now().Add(time.Second)})
	o, err := prepare(t, w, "cabin-box")
	if err != nil || !strings.Contains(strings.Join(o.Steps(), "\n"), "leave the key alone that a card made since has (number 5)") {
		t.Errorf("%v", err)
	}
	w.does(t, Options{}, "", "home-pi refuses [7]")
	if _, err := prepare(t, w, "cabin-box"); err == nil || !strings.Contains(err.Error(), "A card made since has a key (number 5)") || !strings.Contains(err.Error(), "say --again") {
		t.Errorf("nothing is left but the new card's key: %v", err)
	}
	w.keys = nil
	w.minted(t, map[headscale.ID]time.Time{"5": time.Now()})
	w.does(t, Options{Again: true}, "", "vps refuses [7]", "home-pi refuses [7]", "expire 5")
}

// TestTheClusterIsLeft: a new card's key does not keep a revoked node in the cluster, where
// it could not be deleted the first time.
func TestTheClusterIsLeft(t *testing.T) {
	w := stolen()
	w.does(t, Options{}, "", "vps refuses [7]", "home-pi refuses [7]", "delete 7")
	w.minted(t, map[headscale.ID]time.Time{"5": time.Now().Add(time.Second)})
	if _, err := prepare(t, w, "cabin-box"); err == nil {
		t.Fatal("it has left the cluster, and is to leave it again")
	}
	f, err := fleet.Load(filepath.Join(w.dir, fleet.FileName), fleet.Example, nil)
	if err != nil {
		t.Fatal(err)
	}
	n, err := readNote(f, "cabin-box")
	if err != nil {
		t.Fatal(err)
	}
	n.Left = false // as when the cluster did not answer
	if err := n.write(f, "cabin-box"); err != nil {
		t.Fatal(err)
	}
	if o, err := prepare(t, w, "cabin-box"); err != nil || !strings.Contains(strings.Join(o.Steps(), "\n"), "delete it from the cluster") {
		t.Errorf("it has not left the cluster, and cannot any more: %v", err)
	}
}

// TestKeysAreNotListed: if keys could not be listed, that is reported as left, and the rest
// is done.
func TestKeysAreNotListed(t *testing.T) {
	w := stolen()
	w.minted(t, map[headscale.ID]time.Time{"3": time.Now().Add(-time.Hour)})
	w.hidden = errors.New("no list")
	w.does(t, Options{}, "its keys that were not used: no list", "vps refuses [7]", "home-pi refuses [7]", "delete 7")
}

// TestAFleetsDirectoryOfEarlier: a directory restored from before knows nothing of the
// stolen card's key. The key is found by its tags, which differ from those of other sites
// and roles. A warning names another node with the same tags.
func TestAFleetsDirectoryOfEarlier(t *testing.T) {
	end := time.Now().Add(time.Hour)
	mixed := []string{cabinTags[1], cabinTags[0]}
	w := stolen()
	w.nodes = w.nodes[1:] // it was never a member
	w.keys = []headscale.Key{
		{ID: "3", Expiration: end, Tags: mixed, User: &headscale.User{Name: "fleet"}},
		{ID: "2", Expiration: end, Tags: mixed, User: &headscale.User{Name: "another-fleet"}},
		{ID: "4", Expiration: end, Tags: mixed, Used: true},
		{ID: "5", Expiration: end.Add(-2 * time.Hour), Tags: mixed},
		{ID: "6", Expiration: end, Tags: cabinTags[:1]},
		{ID: "7", Expiration: end, Tags: append(mixed, "tag:other")},
		{ID: "8", Expiration: end, Tags: []string{"tag:k3s-agent", "tag:site-home"}},
	}
	o, err := prepare(t, w, "cabin-box")
	if err != nil {
		t.Fatal(err)
	}
	if s := strings.Join(o.Steps(), "\n"); !strings.Contains(s, "expire a key with just its tags (number 3), which secrets/keys.json") || strings.Contains(s, "number 4") || strings.Contains(s, "has the same") {
		t.Errorf("%s", s)
	}
	o, err = prepare(t, w, "cabin-box", "  cabin-box: {", "  cabin-nas: {board: optiplex-7050, site: cabin, role: agent}\n  cabin-box: {")
	if err != nil {
		t.Fatal(err)
	}
	if s := strings.Join(o.Steps(), "\n"); !strings.Contains(s, "it may be that of cabin-nas, whose card then needs another: imagebuilder key cabin-nas") {
		t.Errorf("%s", s)
	}
	w.stuck = errors.New("the disk is full")
	w.does(t, Options{}, "its keys that were not used: number 3 stays valid until", "vps refuses []", "home-pi refuses []")
	w.stuck = nil
	w.keys = append(w.keys, headscale.Key{ID: "9", Expiration: end, Tags: mixed, CreatedAt: time.Now().Add(time.Minute)}) // the new card's
	w.does(t, Options{}, "", "expire 3")
	w.does(t, Options{}, "")
}

// TestStrangerOfTheName: a stranger with the name does not prevent anything, and is
// reported. Here the owner's own laptop has the node's name, so Headscale calls the node by
// another.
func TestStrangerOfTheName(t *testing.T) {
	w := stolen()
	w.nodes[0] = headscale.Node{ID: "7", Name: "cabin-box", GivenName: "cabin-box"}
	w.nodes = append(w.nodes, headscale.Node{ID: "8", Name: "cabin-box", GivenName: "cabin-box-1", Tags: cabinTags, KeyID: "3", Online: true})
	w.keys = []headscale.Key{{ID: "3", Used: true, Expiration: time.Now().Add(time.Hour)}}
	w.minted(t, map[headscale.ID]time.Time{"3": time.Now().Add(-time.Hour)})
	o, err := prepare(t, w, "cabin-box")
	if err != nil {
		t.Fatal(err)
	}
	if s := strings.Join(o.Steps(), "\n"); !strings.Contains(s, "none of this fleet's (number 7;") || !strings.Contains(s, "headscale nodes delete -i 7") {
		t.Errorf("%s", s)
	}
	w.does(t, Options{}, "", "vps refuses [8]", "home-pi refuses [8]", "delete 8")
}
