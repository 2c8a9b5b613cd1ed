package firstboot_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/firstboot"
)

// TestSealedNodeWorksOn: what sealing took from node.yaml is still k3s' when
// its settings must be written again.
func TestSealedNodeWorksOn(t *testing.T) {
	w := crashWorld(t)
	w.boot(nil)
	const config = "/etc/rancher/k3s/config.yaml"
	want := string(w.files[config].data)
	if !strings.Contains(want, "etcd-s3-secret-key: s3-secret") || strings.Contains(w.bootYAML(), "s3-secret") {
		t.Fatalf("config.yaml:\n%s\nnode.yaml:\n%s", want, w.bootYAML())
	}
	w.files[config].data = append(w.files[config].data, "# spoilt\n"...)
	w.reboot()
	if s, _ := w.boot(nil); s.State != firstboot.Joined {
		t.Fatal(s.Line())
	}
	if have := string(w.files[config].data); have != want {
		t.Errorf("config.yaml became:\n%s", have)
	}
}

// TestCommentsAreSealed: a person may have kept the old key in one.
func TestCommentsAreSealed(t *testing.T) {
	w := newWorld(t, initYAML)
	w.boot(nil)
	w.personalise(strings.TrimRight(w.bootYAML(), "\n") + "\n# was: hskey-auth-older\n")
	w.reboot()
	if s, _ := w.boot(nil); s.State != firstboot.Joined {
		t.Fatal(s.Line())
	}
	if leak := leaks(w); leak != "" {
		t.Error(leak)
	}
}

// TestWhatFsckFoundIsSealed: fsck.fat -a makes files of clusters that no name leads to,
// and an earlier node.yaml may be among them. They are written over before they go.
func TestWhatFsckFoundIsSealed(t *testing.T) {
	w := newWorld(t, initYAML)
	const mine = "/boot/firmware/FSCKNOTE.REC"
	name, text := foundByFsck(t, strings.Repeat("# was: hskey-auth-older\n", 100))
	found := "/boot/firmware/" + name
	w.put(found, text)
	w.put(mine, "kept")
	var over bool
	w.fault = func(_ int, name string) fault {
		over = over || name == "overwrite "+found
		if name == "remove "+found && !over {
			t.Error("removed before it is written over")
		}
		return none
	}
	w.boot(nil)
	if _, ok := w.files[found]; ok || !over || w.text(mine) != "kept" {
		t.Errorf("there is %q; overwritten %v; mine is %q", w.text(found), over, w.text(mine))
	}
	w.put(found, "later, of a node that is joined: hskey-auth-older")
	w.reboot()
	if s, _ := w.boot(nil); s.State != firstboot.Joined || w.text(found) != "" {
		t.Errorf("%s: %q", s.Line(), w.text(found))
	}
}

// foundByFsck is what fsck.fat makes of a file whose name a power cut took.
func foundByFsck(t *testing.T, text string) (name, content string) {
	t.Helper()
	dir := t.TempDir()
	run := func(name string, args ...string) string {
		cmd := exec.Command(name, args...)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
		out, err := cmd.Output()
		if err != nil && name != "fsck.fat" { // which ends with 1 where it mended
			t.Fatalf("%s: %v\nIf it is missing: run make deps", name, err)
		}
		return string(out)
	}
	image := filepath.Join(dir, "fat")
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "text"), []byte(text), 0o600), os.WriteFile(image, nil, 0o600), os.Truncate(image, 40<<20)); err != nil {
		t.Fatal(err)
	}
	run("mkfs.fat", "-F", "32", "fat")
	run("mcopy", "-i", "fat", "text", "::NODE.YML")
	data, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	data[bytes.Index(data, []byte("NODE    YML"))] = 0xe5
	if err := os.WriteFile(image, data, 0o600); err != nil {
		t.Fatal(err)
	}
	run("fsck.fat", "-a", "fat")
	name = strings.TrimPrefix(strings.TrimSpace(run("mdir", "-b", "-i", "fat")), "::/")
	content = run("mtype", "-i", "fat", "::"+name)
	if !strings.Contains(content, "hskey-auth-older") {
		t.Fatalf("%s has %q", name, content)
	}
	return name, content
}

// TestSealingLeavesANewFile: what a person puts there while the node is at
// work is read, not written over.
func TestSealingLeavesANewFile(t *testing.T) {
	for _, moment := range []string{"put /var/lib/imagebuilder/firstboot/joined", "sync /var", "put /var/lib/imagebuilder/firstboot/node.yaml"} {
		w := newWorld(t, initYAML)
		put := false
		w.fault = func(_ int, name string) fault {
			if name == moment && !put {
				put = true
				w.personalise(strings.Replace(initYAML, "Europe/Lisbon", "Etc/UTC", 1))
			}
			return none
		}
		joined := func(s firstboot.Status) bool { return s.State == firstboot.Joined }
		w.boot(joined)
		w.reboot()
		if s, _ := w.boot(nil); s.State != firstboot.Joined || !strings.Contains(w.bootYAML(), "timezone: Etc/UTC") {
			t.Errorf("put at %q: %s\n%s", moment, s.Line(), w.bootYAML())
		}
		if leak := leaks(w); leak != "" {
			t.Errorf("put at %q: %s", moment, leak)
		}
	}
}
