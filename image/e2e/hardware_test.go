//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/boards"
	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/image/board"
	"github.com/going-mobile/imagebuilder/image/hardware"
	"github.com/going-mobile/imagebuilder/image/lock"
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
		wanted, err := hardware.Lists(boards.Hardware, name)
		if err != nil {
			t.Fatal(err)
		}
		wanted.Modalias = append(wanted.Modalias, deviceTrees(t, k, loadBoard(t, name))...)
		root := rootOf(t, img)
		have := hardware.Modules(root)
		used := map[string]bool{}
		for _, alias := range wanted.Modalias {
			for _, module := range k.drivers(t, alias) {
				used[module] = true
				if _, ok := wanted.Without[module]; !have[module] && !ok {
					t.Errorf("%s: its driver %s is not in the image, and no line says why", alias, module)
				}
			}
		}
		for module := range wanted.Without {
			if !used[module] || have[module] {
				t.Errorf("without: %s: it is in the image, or nothing asks for it", module)
			}
		}
		for _, file := range wanted.Firmware {
			if _, err := root.Resolve("usr/lib/firmware/" + file); err != nil {
				t.Errorf("firmware %s: %v", file, err)
			}
		}
		t.Logf("%d parts with %d drivers, %d without, %d firmware files", len(wanted.Modalias), len(used), len(wanted.Without), len(wanted.Firmware))
	})
}

// TestTheLightCanBlink on a Pi: what package display writes into a trigger is compiled into
// the kernel of the image, or its module is there and loaded at boot.
func TestTheLightCanBlink(t *testing.T) {
	eachBoard(t, func(t *testing.T, name, img string) {
		if loadBoard(t, name).Pi == nil {
			return
		}
		k, root := wholeKernel(t, img), rootOf(t, img)
		loaded, err := root.ReadAll("usr/lib/modules-load.d/imagebuilder-light.conf")
		if err != nil {
			t.Fatal(err)
		}
		for _, module := range []string{"ledtrig-heartbeat", "ledtrig-timer"} {
			compiledIn := bytes.Contains(k.index(t, "modules.builtin"), []byte("/"+module+".ko"))
			there := hardware.Modules(root)[strings.ReplaceAll(module, "-", "_")]
			if !compiledIn && !(there && slices.Contains(strings.Fields(string(loaded)), module)) {
				t.Errorf("%s is not compiled in; it is in the image: %v; at boot are loaded %q", module, there, loaded)
			}
		}
	})
}

// TestAReportNamesWhatAnImageLacks: of a machine whose parts are all listed
// nothing is missing, though none of them had its driver yet; of one with a
// foreign radio in it, module and package are named.
func TestAReportNamesWhatAnImageLacks(t *testing.T) {
	img := image(t, "optiplex-7050")
	wanted, err := hardware.Lists(boards.Hardware, "optiplex-7050")
	if err != nil {
		t.Fatal(err)
	}
	r := contract.Report{Head: []contract.Fact{{Name: contract.FactBoard, Value: "optiplex-7050"}}}
	for _, alias := range wanted.Modalias {
		r.Devices = append(r.Devices, contract.Device{Modalias: alias})
	}
	ask := func() string {
		text, err := r.Encode()
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Join(t.TempDir(), "report")
		if err := os.WriteFile(name, text, 0o644); err != nil {
			t.Fatal(err)
		}
		return run(t, builder, "report", name, "--image", img, "--quiet")
	}
	if out := ask(); !strings.Contains(out, "lacks nothing that this machine asks for") || !strings.Contains(out, "snd_hda_intel: a node is silent") {
		t.Error(out)
	}
	r.Devices = append(r.Devices, contract.Device{Modalias: "usb:v0CF3p9271d0108dcFFdscFFdpFFicFFisc00ip00in00"})
	r.Firmware = []string{"ath9k_htc/htc_9271-1.4.0.fw"}
	for _, want := range []string{"module ath9k_htc, for usb:v0CF3", "it is in linux-image-6.", "it is in firmware-ath9k-htc"} {
		if out := ask(); !strings.Contains(out, want) {
			t.Errorf("%q is missing in %s", want, out)
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

// kernel is a whole kernel, with the indexes that the real depmod makes.
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
	k := kernel{dir: t.TempDir()}
	for _, p := range l.Packages {
		if regexp.MustCompile(`^linux-(base|image|modules)-[0-9]`).MatchString(p.Name) {
			run(t, "dpkg-deb", "-x", filepath.Join(must(os.UserCacheDir()), "imagebuilder/sha256", p.SHA256[:2], p.SHA256), k.dir)
		}
	}
	found, err := filepath.Glob(filepath.Join(k.dir, "usr/lib/modules/*/kernel"))
	if err != nil || len(found) != 1 {
		t.Fatalf("the lock has not one kernel: %v, %v", found, err)
	}
	k.release = filepath.Base(filepath.Dir(found[0]))
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
	var modules []string
	for name := range strings.FieldsSeq(string(out)) {
		file := regexp.MustCompile(`/` + strings.ReplaceAll(name, "_", "[-_]") + `\.ko`)
		if !file.Match(k.index(t, "modules.builtin")) && !bytes.Contains(k.index(t, "modules.builtin.modinfo"), []byte("\x00"+name+".alias=")) {
			modules = append(modules, name)
		}
	}
	return modules
}

// index reads one of the kernel's own lists. What can be no module at all, as its
// configuration knows yes and no only, is in modules.builtin.modinfo alone.
func (k kernel) index(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(k.dir, "usr/lib/modules", k.release, name))
	if err != nil {
		t.Fatal(err)
	}
	return data
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
		dtb := filepath.Join(k.dir, "usr/lib/linux-image-"+k.release, name)
		if _, err := os.Stat(dtb); err != nil { // from 7.x on
			dtb = filepath.Join(k.dir, "usr/lib/modules", k.release, "dtb", name)
		}
		dts := run(t, "dtc", "-q", "-I", "dtb", "-O", "dts", dtb)
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
