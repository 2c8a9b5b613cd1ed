package apt

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// TestClocksDiffer: an index that was signed a little after this computer's time is accepted; for
// one that was signed much later, the error says to check the clock. This does not accept a key
// that has expired by now, nor one that has expired by the time of the signature.
func TestClocksDiffer(t *testing.T) {
	lasting := newKey(t, packet.PubKeyAlgoEdDSA)
	until := func(end time.Time) *openpgp.Entity {
		born := today.AddDate(-1, 0, 0)
		key, err := openpgp.NewEntity("test archive", "", "archive@mirror.example", &packet.Config{
			Time: func() time.Time { return born }, Algorithm: packet.PubKeyAlgoEdDSA, KeyLifetimeSecs: uint32(end.Sub(born) / time.Second),
		})
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	for _, c := range []struct {
		after time.Duration
		key   *openpgp.Entity
		want  string
	}{
		{0, lasting, ""},
		{30 * time.Minute, lasting, ""},
		{48 * time.Hour, lasting, fmt.Sprintf("signature of key %016X is dated 24 November 2026 12:00 UTC, which is in the future; is the clock right? It says 22 November 2026 12:00 UTC", lasting.PrimaryKey.KeyId)},
		{30 * time.Minute, until(today.Add(-time.Minute)), "key expired"},
		{30 * time.Minute, until(today.Add(time.Minute)), "key expired"},
		{-time.Hour, until(today.Add(-time.Minute)), "key expired"},
	} {
		r := newRepo(t)
		r.key = c.key
		rel := trixie(stanza("amd64", "bash 5"))
		rel.date = today.Add(c.after)
		r.publish(rel)
		r.files["dists/trixie/InRelease"] = signAt(t, rel.date, r.text(rel), c.key)
		_, err := r.load(openCache(t), Options{}, r.suite("trixie"))
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("signed %s after now: %v, want %q", c.after, err, c.want)
		}
	}
}

// TestNoPasswordOfAMirror is in what is said of its index.
func TestNoPasswordOfAMirror(t *testing.T) {
	r := newRepo(t)
	rel := trixie(stanza("amd64", "bash 5"))
	rel.until = today.Add(-time.Minute)
	r.publish(rel)
	s := r.suite("trixie")
	s.Mirrors[0] = strings.Replace(s.Mirrors[0], "http://", "http://user:hunter2@", 1)
	_, err := r.load(openCache(t), Options{}, s)
	if err == nil || !strings.Contains(err.Error(), "index expired on") || strings.Contains(err.Error(), "hunter2") {
		t.Error(err)
	}
}
