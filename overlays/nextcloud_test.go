package overlays_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// withPHP runs a script of Nextcloud's pod in which php is another one.
func withPHP(t *testing.T, script, php string, more map[string]string) (string, error) {
	t.Helper()
	bin := t.TempDir()
	check(t, os.WriteFile(filepath.Join(bin, "php"), []byte("#!/bin/sh\n"+php+"\n"), 0o755))
	for name, text := range more {
		check(t, os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\n"+text+"\n"), 0o755))
	}
	cmd := exec.Command(tool(t, "sh"), "-c", script)
	cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// TestNextcloudsJobsWaitForItsFiles: the image copies another version's, version.php
// last, while the other container of the pod is at work already.
func TestNextcloudsJobsWaitForItsFiles(t *testing.T) {
	for name, c := range map[string]struct {
		config, image, volume string
		runs                  bool
	}{
		"whole":         {"'installed' => true", "34.0.2", "34.0.2", true},
		"being copied":  {"'installed' => true", "34.0.2", "34.0.1", false},
		"the first one": {"'installed' => true", "34.0.2", "", false},
		"not installed": {"", "34.0.2", "34.0.2", false},
	} {
		dir := t.TempDir()
		for file, text := range map[string]string{"html/config/config.php": c.config, "src/version.php": c.image, "html/version.php": c.volume} {
			file = filepath.Join(dir, file)
			check(t, os.MkdirAll(filepath.Dir(file), 0o755))
			if text != "" {
				check(t, os.WriteFile(file, []byte(text), 0o644))
			}
		}
		script := strings.NewReplacer("/var/www/html", dir+"/html", "/usr/src/nextcloud", dir+"/src", "/tmp/alive", dir+"/alive").Replace(scriptsOf(t)["nextcloud/nextcloud/cron"])
		out, err := withPHP(t, script, "touch "+dir+"/ran", map[string]string{"sleep": "kill $PPID"}) // one turn
		_, ran := os.Stat(filepath.Join(dir, "ran"))
		if err != nil || out != "" || errors.Is(ran, fs.ErrNotExist) == c.runs {
			t.Errorf("%s: %v, %q, php: %v", name, err, out, ran)
		}
	}
}

// TestAnUpgradeThatWasKilledIsSeen: Nextcloud answers 200 and says so in the text.
func TestAnUpgradeThatWasKilledIsSeen(t *testing.T) {
	script := scriptsOf(t)["nextcloud/nextcloud/nextcloud/readinessProbe"]
	const answer = `{"installed":true,"maintenance":%v,"needsDbUpgrade":%v,"version":"34.0.2.1","versionstring":"34.0.2","edition":"","productname":"Nextcloud","extendedSupport":false}`
	for text, ready := range map[string]bool{
		fmt.Sprintf(answer, false, false): true,
		fmt.Sprintf(answer, true, false):  false,
		fmt.Sprintf(answer, false, true):  false,
		fmt.Sprintf(answer, true, true):   false,
		strings.Replace(fmt.Sprintf(answer, false, false), `"installed":true`, `"installed":false`, 1): false, // anyone could install it
		"Internal Server Error": false,
		"":                      false,
	} {
		if out, err := withPHP(t, script, "echo '"+text+"'", nil); (err == nil) != ready || out != "" {
			t.Errorf("%q: %v, %q", text, err, out)
		}
	}
	if _, err := withPHP(t, script, "exit 1", nil); err == nil {
		t.Error("no answer is ready")
	}
}

// TestNextcloudWaitsForItsDatabase, as long as that takes: its image gives up.
func TestNextcloudWaitsForItsDatabase(t *testing.T) {
	count := filepath.Join(t.TempDir(), "asked")
	out, err := withPHP(t, scriptsOf(t)["nextcloud/nextcloud/database"], "", map[string]string{
		"pg_isready": "echo >>" + count + "\ntest $(wc -l <" + count + ") -gt 50", "sleep": "",
	})
	if asked, _ := os.ReadFile(count); err != nil || len(asked) != 51 || strings.Count(out, "waits for db") != 50 {
		t.Errorf("%v: asked %d times\n%s", err, len(asked), out)
	}
}
