package overlays_test

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// stubs stand for PostgreSQL's programs: what a dump does when they fail is the
// script's, not theirs.
const (
	dumps    = "#!/bin/sh\nfor a; do case $a in --file=*) echo whole >\"${a#--file=}\" ;; esac; done\n"
	halfway  = "#!/bin/sh\nfor a; do case $a in --file=*) echo half >\"${a#--file=}\" ;; esac; done\necho 'pg_dump: error: no space left' >&2\nexit 1\n"
	reads    = "#!/bin/sh\nfor a; do last=$a; done\nexec grep -q whole \"$last\"\n"
	readsNot = "#!/bin/sh\necho 'pg_restore: error: could not read' >&2\nexit 1\n"
	ready    = "#!/bin/sh\n"

	// A network that lets a pod through when it has asked three times, or never, and what
	// dumps only then.
	letsIn = "#!/bin/sh\ncd \"${0%/*}\"\necho >>asked\ntest \"$(wc -l <asked)\" -ge 3 || exit 2\ntouch open\n"
	shut   = "#!/bin/sh\nexit 2\n"
	behind = "#!/bin/sh\nif ! test -e \"${0%/*}/open\"; then echo 'pg_dump: error: Connection refused' >&2; exit 1; fi\n" + dumps
)

// night runs the script of a dump in a directory that has what nights before left:
// it returns what is there then, and whether the script was content.
func night(t *testing.T, script, isready, dump, restore string) (names []string, output string, ok bool) {
	t.Helper()
	bin, dir := t.TempDir(), t.TempDir()
	for name, text := range map[string]string{"pg_isready": isready, "pg_dump": dump, "pg_restore": restore, "sleep": "#!/bin/sh\n"} {
		check(t, os.WriteFile(filepath.Join(bin, name), []byte(text), 0o755))
	}
	day := 24 * time.Hour
	for name, age := range map[string]time.Duration{"app-old.dump": 14*day + time.Hour, "app-young.dump": 14*day - time.Hour, "mine.dump": 99 * day, "app-x.dump.part": time.Hour} {
		file := filepath.Join(dir, name)
		check(t, os.WriteFile(file, nil, 0o600))
		check(t, os.Chtimes(file, time.Time{}, time.Now().Add(-age)))
	}
	cmd := exec.Command(tool(t, "sh"), "-c", script)
	cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "DUMPS="+dir, "PGHOST=db", "PGDATABASE=app", "KEEP_DAYS=14")
	out, err := cmd.CombinedOutput()
	check(t, filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			names = append(names, d.Name())
		}
		return err
	}))
	return names, string(out), err == nil
}

// TestBothDatabasesAreDumpedAlike: a directory that Argo CD walks has no place for
// what two namespaces share.
func TestBothDatabasesAreDumpedAlike(t *testing.T) {
	if all := scriptsOf(t); all["nextcloud/dump/dump"] == "" || all["nextcloud/dump/dump"] != all["hakatime/dump/dump"] {
		t.Error("the two scripts differ")
	}
}

// TestADumpIsWholeOrNotThere, old ones go after a new one came, and what went
// wrong is an exit code and a line.
func TestADumpIsWholeOrNotThere(t *testing.T) {
	script := scriptsOf(t)["hakatime/dump/dump"]
	names, output, ok := night(t, script, ready, dumps, reads)
	isNew := func(name string) bool { return strings.HasPrefix(name, "app-2") && strings.HasSuffix(name, "Z.dump") }
	if !ok || len(names) != 3 || !isNew(names[0]) || names[1] != "app-young.dump" || names[2] != "mine.dump" || !strings.HasSuffix(output, ": 6 bytes\n") {
		t.Errorf("%v, %q, %v", names, output, ok)
	}
	for what, programs := range map[string][2]string{"error: no space left": {halfway, reads}, "error: could not read": {dumps, readsNot}} {
		names, output, ok := night(t, script, ready, programs[0], programs[1])
		if ok || !slices.Equal(names, []string{"app-old.dump", "app-young.dump", "mine.dump"}) || !strings.Contains(output, what) {
			t.Errorf("%s: %v, %q, %v", what, names, output, ok)
		}
	}
}

// TestADumpWaitsForTheNetwork, which refuses a new pod at first (cloudnativelabs/kube-router#1652),
// as each try of a Job is: but not for ever.
func TestADumpWaitsForTheNetwork(t *testing.T) {
	script := scriptsOf(t)["hakatime/dump/dump"]
	if names, output, ok := night(t, script, letsIn, behind, reads); !ok || len(names) != 3 {
		t.Errorf("%v, %q, %v", names, output, ok)
	}
	names, output, ok := night(t, script, shut, behind, reads)
	if ok || !slices.Equal(names, []string{"app-old.dump", "app-young.dump", "mine.dump"}) || !strings.HasPrefix(output, "db does not answer") {
		t.Errorf("%v, %q, %v", names, output, ok)
	}
}
