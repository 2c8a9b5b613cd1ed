//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/image/board"
	"github.com/going-mobile/imagebuilder/image/lock"
	"github.com/going-mobile/imagebuilder/image/tree"
)

// TestNothingWantedIsPruned asks, for each machine that a board is for, all
// modules of the kernel which of them would drive the machine's parts, and
// wants these in the image, or a reason why not.
func TestNothingWantedIsPruned(t *testing.T) {
	eachBoard(t, func(t *testing.T, name, img string) {
		lists, err := filepath.Glob("../../boards/hardware/" + name + "/*.modalias")
		if err != nil {
			t.Fatal(err)
		}
		if len(lists) == 0 { // a board for any machine
			return
		}
		k := wholeKernel(t, img)
		wanted := hardware{modalias: deviceTrees(t, k, loadBoard(t, name)), without: map[string]string{}}
		for _, list := range lists {
			wanted.read(t, list)
		}
		root := rootOf(t, img)
		have := modulesIn(t, root)
		used := map[string]bool{}
		for _, alias := range wanted.modalias {
			for _, module := range k.drivers(t, alias) {
				used[module] = true
				if _, ok := wanted.without[module]; !have[module] && !ok {
					t.Errorf("%s: its driver %s is not in the image, and no line says why", alias, module)
				}
			}
		}
		for module := range wanted.without {
			if !used[module] || have[module] {
				t.Errorf("without: %s: it is in the image, or nothing asks for it", module)
			}
		}
		for _, file := range wanted.firmware {
			if _, err := root.Resolve("usr/lib/firmware/" + file); err != nil {
				t.Errorf("firmware %s: %v", file, err)
			}
		}
		t.Logf("%d parts with %d drivers, %d without, %d firmware files", len(wanted.modalias), len(used), len(wanted.without), len(wanted.firmware))
	})
}

// hardware is what boards/hardware/README.md describes.
type hardware struct {
	modalias, firmware []string
	without            map[string]string
}

func (h *hardware) read(t *testing.T, list string) {
	t.Helper()
	text, err := os.ReadFile(list)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		kind, rest, _ := strings.Cut(line, ": ")
		switch module, reason, ok := strings.Cut(rest, " - "); {
		case line == "" || line[0] == '#':
		case kind == "firmware":
			h.firmware = append(h.firmware, rest)
		case kind == "without" && ok:
			h.without[module] = reason
		case strings.ContainsRune(line, ' ') && !strings.HasPrefix(line, "dmi:"):
			t.Errorf("%s: what is %q?", list, line)
		default:
			h.modalias = append(h.modalias, line)
		}
	}
}

func loadBoard(t *testing.T, name string) *board.Board {
	t.Helper()
	b, err := board.Load(name, os.DirFS("../../boards"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// kernel is a whole kernel package, with the indexes that the real depmod makes.
type kernel struct{ dir, release string }

func wholeKernel(t *testing.T, img string) kernel {
	t.Helper()
	data, err := os.ReadFile(img + ".lock.json")
	if err != nil {
		t.Fatal(err)
	}
	var l lock.Lock
	if err := json.Unmarshal(data, &l); err != nil {
		t.Fatal(err)
	}
	at := slices.IndexFunc(l.Packages, func(p lock.Package) bool { return regexp.MustCompile(`^linux-image-[0-9]`).MatchString(p.Name) })
	if at < 0 {
		t.Fatal("the lock has no kernel")
	}
	sum := l.Packages[at].SHA256
	k := kernel{dir: t.TempDir(), release: strings.TrimPrefix(l.Packages[at].Name, "linux-image-")}
	run(t, "dpkg-deb", "-x", filepath.Join(must(os.UserCacheDir()), "imagebuilder/sha256", sum[:2], sum), k.dir)
	if err := os.Symlink("usr/lib", filepath.Join(k.dir, "lib")); err != nil {
		t.Fatal(err)
	}
	run(t, "depmod", "-b", k.dir, k.release)
	return k
}

// drivers are the modules that udev would load, without what is compiled in.
func (k kernel) drivers(t *testing.T, alias string) []string {
	t.Helper()
	out, err := exec.Command("modprobe", "-C", "/dev/null", "-d", k.dir, "-S", k.release, "-R", alias).Output()
	if err != nil {
		return nil // nobody's: modprobe says so by its exit code
	}
	builtin, err := os.ReadFile(filepath.Join(k.dir, "usr/lib/modules", k.release, "modules.builtin"))
	if err != nil {
		t.Fatal(err)
	}
	var modules []string
	for name := range strings.FieldsSeq(string(out)) {
		file := regexp.MustCompile(`/` + strings.ReplaceAll(name, "_", "[-_]") + `\.ko`)
		if !file.Match(builtin) {
			modules = append(modules, name)
		}
	}
	return modules
}

// modulesIn are the modules of a root, by the kernel's names.
func modulesIn(t *testing.T, root *tree.Tree) map[string]bool {
	t.Helper()
	have := map[string]bool{}
	for n := range root.Walk() {
		if name, _, ok := strings.Cut(path.Base(n.Path), ".ko"); ok && strings.HasPrefix(n.Path, "usr/lib/modules/") {
			have[strings.ReplaceAll(name, "-", "_")] = true
		}
	}
	return have
}

// deviceTrees returns the modalias of each device in a board's trees, as
// of_device_get_modalias() of the kernel builds it.
func deviceTrees(t *testing.T, k kernel, b *board.Board) []string {
	t.Helper()
	if b.Pi == nil {
		return nil
	}
	found := map[string]bool{}
	for _, name := range b.Pi.DeviceTrees {
		dts := run(t, "dtc", "-q", "-I", "dtb", "-O", "dts", filepath.Join(k.dir, "usr/lib/linux-image-"+k.release, name))
		for _, alias := range devices(dts) {
			found[alias] = true
		}
	}
	return slices.Sorted(maps.Keys(found))
}

var (
	nodeStart = regexp.MustCompile(`^(?:\w+: )?([\w,.+-]+|/)(?:@[\w,]+)? \{$`)
	property  = regexp.MustCompile(`^(compatible|device_type|status) = "(.*)";$`)
)

// devices reads the source that dtc writes, one thing a line. What is disabled
// is no device, with all below it.
func devices(dts string) (aliases []string) {
	var stack []map[string]string
	for line := range strings.Lines(dts) {
		line = strings.TrimSpace(line)
		if m := nodeStart.FindStringSubmatch(line); m != nil {
			stack = append(stack, map[string]string{"name": m[1], "device_type": "(null)"})
		} else if m := property.FindStringSubmatch(line); m != nil && len(stack) > 0 {
			stack[len(stack)-1][m[1]] = m[2]
		} else if line == "};" && len(stack) > 0 {
			node := stack[len(stack)-1]
			off := slices.ContainsFunc(stack, func(n map[string]string) bool { return n["status"] == "disabled" })
			if stack = stack[:len(stack)-1]; node["compatible"] != "" && !off {
				all := strings.NewReplacer(`", "`, "C", `\0`, "C").Replace(node["compatible"])
				aliases = append(aliases, fmt.Sprintf("of:N%sT%sC%s", node["name"], node["device_type"], all))
			}
		}
	}
	return aliases
}
