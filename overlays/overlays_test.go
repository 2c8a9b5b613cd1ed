package overlays_test

import (
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/boards"
	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/image/board"
	"github.com/going-mobile/imagebuilder/image/overlay"
	"github.com/going-mobile/imagebuilder/image/tree"
	"github.com/going-mobile/imagebuilder/overlays"
)

func all(t *testing.T) []*overlay.Overlay {
	t.Helper()
	list, err := overlay.LoadAll(overlays.FS, overlay.Names(overlays.FS))
	if err != nil {
		t.Fatal(err)
	}
	if len(list) < 7 {
		t.Fatalf("only %d overlays are embedded", len(list))
	}
	return list
}

// merged lays all overlays into one tree, as any board may.
func merged(t *testing.T) *tree.Tree {
	t.Helper()
	root := tree.New()
	for _, o := range all(t) {
		for n := range o.Files.Walk() {
			if n.Path == "." {
				continue
			}
			if err := root.Add(n); err != nil {
				t.Error(err)
			}
		}
	}
	return root
}

func TestEveryDirectoryIsEmbedded(t *testing.T) {
	dirs, err := filepath.Glob("*/overlay.yaml")
	if err != nil || len(dirs) != len(overlay.Names(overlays.FS)) {
		t.Errorf("%d overlays here, %d embedded (%v)", len(dirs), len(overlay.Names(overlays.FS)), err)
	}
}

func TestBoardsKnowTheirOverlays(t *testing.T) {
	for _, name := range board.Names(boards.FS) {
		b, err := board.Load(name, boards.FS)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := overlay.LoadAll(overlays.FS, b.Overlays); err != nil {
			t.Errorf("board %s: %v", name, err)
		}
	}
}

// tool fails the test where a program is missing.
func tool(t *testing.T, name string) string {
	t.Helper()
	p, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%s is missing: run make deps", name)
	}
	return p
}

var execLine = regexp.MustCompile(`(?m)^Exec[A-Za-z]+=[-+!@:]*(/\S+)`)

// onDisk writes a tree below a new directory, with a stand-in for every
// program that a unit runs.
func onDisk(t *testing.T, root *tree.Tree) string {
	t.Helper()
	dir := t.TempDir()
	for n := range root.Walk() {
		p := filepath.Join(dir, filepath.FromSlash(n.Path))
		switch {
		case n.Mode.IsDir():
			check(t, os.MkdirAll(p, 0o755))
		case n.Mode&fs.ModeSymlink != 0:
			check(t, os.Symlink(n.Link, p))
		default:
			b, err := root.ReadAll(n.Path)
			check(t, err)
			check(t, os.WriteFile(p, b, n.Mode.Perm()))
			for _, m := range execLine.FindAllStringSubmatch(string(b), -1) {
				program := filepath.Join(dir, m[1])
				check(t, os.MkdirAll(filepath.Dir(program), 0o755))
				if _, err := os.Lstat(program); err == nil {
					check(t, os.Remove(program))
				}
				check(t, os.WriteFile(program, []byte("#!/bin/sh\n"), 0o755))
			}
		}
	}
	return dir
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestUnits lets systemd judge the units. The targets that they name are the
// host's own.
func TestUnits(t *testing.T) {
	analyze := tool(t, "systemd-analyze")
	root := merged(t)
	dir := onDisk(t, root)
	const units = "usr/lib/systemd/system"
	for _, name := range []string{"sysinit", "basic", "shutdown", "network", "local-fs", "multi-user", "boot-complete"} {
		b, err := os.ReadFile("/" + units + "/" + name + ".target")
		check(t, err)
		check(t, os.WriteFile(filepath.Join(dir, units, name+".target"), b, 0o644))
	}
	args := []string{"verify", "--man=no", "--recursive-errors=no", "--root=" + dir}
	for n := range root.Walk() {
		if strings.HasSuffix(n.Path, ".service") && path.Base(path.Dir(n.Path)) == "system" && n.Mode.IsRegular() {
			args = append(args, path.Base(n.Path))
		}
	}
	if len(args) < 10 {
		t.Fatalf("found only %q", args[4:])
	}
	out, _ := exec.Command(analyze, args...).CombinedOutput()
	for line := range strings.Lines(string(out)) {
		// Hosts before systemd 256, 254 and 253 do not know these keys; nodes have 257.
		newer := slices.ContainsFunc([]string{"WantsMountsFor", "RestartSteps", "RestartMaxDelaySec", "LogFilterPatterns"},
			func(key string) bool { return strings.Contains(line, "Unknown key '"+key+"'") })
		if !newer && strings.TrimSpace(line) != "" {
			t.Error(strings.TrimSpace(line))
		}
	}
}

func TestScriptsParse(t *testing.T) {
	sh := tool(t, "sh")
	root := merged(t)
	for n := range root.Walk() {
		if !n.Mode.IsRegular() || n.Mode&0o111 == 0 {
			continue
		}
		b, err := root.ReadAll(n.Path)
		check(t, err)
		cmd := exec.Command(sh, "-n")
		cmd.Stdin = strings.NewReader(string(b))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("/%s: %v: %s", n.Path, err, out)
		}
	}
}

// TestK3sRemembersItsImages: the file that tells it to is made where it is not,
// and stays as k3s left it; and nothing but k3s' own unit makes it.
func TestK3sRemembersItsImages(t *testing.T) {
	root, at := t.TempDir(), "/var/lib/rancher/k3s/agent/images/.cache.json"
	unit, err := os.ReadFile("k3s/files/usr/lib/systemd/system/k3s.service")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"", "what k3s knows"} {
		for line := range strings.Lines(string(unit)) {
			command, ok := strings.CutPrefix(line, "ExecStartPre=-")
			if !ok || !strings.Contains(command, path.Dir(at)) {
				continue
			}
			argv := strings.Fields(strings.ReplaceAll(command, " /var/", " "+root+"/var/"))
			if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
		}
		if data, err := os.ReadFile(root + at); err != nil || string(data) != want {
			t.Errorf("%q, %v", data, err)
		}
		if err := os.WriteFile(root+at, []byte("what k3s knows"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if confs, err := filepath.Glob("*/files/usr/lib/tmpfiles.d/*"); err != nil || len(confs) > 0 {
		t.Errorf("%v, %v: what is made below /var before the step storage keeps it from being encrypted", confs, err)
	}
}

// k3sRenews is how long before their end k3s renews certificates at a start: 90 days,
// or 120 since 2025.
const k3sRenews = 90

// TestK3sOutlivesNoCertificate: whenever k3s started, its next start is no later than
// the days in which it renews what it has.
func TestK3sOutlivesNoCertificate(t *testing.T) {
	unit, err := merged(t).ReadAll("usr/lib/systemd/system/k3s.service")
	check(t, err)
	days := func(key string) int {
		m := regexp.MustCompile(`(?m)^` + key + `=(\d+)d$`).FindStringSubmatch(string(unit))
		if m == nil {
			t.Fatalf("k3s.service lacks %s= in days", key)
		}
		n, err := strconv.Atoi(m[1])
		check(t, err)
		return n
	}
	least := days("RuntimeMaxSec")
	if most := least + days("RuntimeRandomizedExtraSec"); most >= k3sRenews {
		t.Errorf("it may run for %d days and renew nothing", most)
	}
	if time.Duration(least)*24*time.Hour != contract.K3sRuns {
		t.Errorf("firstboot takes it for %s", contract.K3sRuns)
	}
	for _, want := range []string{"\nRestart=always\n", "\nKillMode=process\n", "\nEnvironment=TZ=UTC\n", "\nRestartSteps=6\nRestartMaxDelaySec=60s\n", "\nLogRateLimitIntervalSec=1h\n"} {
		if !strings.Contains(string(unit), want) {
			t.Errorf("k3s.service lacks %q", want)
		}
	}
}

// TestWhatReachesANodeIsStartedAgain: without these nobody comes to it.
func TestWhatReachesANodeIsStartedAgain(t *testing.T) {
	for _, file := range []string{"wpa_supplicant@wlan0.service.d/10-imagebuilder.conf", "tailscaled.service", "firstboot.service", "firstboot-firewall.service"} {
		unit, err := merged(t).ReadAll("usr/lib/systemd/system/" + file)
		check(t, err)
		for _, want := range []string{"\nStartLimitIntervalSec=0\n", "\nRestart=", "\nRestartSec=", "\nOOMScoreAdjust=-900\n"} {
			if !strings.Contains(string(unit), want) {
				t.Errorf("%s lacks %q", file, want)
			}
		}
		if file == "firstboot.service" && !strings.Contains(string(unit), "\nRestartSteps=6\nRestartMaxDelaySec=60s\n") {
			t.Errorf("%s, which writes to the card whenever it starts, is never tried more seldom", file)
		}
	}
}

// TestThePageWritesOffersAlone: it reads what strangers send, and root loads what lies
// beside its offers' directory.
func TestThePageWritesOffersAlone(t *testing.T) {
	unit, err := merged(t).ReadAll("usr/lib/systemd/system/firstboot-page.service")
	check(t, err)
	written := regexp.MustCompile(`(?m)^(?:ReadWritePaths=/|RuntimeDirectory=|StateDirectory=)(.*)$`).FindAllStringSubmatch(string(unit), -1)
	if len(written) != 1 || "run/"+written[0][1] != contract.OfferDir {
		t.Errorf("it may write to %q", written)
	}
	for _, want := range []string{"\nProtectSystem=strict\n", "\nRuntimeDirectoryPreserve=yes\n"} {
		if !strings.Contains(string(unit), want) {
			t.Errorf("it lacks %q", want)
		}
	}
}

// TestFirewallHoldsWhatItSays: what only a running node would show, late.
func TestFirewallHoldsWhatItSays(t *testing.T) {
	root := merged(t)
	has := func(file, want string) {
		t.Helper()
		b, err := root.ReadAll(file)
		check(t, err)
		if !strings.Contains(string(b), want) {
			t.Errorf("/%s lacks %q", file, want)
		}
	}
	const units = "usr/lib/systemd/system/"
	has(units+"tailscaled.service", " --port=41641")
	has("usr/lib/imagebuilder/firewall.nft", "udp dport 41641 accept")
	has(units+"firstboot-firewall.service", "Before=network-pre.target ")
	has(units+"firstboot-firewall.service", "ExecStartPre=/usr/sbin/nft -f /usr/lib/imagebuilder/firewall.nft\n")
	for _, o := range all(t) {
		if o.Name == "firewall" && (!slices.Contains(o.Mask, "nftables.service") || !slices.Contains(o.Enable, "firstboot-firewall.service")) {
			t.Errorf("the firewall enables %v, masks %v", o.Enable, o.Mask)
		}
	}
	for _, name := range board.Names(boards.FS) {
		b, err := board.Load(name, boards.FS)
		check(t, err)
		if !slices.Contains(b.Overlays, "firewall") {
			t.Errorf("board %s has no firewall", name)
		}
	}
}

// TestBootGenerator runs the generator on what the initramfs writes.
func TestBootGenerator(t *testing.T) {
	b, err := merged(t).ReadAll("usr/lib/systemd/system-generators/imagebuilder-boot-generator")
	check(t, err)
	for disk, want := range map[string]string{
		"sda": "/dev/sda1", "mmcblk1": "/dev/mmcblk1p1", "nvme0n1": "/dev/nvme0n1p1", "vda": "/dev/vda1",
		"": "", "../x": "", "sda\\n": "",
	} {
		dir := t.TempDir()
		state := filepath.Join(dir, "boot.json")
		check(t, os.WriteFile(state, []byte("{\n  \"slot\": \"a\",\n  \"disk\": \""+disk+"\",\n  \"diskId\": \"d15c\"\n}\n"), 0o644))
		script := strings.Replace(string(b), "/"+contract.StateFile, state, 1)
		cmd := exec.Command(tool(t, "sh"), "-s", dir, dir, dir)
		cmd.Stdin = strings.NewReader(script)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%q: %v: %s", disk, err, out)
		}
		unit, err := os.ReadFile(filepath.Join(dir, "boot-firmware.mount"))
		if want == "" {
			if err == nil {
				t.Errorf("%q: mounts %s", disk, unit)
			}
			continue
		}
		fsck := "systemd-fsck@dev-" + path.Base(want) + ".service\n" // before anything is written
		for _, line := range []string{"\nWhat=" + want + "\n", "\nWants=" + fsck, "\nAfter=" + fsck} {
			if !strings.Contains(string(unit), line) {
				t.Errorf("%q: no %q in %s", disk, line, unit)
			}
		}
		if _, err := os.Stat(filepath.Join(dir, "local-fs.target.wants/boot-firmware.mount")); err != nil {
			t.Error(err)
		}
	}
}

// TestHeadscalesUnits have the names by which a node judges them.
func TestHeadscalesUnits(t *testing.T) {
	for _, unit := range []string{contract.HeadscaleUnit, contract.HeadscaleBackupUnit} {
		if _, err := fs.Stat(overlays.FS, "headscale/files/usr/lib/systemd/system/"+unit); err != nil {
			t.Error(err)
		}
	}
}

// TestHeadscaleOwnsItsFiles: firstboot writes them for the user of the image.
func TestHeadscaleOwnsItsFiles(t *testing.T) {
	o, err := overlay.Load(overlays.FS, "headscale")
	if err != nil || len(o.Users) != 1 || o.Users[0].UID != contract.HeadscaleID || o.Users[0].GID != contract.HeadscaleID {
		t.Errorf("%+v, %v", o, err)
	}
}
