package backup

import (
	"os"
	"strings"
	"testing"
	"time"
)

// TestAnotherVersionsDatabase: Headscale opens a database of its own minor version and of the one
// before, and no other; another one is not restored. If one of the versions is unknown, the
// database is restored.
func TestAnotherVersionsDatabase(t *testing.T) {
	const table = "CREATE TABLE database_versions (id integer, version text); INSERT INTO database_versions VALUES (1, 'v0.29.3')"
	for version, c := range map[string]struct {
		table string
		back  bool
	}{
		"0.28.0":  {table, false},
		"v0.29.0": {table, true},
		"0.30.1":  {table, true},
		"0.31.0":  {table, false},
		"1.29.0":  {table, false},
		"":        {table, true},
		"0.32.0":  {"", true}, // it was used by a version older than 0.29
		"dev":     {strings.Replace(table, "v0.29.3", "v0.0.0-20260101000000-0123456789ab", 1), true},
		"0.33.0":  {strings.Replace(table, "v0.29.3", "v0.0.0-20260101000000-0123456789ab", 1), true},
	} {
		store := Dir(t.TempDir())
		k := server(t, store)
		if c.table != "" {
			sql(t, k.file(database), c.table)
		}
		if err := k.Backup(t.Context(), time.Now()); err != nil {
			t.Fatal(err)
		}
		used, err := UsedBy(store)
		if want := map[bool]string{true: "v0.29.3"}[c.table == table]; err != nil || used != want {
			t.Errorf("the copy is of %q, want %q, %v", used, want, err)
		}
		if err := Opens(version, used); (err == nil) != c.back {
			t.Errorf("%s: %v", version, err)
		}
		again := fresh(t, store)
		again.Version = version
		name, err := again.Restore(t.Context(), noWord(t))
		if (err == nil) != c.back || (name != "") != c.back || err != nil && !strings.Contains(err.Error(), "used by Headscale v0.29.3, which "+version+" does not open: nothing but 0.29 and 0.30 do") {
			t.Errorf("%s: %q, %v", version, name, err)
		}
		if _, err := os.Stat(again.file(database)); (err == nil) != c.back {
			t.Errorf("%s: its database: %v", version, err)
		}
	}
	if used, err := UsedBy(Dir(t.TempDir())); used != "" || err != nil {
		t.Errorf("of no copy: %q, %v", used, err)
	}
}
