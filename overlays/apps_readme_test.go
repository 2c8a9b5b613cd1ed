package overlays_test

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/overlays"
)

// Stand-ins for the programs of the README's lines: kubectl tells of the file it was
// given, age leaves what it opens as it is.
const (
	kubectl = "#!/bin/sh\nfor a; do case $a in --from-file=*) cat \"${a#--from-file=*=}\" ;; --from-literal=*) printf %s \"${a#--from-literal=*=}\" ;; esac; done\n"
	opens   = "#!/bin/sh\nfor a; do last=$a; done\nexec cat \"$last\"\n"
)

// TestASecretMadeByHandIsTheFleets: a file ends in a line break, which is in no password
// of node.yaml (fleet.Ref) and would be in one that kubectl reads from it: PostgreSQL
// takes the first line, Nextcloud sends both.
func TestASecretMadeByHandIsTheFleets(t *testing.T) {
	readme, err := fs.ReadFile(overlays.FS, "apps/README.md")
	check(t, err)
	bin, dir := t.TempDir(), t.TempDir()
	for name, text := range map[string]string{"kubectl": kubectl, "age": opens} {
		check(t, os.WriteFile(filepath.Join(bin, name), []byte(text), 0o755))
	}
	check(t, os.Mkdir(filepath.Join(dir, "secrets"), 0o700))
	for _, suffix := range []string{"", ".age"} {
		check(t, os.WriteFile(filepath.Join(dir, "secrets/app-nextcloud-db.password"+suffix), []byte("planted\n"), 0o600))
	}
	lines := 0
	for line := range strings.Lines(string(readme)) {
		if !strings.HasPrefix(line, "    ") || !strings.Contains(line, "create secret") {
			continue
		}
		lines++
		cmd := exec.Command(tool(t, "sh"), "-c", line)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), fmt.Sprintf("PATH=%s:%s", bin, os.Getenv("PATH")))
		if out, err := cmd.CombinedOutput(); string(out) != "planted" || err != nil {
			t.Errorf("%sgives %q, %v", line, out, err)
		}
	}
	if lines != 2 {
		t.Errorf("%d lines make a Secret: one of a file, one of an encrypted one are wanted", lines)
	}
}
