package backup

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/node"
)

// sql runs a statement on a database, which it makes.
func sql(t *testing.T, file, statement string) string {
	t.Helper()
	out, err := exec.Command("sqlite3", file, statement).CombinedOutput()
	if err != nil {
		t.Fatalf("%v (is it installed? run make deps)\n%s", err, out)
	}
	return strings.TrimSpace(string(out))
}

// server is a keeper of a machine with a database in use.
func server(t *testing.T, stores ...Store) *Keeper {
	t.Helper()
	k := fresh(t, stores...)
	sql(t, k.file(database), "PRAGMA journal_mode=WAL; CREATE TABLE nodes (name); INSERT INTO nodes VALUES ('box')")
	if err := os.WriteFile(k.file("noise_private.key"), []byte("privkey:1"), 0o600); err != nil {
		t.Fatal(err)
	}
	return k
}

func fresh(t *testing.T, stores ...Store) *Keeper {
	t.Helper()
	return &Keeper{Data: t.TempDir(), Stores: stores, UID: os.Getuid(), GID: os.Getgid()}
}

func (k *Keeper) file(name string) string { return filepath.Join(k.Data, name) }

// TestACopyHasWhatIsNotInTheFileYet: a writer is at work, and its write-ahead log is not yet in the
// database file.
func TestACopyHasWhatIsNotInTheFileYet(t *testing.T) {
	store := Dir(t.TempDir())
	k := server(t, store)
	// The writer waits for the readers below: without a timeout it would give up at once.
	writer := exec.Command("sqlite3", "-cmd", ".timeout 60000", "-cmd", "PRAGMA wal_autocheckpoint=0", k.file(database))
	in, err := writer.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := writer.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { in.Close(); _ = writer.Wait() }()
	fmt.Fprintln(in, "INSERT INTO nodes VALUES ('late');")
	for end := time.Now().Add(time.Minute); sql(t, k.file(database), "SELECT count(*) FROM nodes") != "2"; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the writer does not write")
		}
	}
	if err := k.Backup(t.Context(), time.Now()); err != nil {
		t.Fatal(err)
	}
	again := fresh(t, store)
	if name, err := again.Restore(t.Context(), noWord(t)); err != nil || name == "" {
		t.Fatalf("%q, %v", name, err)
	}
	if got := sql(t, again.file(database), "SELECT group_concat(name) FROM nodes"); got != "box,late" {
		t.Errorf("it has %s", got)
	}
	if key, err := os.ReadFile(again.file("noise_private.key")); string(key) != "privkey:1" {
		t.Errorf("its key is %q, %v", key, err)
	}
}

func noWord(t *testing.T) func(string) { return func(s string) { t.Error(s) } }

// TestThin: of the last day each hour's copy is kept, and before it one a day.
func TestThin(t *testing.T) {
	dir, at := Dir(t.TempDir()), time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	for i := range 40 * 24 {
		if err := dir.Put(prefix+at.Add(time.Duration(i)*time.Hour).Format(timeFormat)+suffix, nil); err != nil {
			t.Fatal(err)
		}
		if err := thin(dir); err != nil {
			t.Fatal(err)
		}
	}
	names, err := dir.List()
	if err != nil || len(names) != recent+kept-1 || names[0] != "headscale-20261111T230000Z.tar.gz" ||
		names[kept-2] != "headscale-20261209T230000Z.tar.gz" || names[kept-1] != "headscale-20261210T000000Z.tar.gz" {
		t.Errorf("%v, %v", names, err)
	}
}

// TestTheNewestWholeCopyComesBack, and a month of them is kept.
func TestTheNewestWholeCopyComesBack(t *testing.T) {
	dir := t.TempDir()
	k, day := server(t, Dir(dir)), time.Date(2026, 11, 1, 3, 30, 0, 0, time.UTC)
	for i := range kept + 2 {
		sql(t, k.file(database), fmt.Sprintf("UPDATE nodes SET name = 'box-%d'", i))
		if err := k.Backup(t.Context(), day.AddDate(0, 0, i)); err != nil {
			t.Fatal(err)
		}
	}
	names, err := Dir(dir).List()
	if err != nil || len(names) != kept || names[0] != "headscale-20261103T033000Z.tar.gz" {
		t.Fatalf("%d copies from %v on, %v", len(names), names[:1], err)
	}
	newest := filepath.Join(dir, names[len(names)-1])
	if fi, err := os.Stat(newest); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", fi, err)
	}
	whole, err := os.ReadFile(newest)
	if err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string][]byte{"cut off": whole[:len(whole)/2], "without its end": whole[:len(whole)-4], "nothing": nil, "no database": notADatabase(t), "other files": foreign(t)} {
		if err := os.WriteFile(newest, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		var told []string
		again := fresh(t, Dir(dir))
		from, err := again.Restore(t.Context(), func(s string) { told = append(told, s) })
		if err != nil || len(told) != 1 || !strings.Contains(told[0], "is not used: it is damaged") {
			t.Fatalf("%s: %v, %q", name, err, told)
		}
		if got := sql(t, again.file(database), "SELECT name FROM nodes"); from != names[len(names)-2] || got != fmt.Sprintf("box-%d", kept) {
			t.Errorf("%s: from %s came %s", name, from, got)
		}
		if left, _ := filepath.Glob(again.file(".*")); len(left) > 0 {
			t.Errorf("%s: %v is left", name, left)
		}
	}
}

func notADatabase(t *testing.T) []byte { return archived(t, map[string]string{database: "hello"}) }

func foreign(t *testing.T) []byte {
	file := server(t).file(database)
	sql(t, file, "PRAGMA journal_mode=DELETE")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return archived(t, map[string]string{database: string(text), "authorized_keys": "ssh-ed25519 AAAA"})
}

func archived(t *testing.T, files map[string]string) []byte {
	t.Helper()
	dir := t.TempDir()
	var names []string
	for name, text := range files {
		names = append(names, name)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b, err := pack(dir, names, "")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// shared is a bucket: no directory of one machine's own.
type shared struct{ Dir }

// TestTwoMachinesOneBucket: the previous machine is switched on again, and does not add its old
// database to the copies of the machine that took over, unless its owner says so.
func TestTwoMachinesOneBucket(t *testing.T) {
	bucket, day := shared{Dir(t.TempDir())}, time.Date(2026, 11, 1, 3, 30, 0, 0, time.UTC)
	next := func() time.Time { day = day.AddDate(0, 0, 1); return day }
	wants := func(k *Keeper, refused bool) {
		t.Helper()
		before, _ := bucket.List()
		err := k.Backup(t.Context(), next())
		if (err != nil) != refused || refused && !strings.Contains(err.Error(), "headscale-backup --take-over") {
			t.Fatal(err)
		}
		if after, _ := bucket.List(); refused && !slices.Equal(before, after) {
			t.Errorf("%v became %v", before, after)
		}
		if _, err := k.Newest(bucket); (err != nil) != refused {
			t.Error(err)
		}
	}
	old, fresh := server(t, Dir(t.TempDir()), bucket), fresh(t, Dir(t.TempDir()), bucket)
	wants(old, false)
	if err := fresh.Stores[0].Put("headscale-20261001T033000Z.tar.gz", nil); err != nil { // its disk has an old life
		t.Fatal(err)
	}
	if _, err := fresh.Restore(t.Context(), noWord(t)); err != nil {
		t.Fatal(err)
	}
	wants(fresh, false)
	wants(old, true)
	wants(old, true)
	wants(fresh, false)
	if err := old.TakeOver(); err != nil {
		t.Fatal(err)
	}
	wants(old, false)
	wants(fresh, true)
	if names, _ := fresh.Stores[0].List(); len(names) != 4 {
		t.Errorf("on its own disk it has %v", names)
	}
}

// TestWhatAnImageOfBeforeWrote: without a note, a machine's own copies are those on its disk; if
// there are none, as on a restored machine, all copies are.
func TestWhatAnImageOfBeforeWrote(t *testing.T) {
	bucket, day := shared{Dir(t.TempDir())}, time.Date(2026, 11, 1, 3, 30, 0, 0, time.UTC)
	old, fresh := server(t, Dir(t.TempDir()), bucket), server(t, Dir(t.TempDir()), bucket)
	for i, k := range []*Keeper{old, old, fresh, fresh} {
		if err := k.Backup(t.Context(), day.AddDate(0, 0, i)); err != nil {
			t.Fatal(i, err)
		}
		if err := os.Remove(k.file(noteFile)); err != nil {
			t.Fatal(err)
		}
	}
	if err := old.Backup(t.Context(), day.AddDate(0, 0, 9)); err == nil {
		t.Error("after another's copies")
	}
}

// away is a store that cannot be reached.
type away struct{}

func (away) String() string             { return "s3://away" }
func (away) List() ([]string, error)    { return nil, errAway }
func (away) Get(string) ([]byte, error) { return nil, errAway }
func (away) Put(string, []byte) error   { return errAway }
func (away) Delete(string) error        { return errAway }

var errAway = errors.New("no route to host")

// TestNoServerBeginsAnewInDoubt: a store that cannot be asked may have a copy. If all stores can be
// asked and none has a copy, the server is the first one.
func TestNoServerBeginsAnewInDoubt(t *testing.T) {
	if name, err := fresh(t, Dir(t.TempDir()), away{}).Restore(t.Context(), noWord(t)); err == nil || !strings.Contains(err.Error(), "cannot be known") {
		t.Errorf("%q, %v", name, err)
	}
	if name, err := fresh(t, Dir(filepath.Join(t.TempDir(), "absent"))).Restore(t.Context(), noWord(t)); name != "" || err != nil {
		t.Errorf("%q, %v", name, err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, prefix+"20261101T033000Z"+suffix), []byte("torn"), 0o600); err != nil {
		t.Fatal(err)
	}
	if name, err := fresh(t, Dir(dir)).Restore(context.Background(), func(string) {}); err == nil || !strings.Contains(err.Error(), "is whole") {
		t.Errorf("nothing but a torn copy: %q, %v", name, err)
	}
}

// TestOneStoreAwayLeavesTheOther.
func TestOneStoreAwayLeavesTheOther(t *testing.T) {
	dir := t.TempDir()
	err := server(t, away{}, Dir(dir)).Backup(t.Context(), time.Now())
	if names, _ := Dir(dir).List(); err == nil || len(names) != 1 {
		t.Errorf("%v, %v", names, err)
	}
}

// TestTheLogOfAnotherDatabase: the write-ahead log of a database that somebody removed is not
// played into the one that comes in its place.
func TestTheLogOfAnotherDatabase(t *testing.T) {
	store := Dir(t.TempDir())
	if err := server(t, store).Backup(t.Context(), time.Now()); err != nil {
		t.Fatal(err)
	}
	k, removed := fresh(t, store), server(t)
	// The log is copied while its writer is open, as closing the database empties it.
	out, err := exec.Command("sqlite3", "-cmd", "PRAGMA wal_autocheckpoint=0", "-cmd", "UPDATE nodes SET name = 'other'",
		"-cmd", fmt.Sprintf(".shell cp '%s-wal' '%[1]s-shm' '%s'", removed.file(database), k.Data), removed.file(database), "SELECT 1").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if log, err := os.ReadFile(k.file(database + "-wal")); err != nil || len(log) == 0 {
		t.Fatalf("there is no log: %v", err)
	}
	if _, err := k.Restore(t.Context(), noWord(t)); err != nil {
		t.Fatal(err)
	}
	if got := sql(t, k.file(database), "SELECT name FROM nodes"); got != "box" {
		t.Errorf("it has %q", got)
	}
}

// TestNothingOfAPowerCutIsLeft: what was being written then has the database and keys in it.
func TestNothingOfAPowerCutIsLeft(t *testing.T) {
	store := Dir(t.TempDir())
	k := server(t, store)
	for _, stray := range []string{k.file(".restore-1/" + database), k.file(".copies-1"), filepath.Join(string(store), ".headscale-20261101T033000Z.tar.gz")} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(stray), 0o700), os.WriteFile(stray, nil, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := k.Restore(t.Context(), noWord(t)); err != nil { // as before each start of Headscale
		t.Fatal(err)
	}
	if err := k.Backup(t.Context(), time.Now()); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{k.Data, string(store)} {
		if left, err := filepath.Glob(filepath.Join(dir, ".*")); err != nil || len(left) > 0 {
			t.Errorf("%v is left, %v", left, err)
		}
	}
}

// TestAPrefixBeginsWithNoSlash: what is signed is a path without a double one.
func TestAPrefixBeginsWithNoSlash(t *testing.T) {
	var asked []string
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { asked = append(asked, r.URL.Path) }))
	defer s.Close()
	b := Bucket(&node.S3{Endpoint: s.URL, Region: "eu", Bucket: "home", Prefix: "/headscale/", AccessKey: "a", SecretKey: "b"})
	if err := b.Put("x", []byte("copy")); err != nil || !slices.Equal(asked, []string{"/home/headscale/x"}) || b.String() != "s3://home/headscale/" {
		t.Errorf("%q of %s, %v", asked, b, err)
	}
}

// TestWhatIsTooLargeIsNotCut.
func TestWhatIsTooLargeIsNotCut(t *testing.T) {
	for text, whole := range map[string]bool{"12345678": true, "123456789": false} {
		got, err := readAll(strings.NewReader(text), 8)
		if whole && (err != nil || string(got) != text) || !whole && (err == nil || !strings.Contains(err.Error(), "larger than 8 bytes")) {
			t.Errorf("%q, %v", got, err)
		}
	}
}
