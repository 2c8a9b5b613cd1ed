package apt

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"github.com/going-mobile/imagebuilder/image/fetch"
)

var today = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// repo is a Debian archive in memory.
type repo struct {
	t     *testing.T
	key   *openpgp.Entity
	mu    sync.Mutex
	files map[string][]byte
	asked map[string]int
	url   string
}

func newKey(t testing.TB, algorithm packet.PublicKeyAlgorithm) *openpgp.Entity {
	t.Helper()
	config := &packet.Config{Time: func() time.Time { return today.AddDate(-1, 0, 0) }, Algorithm: algorithm, RSABits: 2048}
	key, err := openpgp.NewEntity("test archive", "", "archive@mirror.example", config)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// public is the key as a caller passes it.
func public(t *testing.T, keys ...*openpgp.Entity) []byte {
	t.Helper()
	var b bytes.Buffer
	for _, k := range keys {
		if err := k.Serialize(&b); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

func newRepo(t *testing.T) *repo {
	r := &repo{t: t, key: newKey(t, packet.PubKeyAlgoEdDSA), files: map[string][]byte{}, asked: map[string]int{}}
	s := httptest.NewServer(r)
	t.Cleanup(s.Close)
	r.url = s.URL + "/debian"
	return r
}

func (r *repo) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked[req.URL.Path]++
	b, ok := r.files[strings.TrimPrefix(req.URL.Path, "/debian/")]
	if !ok {
		http.NotFound(w, req)
		return
	}
	http.ServeContent(w, req, "", time.Time{}, bytes.NewReader(b))
}

func (r *repo) requests() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, k := range r.asked {
		n += k
	}
	return n
}

// release is a suite to publish; publish fills what is empty.
type release struct {
	suite, extra string // extra lines of the Release file
	date, until  time.Time
	packages     map[string]string // by component
	compress     string            // extension
	architecture string
}

// text publishes the indexes and returns the Release file.
func (r *repo) text(rel release) string {
	var components []string
	var sums strings.Builder
	for c, text := range rel.packages {
		components = append(components, c)
		name := c + "/binary-" + rel.architecture + "/Packages"
		packed := compress(r.t, text, rel.compress)
		fmt.Fprintf(&sums, " %x %d %s\n %x %d %s\n", sha256.Sum256([]byte(text)), len(text), name, sha256.Sum256(packed), len(packed), name+rel.compress)
		r.files["dists/"+rel.suite+"/"+name+rel.compress] = packed
	}
	const layout = "Mon, 02 Jan 2006 15:04:05 UTC"
	s := fmt.Sprintf("Origin: Test\nSuite: %s\nCodename: %s\nDate: %s\n", rel.suite, rel.suite, rel.date.Format(layout))
	if !rel.until.IsZero() {
		s += "Valid-Until: " + rel.until.Format(layout) + "\n"
	}
	return s + fmt.Sprintf("Architectures: all amd64 arm64\nNo-Support-for-Architecture-all: Packages\nComponents: %s\n%sSHA256:\n%s", strings.Join(components, " "), rel.extra, &sums)
}

func compress(t *testing.T, text, ext string) []byte {
	var b bytes.Buffer
	switch ext {
	case ".gz":
		w := gzip.NewWriter(&b)
		w.Write([]byte(text))
		w.Close()
	case ".zst":
		w, err := zstd.NewWriter(&b)
		if err != nil {
			t.Fatal(err)
		}
		w.Write([]byte(text))
		w.Close()
	default:
		b.WriteString(text)
	}
	return b.Bytes()
}

func sign(t testing.TB, text string, keys ...*openpgp.Entity) []byte {
	t.Helper()
	return signAt(t, today.Add(-time.Hour), text, keys...)
}

func signAt(t testing.TB, at time.Time, text string, keys ...*openpgp.Entity) []byte {
	t.Helper()
	var b bytes.Buffer
	var private []*packet.PrivateKey
	for _, k := range keys {
		private = append(private, k.PrivateKey)
	}
	w, err := clearsign.EncodeMulti(&b, private, &packet.Config{Time: func() time.Time { return at }})
	if err != nil {
		t.Fatal(err)
	}
	w.Write([]byte(text))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	b.WriteByte('\n')
	return b.Bytes()
}

// signWeakly is sign with a hash that go-crypto does not sign with any more.
func signWeakly(t testing.TB, text string, key *openpgp.Entity, hash crypto.Hash) []byte {
	t.Helper()
	block, _ := clearsign.Decode(sign(t, text, key))
	sig := &packet.Signature{
		Version: key.PrimaryKey.Version, SigType: packet.SigTypeText, PubKeyAlgo: key.PrimaryKey.PubKeyAlgo,
		Hash: hash, CreationTime: today.Add(-time.Hour), IssuerKeyId: &key.PrimaryKey.KeyId,
	}
	h := hash.New()
	h.Write(block.Bytes)
	plain := false // salts are only for hashes of today
	if err := sig.Sign(h, key.PrivateKey, &packet.Config{NonDeterministicSignaturesViaNotation: &plain}); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "-----BEGIN PGP SIGNED MESSAGE-----\nHash: %s\n\n%s\n", strings.ReplaceAll(hash.String(), "-", ""), text)
	w, err := armor.Encode(&b, "PGP SIGNATURE", nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(sig.Serialize(w), w.Close()); err != nil {
		t.Fatal(err)
	}
	b.WriteByte('\n')
	return b.Bytes()
}

// publish signs and stores a suite.
func (r *repo) publish(rel release) {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.files["dists/"+rel.suite+"/InRelease"] = sign(r.t, r.text(rel), r.key)
}

func trixie(packages string) release {
	return release{suite: "trixie", date: today.Add(-time.Hour), packages: map[string]string{"main": packages}, compress: ".gz", architecture: "amd64"}
}

func openCache(t *testing.T) *fetch.Cache {
	t.Helper()
	c, err := fetch.OpenCache(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func (r *repo) suite(name string) Suite {
	return Suite{Name: name, Mirrors: []string{r.url}, Components: []string{"main"}}
}

func (r *repo) load(c *fetch.Cache, opt Options, suites ...Suite) (*Archive, error) {
	if opt.Now.IsZero() {
		opt.Now = today
	}
	if opt.keys == nil {
		opt.keys = public(r.t, r.key)
	}
	a, err := Load(r.t.Context(), c, suites, "amd64", opt)
	if err == nil {
		r.t.Cleanup(func() { a.Close() })
	}
	return a, err
}

func TestLoad(t *testing.T) {
	for _, ext := range []string{".gz", ".zst", ""} {
		t.Run("Packages"+ext, func(t *testing.T) {
			r := newRepo(t)
			rel := trixie(stanza("amd64", "bash 5; Depends: libc6") + stanza("amd64", "libc6 2"))
			rel.compress = ext
			r.publish(rel)
			c := openCache(t)
			a, err := r.load(c, Options{}, r.suite("trixie"))
			if err != nil {
				t.Fatal(err)
			}
			got, err := a.Resolve([]string{"bash"}, nil)
			if err != nil || set(got) != "bash 5, libc6 2" {
				t.Errorf("got %s, %v", set(got), err)
			}
			if got[0].Mirrors[0] != r.url || !a.Releases()[0].Date.Equal(rel.date) {
				t.Errorf("mirrors %v, date %v", got[0].Mirrors, a.Releases()[0].Date)
			}
			before := r.requests()
			if _, err := r.load(c, Options{}, r.suite("trixie")); err != nil {
				t.Fatal(err)
			}
			if n := r.requests() - before; n != 1 {
				t.Errorf("a warm load made %d requests", n)
			}
		})
	}
}

func TestLoadByHash(t *testing.T) {
	r := newRepo(t)
	rel := trixie(stanza("amd64", "bash 5"))
	rel.extra = "Acquire-By-Hash: yes\n"
	r.publish(rel)
	plain := "dists/trixie/main/binary-amd64/Packages.gz"
	byHash := fmt.Sprintf("dists/trixie/main/binary-amd64/by-hash/SHA256/%x", sha256.Sum256(r.files[plain]))
	if _, err := r.load(openCache(t), Options{}, r.suite("trixie")); err != nil {
		t.Fatalf("without by-hash files: %v", err)
	}
	// A mirror in the middle of its update: the plain name is ahead already.
	r.files[byHash] = r.files[plain]
	r.files[plain] = []byte("newer")
	if _, err := r.load(openCache(t), Options{}, r.suite("trixie")); err != nil {
		t.Fatal(err)
	}
}

func TestLoadRefuses(t *testing.T) {
	packages := stanza("amd64", "bash 5")
	stranger := newKey(t, packet.PubKeyAlgoEdDSA)
	tests := []struct {
		name   string
		change func(r *repo, rel *release) // before publishing
		tamper func(r *repo, msg []byte) []byte
		want   string
	}{
		{name: "expired", change: func(_ *repo, rel *release) { rel.until = today.Add(-time.Minute) },
			want: "index expired on 22 November 2026 11:59 UTC; the mirror is stale, or the clock is wrong: it says 22 November 2026 12:00 UTC"},
		{name: "of the future", change: func(_ *repo, rel *release) { rel.date = today.Add(48 * time.Hour) },
			want: "index is dated 24 November 2026 12:00 UTC, which is in the future"},
		{name: "of another suite", tamper: func(r *repo, _ []byte) []byte {
			rel := trixie(packages)
			rel.suite = "bookworm"
			return sign(r.t, r.text(rel), r.key)
		}, want: `index is of suite "bookworm" ("bookworm"), not of "trixie"`},
		{name: "without our component", change: func(_ *repo, rel *release) { rel.packages = map[string]string{"contrib": packages} },
			want: "suite has no component main (only contrib)"},
		{name: "without our architecture", tamper: func(r *repo, _ []byte) []byte {
			return sign(r.t, strings.Replace(r.text(trixie(packages)), "amd64", "s390x", 1), r.key)
		}, want: "suite has no architecture amd64 (only all s390x arm64)"},
		{name: "tampered", tamper: func(_ *repo, msg []byte) []byte {
			return bytes.Replace(msg, []byte("Origin: Test"), []byte("Origin: Evil"), 1)
		},
			want: "is not good"},
		{name: "unsigned", tamper: func(r *repo, _ []byte) []byte { return []byte(r.text(trixie(packages))) },
			want: "not a clear-signed message"},
		{name: "signed by a stranger", tamper: func(r *repo, _ []byte) []byte { return sign(r.t, r.text(trixie(packages)), stranger) },
			want: fmt.Sprintf("signed only by unknown keys (%016X)", stranger.PrimaryKey.KeyId)},
		{name: "text before", tamper: func(_ *repo, msg []byte) []byte { return append([]byte("Origin: Evil\n\n"), msg...) },
			want: "not a clear-signed message"},
		{name: "text behind", tamper: func(_ *repo, msg []byte) []byte { return append(msg, "Origin: Evil\n"...) },
			want: "unsigned text follows"},
		{name: "two messages", tamper: func(_ *repo, msg []byte) []byte { return append(bytes.Clone(msg), msg...) },
			want: "unsigned text follows"},
		{name: "cut short", tamper: func(_ *repo, msg []byte) []byte { return msg[:len(msg)/2] },
			want: "not a clear-signed message"},
		{name: "signature cut out", tamper: func(_ *repo, msg []byte) []byte {
			i := bytes.Index(msg, []byte("-----BEGIN PGP SIGNATURE-----"))
			return append(bytes.Clone(msg[:i]), "-----BEGIN PGP SIGNATURE-----\n\n-----END PGP SIGNATURE-----\n"...)
		}, want: ""},
		{name: "index of another content", change: func(_ *repo, _ *release) {}, tamper: func(r *repo, msg []byte) []byte {
			r.files["dists/trixie/main/binary-amd64/Packages.gz"] = compress(r.t, strings.Replace(packages, "5", "6", 1), ".gz")
			return msg
		}, want: "want"},
		{name: "index of malformed content", change: func(_ *repo, rel *release) { rel.packages["main"] = "Package: bash\nnonsense\n" },
			want: `line 2: "nonsense" is not a field`},
		{name: "digest of the content is a lie", tamper: func(r *repo, _ []byte) []byte {
			text := r.text(trixie(packages))
			sum := fmt.Sprintf("%x", sha256.Sum256([]byte(packages)))
			return sign(r.t, strings.Replace(text, sum, strings.Repeat("0", 64), 1), r.key)
		}, want: "content: sha256 is"},
		{name: "no index", tamper: func(_ *repo, _ []byte) []byte { return nil }, want: "server returned 404 Not Found"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			r := newRepo(t)
			rel := trixie(packages)
			if tc.change != nil {
				tc.change(r, &rel)
			}
			r.publish(rel)
			if tc.tamper != nil {
				const name = "dists/trixie/InRelease"
				r.files[name] = tc.tamper(r, r.files[name])
				if r.files[name] == nil {
					delete(r.files, name)
				}
			}
			_, err := r.load(openCache(t), Options{}, r.suite("trixie"))
			if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), r.url) && !strings.Contains(err.Error(), "trixie/main") {
				t.Errorf("error = %v\nwant    %s", err, tc.want)
			}
		})
	}
}

func TestLoadWithTheClockOfASnapshot(t *testing.T) {
	r := newRepo(t)
	rel := trixie(stanza("amd64", "bash 5"))
	rel.until = today.AddDate(0, 0, 7)
	r.publish(rel)
	if _, err := r.load(openCache(t), Options{Now: today.AddDate(0, 3, 0)}, r.suite("trixie")); err == nil {
		t.Error("an index of three months ago passed")
	}
	if _, err := r.load(openCache(t), Options{Now: rel.date}, r.suite("trixie")); err != nil {
		t.Error(err)
	}
}

func TestLoadAsksTheNextMirror(t *testing.T) {
	stale, good := newRepo(t), newRepo(t)
	good.key = stale.key
	old := trixie(stanza("amd64", "bash 4"))
	old.until = today.Add(-time.Hour)
	stale.publish(old)
	good.publish(trixie(stanza("amd64", "bash 5")))
	s := Suite{Name: "trixie", Mirrors: []string{"http://127.0.0.1:1/debian", stale.url, good.url + "/"}, Components: []string{"main"}}
	a, err := good.load(openCache(t), Options{}, s)
	if err != nil {
		t.Fatal(err)
	}
	got, err := a.Resolve([]string{"bash"}, nil)
	if err != nil || set(got) != "bash 5" {
		t.Errorf("got %s, %v", set(got), err)
	}
	if r := a.Releases()[0]; len(r.SHA256) != 64 {
		t.Errorf("release %+v", r)
	}
	s.Mirrors = s.Mirrors[:2]
	_, err = good.load(openCache(t), Options{}, s)
	if err == nil || !strings.Contains(err.Error(), "refused") || !strings.Contains(err.Error(), "expired") {
		t.Errorf("error does not name both: %v", err)
	}
}

// TestAnIndexNeverGoesBack: an old index is validly signed and may have years
// until it expires, so a mirror that replays it holds back every security
// update.
func TestAnIndexNeverGoesBack(t *testing.T) {
	c := openCache(t)
	r, elsewhere := newRepo(t), newRepo(t)
	elsewhere.key = r.key
	publish := func(r *repo, version string, days int) {
		rel := trixie(stanza("amd64", "bash "+version))
		rel.date = today.AddDate(0, 0, days)
		r.publish(rel)
	}
	version := func(opt Options, mirrors ...string) (string, error) {
		s := r.suite("trixie")
		s.Mirrors = mirrors
		a, err := r.load(c, opt, s)
		if err != nil {
			return "", err
		}
		pkgs, err := a.Resolve([]string{"bash"}, nil)
		return set(pkgs), err
	}
	wants := func(want string, opt Options, mirrors ...string) {
		t.Helper()
		if got, err := version(opt, mirrors...); got != want || err != nil {
			t.Errorf("got %s, %v; want %s", got, err, want)
		}
	}
	refused := func(opt Options, mirrors ...string) {
		t.Helper()
		got, err := version(opt, mirrors...)
		if err == nil || !strings.Contains(err.Error(), "index is dated 19 November 2026 12:00 UTC, but one of 21 November 2026 12:00 UTC was seen before") ||
			!strings.Contains(err.Error(), "--allow-older-index") {
			t.Errorf("got %s, %v", got, err)
		}
	}
	publish(r, "5", -1)
	wants("bash 5", Options{}, r.url)
	publish(elsewhere, "4", -3)
	refused(Options{}, elsewhere.url)
	wants("bash 5", Options{}, elsewhere.url, r.url) // the next mirror is asked
	publish(r, "4", -3)
	refused(Options{}, r.url)
	wants("bash 4", Options{AllowOlder: true}, r.url)
	refused(Options{}, r.url) // allowed once is not forgotten
	publish(r, "6", 0)
	wants("bash 6", Options{}, r.url)
}

// TestPinnedPackagesAreLookedUpInTheirIndex: a lock names the index that its
// packages came from, so that whoever changes it must forge Debian's signature
// or leave the index out.
func TestPinnedPackagesAreLookedUpInTheirIndex(t *testing.T) {
	r := newRepo(t)
	rel := trixie(stanza("amd64", "bash 5") + stanza("amd64", "zsh 5"))
	rel.date = today.Add(-3 * time.Hour)
	r.publish(rel)
	c := openCache(t)
	a, err := r.load(c, Options{}, r.suite("trixie"))
	if err != nil {
		t.Fatal(err)
	}
	pinned, err := a.Resolve([]string{"bash", "zsh"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	index := a.Releases()[0]
	check := func(c *fetch.Cache, mirrors []string, sum string, date time.Time, pkgs ...*Package) error {
		s := r.suite("trixie")
		s.Mirrors = mirrors
		return Recheck(t.Context(), c, s, "amd64", Release{SHA256: sum, Date: date}, pkgs, Options{keys: public(t, r.key)})
	}
	other := *pinned[0]
	other.SHA256 = strings.Repeat("1", 64)
	renamed, resized, older := *pinned[0], *pinned[0], *pinned[0]
	renamed.Filename, resized.Size, older.Version = "pool/x.deb", 7, "4"
	unknown := Package{Name: "evil", Version: "1", Architecture: "amd64", Filename: "pool/e.deb", SHA256: strings.Repeat("0", 64), Size: 1}
	newer := trixie(stanza("amd64", "bash 6"))
	r.publish(newer)

	fine := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	fine("from the cache, the mirror has moved on", check(c, []string{r.url}, index.SHA256, index.Date, pinned...))
	fine("nobody answers", check(c, []string{"http://127.0.0.1:1/debian"}, index.SHA256, index.Date, pinned...))
	for _, p := range []*Package{&other, &renamed, &resized, &older, &unknown} {
		err := check(c, []string{r.url}, index.SHA256, index.Date, p)
		if err == nil || gone(err) || !strings.Contains(err.Error(), p.Name+" "+p.Version) {
			t.Errorf("%+v: %v", p, err)
		}
	}
	if err := check(c, []string{r.url}, index.SHA256, index.Date.Add(time.Hour), pinned...); err == nil || gone(err) || !strings.Contains(err.Error(), "is dated") {
		t.Errorf("another date: %v", err)
	}
	if err := check(openCache(t), []string{r.url}, index.SHA256, index.Date, pinned...); !gone(err) {
		t.Errorf("an index that nobody has: %v", err)
	}
	rel.packages["main"] = stanza("amd64", "bash 5") + stanza("amd64", "zsh 5")
	r.publish(rel)
	again, err := r.load(openCache(t), Options{}, r.suite("trixie"))
	if err != nil {
		t.Fatal(err)
	}
	fine("from a mirror", check(openCache(t), []string{r.url}, again.Releases()[0].SHA256, rel.date, pinned...))

	forged := newRepo(t) // the same, signed by another key
	forged.publish(rel)
	sum := fmt.Sprintf("%x", sha256.Sum256(forged.files["dists/trixie/InRelease"]))
	if err := check(openCache(t), []string{forged.url}, sum, rel.date, pinned...); err == nil || gone(err) || !strings.Contains(err.Error(), "unknown keys") {
		t.Errorf("an index that a stranger signed: %v", err)
	}
}

// gone tells that an index cannot be had, which is nobody's fault.
func gone(err error) bool { return errors.As(err, new(*fetch.Error)) }

func TestKeys(t *testing.T) {
	rsa, ed, stranger := newKey(t, packet.PubKeyAlgoRSA), newKey(t, packet.PubKeyAlgoEdDSA), newKey(t, packet.PubKeyAlgoRSA)
	ring, err := keyring(public(t, rsa, ed))
	if err != nil {
		t.Fatal(err)
	}
	for name, keys := range map[string][]*openpgp.Entity{
		"RSA": {rsa}, "EdDSA": {ed}, "both": {rsa, ed}, "a stranger first": {stranger, ed}, "a stranger last": {rsa, stranger},
	} {
		if text, err := verified(sign(t, "Origin: x\n", keys...), ring, today); err != nil || strings.TrimSpace(string(text)) != "Origin: x" {
			t.Errorf("%s: %q, %v", name, text, err)
		}
	}
	if _, err := verified(sign(t, "Origin: x\n", rsa), ring, today.AddDate(-2, 0, 0)); err == nil {
		t.Error("a signature of the future passed")
	}
}

// TestBrokenHashesAreRefused: a collision lets one signature stand for two
// indexes, whoever made it.
func TestBrokenHashesAreRefused(t *testing.T) {
	key := newKey(t, packet.PubKeyAlgoRSA)
	ring := openpgp.EntityList{key}
	// go-crypto itself reads no signature made with MD5 or RIPEMD-160.
	for hash, want := range map[crypto.Hash]string{crypto.SHA1: "made with SHA-1", crypto.SHA256: "", crypto.SHA512: ""} {
		text, err := verified(signWeakly(t, "Origin: x\n", key, hash), ring, today)
		if want == "" && (err != nil || strings.TrimSpace(string(text)) != "Origin: x") || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%v: %q, %v", hash, text, err)
		}
	}
}

func TestDebianKeys(t *testing.T) {
	ring, err := debianKeyring()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range ring {
		for name := range e.Identities {
			got = append(got, fmt.Sprintf("%X %s", e.PrimaryKey.Fingerprint, name))
		}
	}
	want := []string{
		"B8B80B5B623EAB6AD8775C45B7C5D7D6350947F8 Debian Archive Automatic Signing Key (12/bookworm) <ftpmaster@debian.org>",
		"05AB90340C0C5E797F44A8C8254CF3B5AEC0A8F0 Debian Security Archive Automatic Signing Key (12/bookworm) <ftpmaster@debian.org>",
		"4D64FEC119C2029067D6E791F8D2585B8783D481 Debian Stable Release Key (12/bookworm) <debian-release@lists.debian.org>",
		"04B54C3CDCA79751B16BC6B5225629DF75B188BD Debian Archive Automatic Signing Key (13/trixie) <ftpmaster@debian.org>",
		"5E04A1E3223A19A20706E20F9904613D4CCE68C6 Debian Security Archive Automatic Signing Key (13/trixie) <ftpmaster@debian.org>",
		"41587F7DB8C774BCCF131416762F67A0B2C39DE4 Debian Stable Release Key (13/trixie) <debian-release@lists.debian.org>",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// fullRelease is a release file of Debian's size and shape, signed by two keys
// as Debian's are, and one of the keys.
func fullRelease(t testing.TB) ([]byte, openpgp.EntityList) {
	t.Helper()
	architectures := []string{"all", "amd64", "arm64", "armhf", "riscv64", "s390x", "source"}
	components := []string{"main", "contrib", "non-free-firmware", "non-free"}
	text := "Origin: Test\nSuite: stable-updates\nCodename: trixie-updates\n" +
		"Date: Sat, 21 Nov 2026 02:10:46 UTC\nValid-Until: Sat, 28 Nov 2026 02:10:46 UTC\n" +
		"Acquire-By-Hash: yes\nNo-Support-for-Architecture-all: Packages\n" +
		"Architectures: " + strings.Join(architectures[:6], " ") + "\nComponents: " + strings.Join(components, " ") + "\nSHA256:\n"
	for i, c := range components {
		for j, a := range architectures {
			for k, name := range []string{"Contents-" + a, "binary-" + a + "/Packages", "binary-" + a + "/Release", "i18n/Translation-" + a} {
				for l, ext := range []string{"", ".gz", ".xz"} {
					text += fmt.Sprintf(" %x %8d %s/%s%s\n", sha256.Sum256([]byte{byte(i), byte(j), byte(k), byte(l)}), 1000*k+l, c, name, ext)
				}
			}
		}
	}
	known, other := newKey(t, packet.PubKeyAlgoRSA), newKey(t, packet.PubKeyAlgoEdDSA)
	return sign(t, text, other, known), openpgp.EntityList{known}
}

// TestFullRelease: no byte of a signed message can change unnoticed. What
// Debian itself signed is read by TestOracle.
func TestFullRelease(t *testing.T) {
	msg, ring := fullRelease(t)
	l := &loader{arch: "arm64", ring: ring, opt: Options{Now: today}}
	s := Suite{Name: "trixie-updates", Components: []string{"main", "non-free-firmware"}}
	rel, err := l.read(msg, s)
	if err != nil {
		t.Fatal(err)
	}
	if len(rel.files) < 300 || !rel.byHash || rel.allApart {
		t.Errorf("%d files, by-hash %v, all apart %v", len(rel.files), rel.byHash, rel.allApart)
	}
	for i := range 200 {
		bad := bytes.Clone(msg)
		bad[i*len(bad)/200] ^= 1
		if rel2, err := l.read(bad, s); err == nil && !maps.Equal(rel.files, rel2.files) {
			t.Fatalf("a changed byte at %d goes unnoticed", i*len(bad)/200)
		}
	}
}

func TestDamagedIndexIsMadeAgain(t *testing.T) {
	r := newRepo(t)
	r.publish(trixie(stanza("amd64", "bash 5; Provides: shell") + stanza("amd64", "zsh 5")))
	c := openCache(t)
	a, err := r.load(c, Options{}, r.suite("trixie"))
	if err != nil {
		t.Fatal(err)
	}
	path := a.parts[0].entry.Path()
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	bash := func() error {
		a, err := r.load(c, Options{}, r.suite("trixie"))
		if err == nil {
			_, err = a.Resolve([]string{"bash"}, nil)
		}
		return err
	}
	for _, at := range []int{len(good) - 1, len(good) - footerSize, len(good) - footerSize - 5, bytes.Index(good, []byte("shell"))} {
		bad := bytes.Clone(good)
		bad[at] ^= 1
		os.WriteFile(path, bad, 0o644)
		var damaged *fetch.DamagedError
		if err := bash(); !errors.As(err, &damaged) {
			t.Fatalf("byte %d: error = %v", at, err)
		}
		if err := c.Drop(damaged.Kind, damaged.Key); err != nil {
			t.Fatal(err)
		}
		if err := bash(); err != nil {
			t.Errorf("byte %d: made again: %v", at, err)
		}
	}
}

func TestFetch(t *testing.T) {
	r := newRepo(t)
	var pkgs []*Package
	for i := range 30 {
		text := fmt.Sprintf("package %d", i)
		name := fmt.Sprintf("pool/main/p/p%d_1_amd64.deb", i)
		r.files[name] = []byte(text)
		pkgs = append(pkgs, &Package{
			Name: fmt.Sprintf("p%d", i), Version: "1", Filename: name, Size: int64(len(text)),
			SHA256: fmt.Sprintf("%x", sha256.Sum256([]byte(text))), Mirrors: []string{r.url + "/gone/", r.url}, Suite: "trixie",
		})
	}
	c := openCache(t)
	var mu sync.Mutex
	got := map[string]string{}
	err := Fetch(t.Context(), c, pkgs, FetchOptions{}, func(p *Package, file *fetch.File) error {
		b, err := file.Bytes()
		mu.Lock()
		got[p.Name] = string(b)
		mu.Unlock()
		return err
	})
	if err != nil || len(got) != 30 || got["p7"] != "package 7" {
		t.Errorf("%d files, %v", len(got), err)
	}

	delete(r.files, "pool/main/p/p3_1_amd64.deb")
	err = Fetch(t.Context(), openCache(t), pkgs, FetchOptions{}, func(*Package, *fetch.File) error { return nil })
	if err == nil || !strings.Contains(err.Error(), "fetch p3 1: no source worked") {
		t.Errorf("error = %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Fetch(ctx, c, pkgs, FetchOptions{}, func(*Package, *fetch.File) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("error = %v", err)
	}
}

func TestSnapshotComesLast(t *testing.T) {
	p := &Package{Name: "a", Suite: "trixie-security", Filename: "pool/a.deb", Mirrors: []string{"http://mirror.example/debian-security/"}}
	got := p.Request(time.Date(2026, 11, 21, 2, 10, 46, 0, time.UTC)).URLs
	want := []string{
		"http://mirror.example/debian-security/pool/a.deb",
		"https://snapshot.debian.org/archive/debian-security/20261122T021046Z/pool/a.deb",
		"https://snapshot.debian.org/archive/debian-security/20261121T021046Z/pool/a.deb",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := p.Request(time.Time{}).URLs; len(got) != 1 {
		t.Errorf("without a date: %v", got)
	}
}
