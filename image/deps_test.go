package image_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/slot"
	"github.com/going-mobile/imagebuilder/image/overlay"
	"github.com/going-mobile/imagebuilder/overlays"
)

const module = "github.com/going-mobile/imagebuilder/"

// allowed lists what each package may import of this project's others: formats know bytes and
// trees, not boards or builds. A new dependency is a decision, and a line here, in its order.
var allowed = map[string][]string{
	"boards":                              {},
	"cmd/firstboot":                       {"firstboot", "firstboot/backup", "firstboot/contract", "firstboot/display", "firstboot/doctor", "firstboot/holder", "firstboot/host", "firstboot/k3sdata", "firstboot/node", "firstboot/page", "firstboot/report", "firstboot/secret", "firstboot/update", "firstboot/vault"},
	"cmd/imagebuilder":                    {"boards", "firstboot/contract", "firstboot/nearest", "firstboot/node", "firstboot/secret", "firstboot/strictyaml", "image", "image/atomicfile", "image/authenticode", "image/board", "image/card", "image/component", "image/compress", "image/control", "image/disk", "image/fetch", "image/flash", "image/fleet", "image/fleet/plan", "image/flock", "image/gitops", "image/handover", "image/hardware", "image/headscale", "image/inquiry", "image/inspect", "image/kubeconfig", "image/lab", "image/lab/network", "image/label", "image/lock", "image/mint", "image/objects", "image/oci", "image/oci/reference", "image/overlay", "image/owner", "image/progress", "image/qemu", "image/replace", "image/resurrect", "image/revoke", "image/rollout", "image/roster", "image/shares", "image/timezone", "image/token", "image/tree", "image/update", "image/verify", "image/vps", "overlays"},
	"cmd/init":                            {"firstboot/initramfs"},
	"firstboot":                           {"firstboot/contract", "firstboot/disks", "firstboot/k3sconfig", "firstboot/node", "firstboot/secret", "firstboot/sshkey", "firstboot/vault"},
	"firstboot/artifact":                  {"firstboot/codec", "firstboot/slot"},
	"firstboot/artifact/artifacttest":     {"firstboot/codec"},
	"firstboot/attic":                     {"firstboot/contract", "firstboot/dirsync", "firstboot/fscrypt"},
	"firstboot/backup":                    {"firstboot/contract", "firstboot/dirsync", "firstboot/node", "firstboot/strictyaml"},
	"firstboot/codec":                     {},
	"firstboot/contract":                  {},
	"firstboot/crashtest":                 {},
	"firstboot/ctxio":                     {},
	"firstboot/deb822":                    {},
	"firstboot/dirsync":                   {},
	"firstboot/disks":                     {"firstboot/contract", "firstboot/disks/ptable", "firstboot/node"},
	"firstboot/disks/cutdisk":             {},
	"firstboot/disks/ptable":              {"firstboot/contract"},
	"firstboot/display":                   {"firstboot", "firstboot/node"},
	"firstboot/doctor":                    {"firstboot", "firstboot/backup", "firstboot/contract", "firstboot/deb822", "firstboot/disks", "firstboot/efiboot", "firstboot/k3sconfig", "firstboot/node", "firstboot/report"},
	"firstboot/efiboot":                   {},
	"firstboot/fscrypt":                   {"firstboot/dirsync"},
	"firstboot/holder":                    {"firstboot/contract", "firstboot/ctxio", "firstboot/dirsync", "firstboot/node", "firstboot/secret", "firstboot/vault"},
	"firstboot/host":                      {"firstboot", "firstboot/attic", "firstboot/contract", "firstboot/ctxio", "firstboot/dirsync", "firstboot/disks", "firstboot/fscrypt", "firstboot/holder", "firstboot/slot", "firstboot/tpm", "firstboot/transfer", "firstboot/update", "firstboot/vault", "firstboot/wear"},
	"firstboot/initramfs":                 {"firstboot/attic", "firstboot/contract", "firstboot/disks", "firstboot/disks/ptable", "firstboot/efiboot", "firstboot/installer", "firstboot/node", "firstboot/slot"},
	"firstboot/installer":                 {"firstboot/contract", "firstboot/disks/ptable"},
	"firstboot/k3sconfig":                 {"firstboot/node"},
	"firstboot/k3sdata":                   {"firstboot/dirsync"},
	"firstboot/k3sflags":                  {"firstboot/nearest"},
	"firstboot/nearest":                   {},
	"firstboot/node":                      {"firstboot/contract", "firstboot/k3sflags", "firstboot/nearest", "firstboot/secret", "firstboot/strictyaml"},
	"firstboot/page":                      {"firstboot", "firstboot/node", "firstboot/words"},
	"firstboot/report":                    {"firstboot", "firstboot/contract", "firstboot/disks", "firstboot/efiboot", "firstboot/secret"},
	"firstboot/scan":                      {},
	"firstboot/secret":                    {},
	"firstboot/slot":                      {"firstboot/contract", "firstboot/dirsync"},
	"firstboot/sshkey":                    {},
	"firstboot/standin":                   {"firstboot/k3sflags", "image/objects"},
	"firstboot/strictyaml":                {"firstboot/nearest"},
	"firstboot/tpm":                       {},
	"firstboot/transfer":                  {},
	"firstboot/update":                    {"firstboot", "firstboot/artifact", "firstboot/backup", "firstboot/codec", "firstboot/contract", "firstboot/ctxio", "firstboot/efiboot", "firstboot/node", "firstboot/slot"},
	"firstboot/vault":                     {"firstboot/secret"},
	"firstboot/wear":                      {"firstboot/contract", "firstboot/ctxio"},
	"firstboot/words":                     {},
	"image":                               {"firstboot/codec", "firstboot/contract", "firstboot/node", "image/apt", "image/atomicfile", "image/authenticode", "image/board", "image/boot", "image/component", "image/compress", "image/deb", "image/disk", "image/fat", "image/fetch", "image/grub", "image/kmod", "image/lock", "image/manifest", "image/oci", "image/oci/reference", "image/overlay", "image/payload", "image/progress", "image/provenance", "image/prune", "image/rootfs", "image/rootfs/check", "image/rootfs/gate", "image/sbom", "image/squashfs", "image/squashfs/blockcache", "image/suites", "image/tree", "image/verify", "image/verity"},
	"image/apt":                           {"firstboot/deb822", "firstboot/nearest", "image/fetch", "image/progress"},
	"image/atomicfile":                    {"firstboot/dirsync", "image/flock"},
	"image/authenticode":                  {},
	"image/board":                         {"firstboot/nearest", "firstboot/strictyaml", "image/oci/reference", "image/suites"},
	"image/boot":                          {"firstboot/codec", "firstboot/contract", "firstboot/node", "firstboot/slot", "image/authenticode", "image/grub", "image/kmod", "image/tree"},
	"image/card":                          {"firstboot/node", "firstboot/secret", "image/flash", "image/fleet", "image/mint", "image/seed"},
	"image/clusterca":                     {"firstboot/contract"},
	"image/component":                     {"firstboot/contract", "firstboot/nearest", "firstboot/node", "firstboot/strictyaml", "firstboot/transfer", "image/fetch", "image/progress", "image/tree"},
	"image/compress":                      {"image/progress", "image/qcow2"},
	"image/control":                       {"firstboot/contract", "firstboot/secret", "image/atomicfile", "image/fleet", "image/headscale", "image/mint", "image/replace", "image/revoke", "image/vps"},
	"image/deb":                           {"firstboot/deb822", "image/fetch", "image/progress", "image/tree"},
	"image/disk":                          {"firstboot/contract", "image/progress"},
	"image/fat":                           {"image/tree"},
	"image/fetch":                         {"firstboot/ctxio", "firstboot/transfer", "image/atomicfile", "image/flock", "image/progress"},
	"image/flash":                         {"firstboot/contract", "firstboot/ctxio", "firstboot/node", "image/atomicfile", "image/compress", "image/disk", "image/fat", "image/progress", "image/verify"},
	"image/fleet":                         {"firstboot/contract", "firstboot/nearest", "firstboot/node", "firstboot/secret", "firstboot/sshkey", "firstboot/strictyaml", "image/atomicfile", "image/board", "image/clusterca", "image/oci/reference", "image/owner", "image/seed", "image/timezone"},
	"image/fleet/plan":                    {"firstboot/contract", "firstboot/node", "image/board", "image/fleet", "image/objects", "image/oci/reference", "image/overlay", "image/seed"},
	"image/flock":                         {},
	"image/flock/flocktest":               {},
	"image/gitops":                        {"firstboot/contract", "firstboot/node", "image/atomicfile", "image/fleet", "image/objects"},
	"image/grub":                          {},
	"image/handover":                      {"firstboot/contract", "firstboot/ctxio", "firstboot/node", "image/fleet", "image/inquiry", "image/roster"},
	"image/hardware":                      {"firstboot/contract", "image/tree"},
	"image/headscale":                     {"firstboot/secret"},
	"image/headscale/acmetest":            {},
	"image/headscale/headscaletest":       {"firstboot/contract", "firstboot/secret", "image/component", "image/fleet", "image/headscale"},
	"image/headscale/jointest":            {},
	"image/imagetest":                     {"firstboot/codec", "firstboot/contract", "firstboot/node", "firstboot/slot", "image/disk", "image/fat", "image/manifest", "image/progress", "image/provenance", "image/squashfs", "image/tree"},
	"image/inquiry":                       {"firstboot/contract", "image/fleet", "image/vps"},
	"image/inspect":                       {"firstboot/contract", "firstboot/deb822", "firstboot/node", "image/compress", "image/disk", "image/fat", "image/oci", "image/qcow2", "image/squashfs", "image/tree"},
	"image/kmod":                          {"firstboot/nearest", "image/tree"},
	"image/kube":                          {"firstboot/contract", "firstboot/ctxio", "image/clusterca"},
	"image/kubeconfig":                    {"image/clusterca"},
	"image/lab":                           {"firstboot/contract", "firstboot/ctxio", "firstboot/node", "image/atomicfile", "image/board", "image/card", "image/control", "image/flash", "image/fleet", "image/headscale", "image/lab/network", "image/mint", "image/qemu", "image/qemu/guest"},
	"image/lab/network":                   {},
	"image/label":                         {"firstboot/contract", "image/board"},
	"image/lock":                          {"firstboot/strictyaml", "image/oci/reference"},
	"image/manifest":                      {},
	"image/mint":                          {"firstboot/contract", "firstboot/node", "firstboot/secret", "image/atomicfile", "image/fleet", "image/flock", "image/headscale"},
	"image/objects":                       {"firstboot/nearest", "firstboot/strictyaml"},
	"image/oci":                           {"image/fetch", "image/oci/reference", "image/progress"},
	"image/oci/reference":                 {},
	"image/oci/registrytest":              {},
	"image/overlay":                       {"firstboot/nearest", "firstboot/strictyaml", "image/oci/reference", "image/suites", "image/tree"},
	"image/owner":                         {"firstboot/node", "firstboot/secret", "image/atomicfile"},
	"image/payload":                       {"image/tree"},
	"image/progress":                      {},
	"image/provenance":                    {"image/manifest"},
	"image/prune":                         {"image/tree"},
	"image/qcow2":                         {},
	"image/qemu":                          {"firstboot/ctxio", "image/board", "image/boot", "image/inspect"},
	"image/qemu/guest":                    {"image/qemu"},
	"image/replace":                       {"firstboot/node", "image/fleet", "image/headscale", "image/kube", "image/mint"},
	"image/resurrect":                     {"firstboot/backup", "firstboot/node", "image/component", "image/fleet", "image/headscale", "image/replace", "image/seed", "image/systembackup"},
	"image/revoke":                        {"firstboot/node", "image/atomicfile", "image/fleet", "image/headscale", "image/mint", "image/replace"},
	"image/rollout":                       {"firstboot/contract", "firstboot/ctxio", "firstboot/node", "image/fleet", "image/inquiry", "image/kube", "image/roster", "image/update"},
	"image/rootfs":                        {"firstboot/contract", "firstboot/deb822", "image/deb", "image/overlay", "image/rootfs/accounts", "image/rootfs/confdir", "image/rootfs/units", "image/tree"},
	"image/rootfs/accounts":               {"image/overlay", "image/rootfs/confdir"},
	"image/rootfs/check":                  {"image/rootfs/confdir", "image/tree"},
	"image/rootfs/confdir":                {"image/tree"},
	"image/rootfs/gate":                   {"firstboot/strictyaml", "image/deb"},
	"image/rootfs/units":                  {"firstboot/nearest", "image/overlay", "image/rootfs/confdir", "image/tree"},
	"image/roster":                        {"firstboot/nearest", "firstboot/node", "image/fleet", "image/headscale", "image/inquiry", "image/mint"},
	"image/sbom":                          {"image/manifest"},
	"image/seed":                          {"firstboot/contract", "firstboot/node", "firstboot/secret", "image/objects"},
	"image/shares":                        {"firstboot/contract", "firstboot/vault", "image/fleet", "image/inquiry", "image/roster"},
	"image/squashfs":                      {"firstboot/codec", "image/tree"},
	"image/squashfs/blockcache":           {},
	"image/suites":                        {},
	"image/systembackup":                  {"firstboot/backup", "firstboot/node"},
	"image/systembackup/systembackuptest": {"firstboot/node"},
	"image/timezone":                      {"firstboot/nearest"},
	"image/token":                         {},
	"image/tree":                          {},
	"image/update":                        {"firstboot/artifact", "firstboot/codec", "firstboot/contract", "firstboot/ctxio", "firstboot/slot", "image/authenticode", "image/boot", "image/fleet", "image/inquiry", "image/inspect", "image/progress", "image/squashfs", "image/verify"},
	"image/verify":                        {"firstboot/contract", "image/compress", "image/disk", "image/inspect", "image/manifest", "image/progress", "image/provenance"},
	"image/verity":                        {},
	"image/vps":                           {"image/fleet"},
	"overlays":                            {},
}

// TestLayers holds the house rules: the node's side never imports the
// builder's, commands are imported by nobody, and nothing imports what its line has not.
func TestLayers(t *testing.T) {
	for path, imports := range packages(t) {
		for _, imported := range imports {
			if strings.HasPrefix(path, "firstboot") && path != "firstboot/standin" && strings.HasPrefix(imported, "image") { // that is a test's
				t.Errorf("%s imports %s: the node must not carry the builder", path, imported)
			}
			if strings.HasPrefix(imported, "cmd/") {
				t.Errorf("%s imports %s: commands hold no logic", path, imported)
			}
			if imported == "image" && !strings.HasPrefix(path, "cmd/") {
				t.Errorf("%s imports image: only commands may", path)
			}
		}
		may, ok := allowed[path]
		if !ok {
			t.Errorf("%s has no line that says what it may import", path)
		}
		for _, imported := range imports {
			if ok && !slices.Contains(may, imported) {
				t.Errorf("%s imports %s; it may import %v only", path, imported, may)
			}
		}
	}
}

// TestAllowedIsSorted: in a long list without an order, nobody finds a line.
func TestAllowedIsSorted(t *testing.T) {
	text, err := os.ReadFile("deps_test.go")
	if err != nil {
		t.Fatal(err)
	}
	_, list, _ := strings.Cut(string(text), "\nvar allowed = map[string][]string{\n")
	list, _, _ = strings.Cut(list, "\n}\n")
	last, lines := "", 0
	for line := range strings.Lines(list) {
		names := regexp.MustCompile(`"[^"]+"`).FindAllString(line, -1)
		if names[0] < last {
			t.Errorf("the line of %s stands below that of %s: sort them", names[0], last)
		}
		if !slices.IsSorted(names[1:]) {
			t.Errorf("what %s may import is not sorted", names[0])
		}
		last, lines = names[0], lines+1
	}
	if lines != len(allowed) {
		t.Errorf("%d lines of %d were found", lines, len(allowed))
	}
}

// TestTheReadmeShowsTheHouse compares its table with what is there.
func TestTheReadmeShowsTheHouse(t *testing.T) {
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(text), "## The house\n")
	table, _, _ = strings.Cut(table, "\n## ")
	missing := packages(t)
	missing["image/e2e"], missing["firstboot/vmtest"] = nil, nil // tests only, behind tags
	there := maps.Clone(missing)
	for row := range strings.Lines(table) {
		column, _, _ := strings.Cut(strings.TrimPrefix(row, "|"), "|")
		parent := ""
		for i, name := range strings.Split(column, "`") {
			if i%2 == 0 { // between two names
				continue
			}
			for _, n := range braces(name) {
				if _, ok := there[n]; ok {
					parent = n
				} else {
					n = parent + "/" + n // one of its own
				}
				if _, ok := there[n]; !ok {
					t.Errorf("the README's table has %s, which is no package", n)
				}
				delete(missing, n)
			}
		}
	}
	for name := range missing {
		t.Errorf("the README's table lacks %s", name)
	}
}

// TestTheReadmeTellsOfEveryTarget that the Makefile has words for, and of no other.
func TestTheReadmeTellsOfEveryTarget(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	rules, err := os.ReadFile("../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	_, list, ok := strings.Cut(string(readme), "Further targets:\n`")
	list, _, closed := strings.Cut(list, "`")
	told := strings.Fields(list)
	for _, m := range regexp.MustCompile(`(?:^|\s|`+"`"+`)make ([a-z-]+)(?:\s{2,}|\s[A-Z]|`+"`"+`)`).FindAllStringSubmatch(string(readme), -1) {
		told = append(told, m[1])
	}
	var there []string
	for _, m := range regexp.MustCompile(`(?m)^([a-z-]+):[^#\n]*## `).FindAllStringSubmatch(string(rules), -1) {
		there = append(there, m[1])
	}
	slices.Sort(told)
	slices.Sort(there)
	if !ok || !closed || len(there) < 20 || !slices.Equal(slices.Compact(told), slices.Compact(there)) {
		t.Errorf("the README has %v, the Makefile has %v", told, there)
	}
}

// braces expands a/{b,c} to a/b and a/c.
func braces(s string) []string {
	before, list, ok := strings.Cut(s, "{")
	if !ok {
		return []string{s}
	}
	names := strings.Split(strings.TrimSuffix(list, "}"), ",")
	for i, n := range names {
		names[i] = before + n
	}
	return names
}

// packages returns the imports, from this module, of each of its packages.
func packages(t *testing.T) map[string][]string {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports", module+"...")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string][]string{}
	dec := json.NewDecoder(strings.NewReader(string(out)))
	for {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		path := strings.TrimPrefix(p.ImportPath, module)
		found[path] = []string{}
		for _, i := range p.Imports {
			if own, ok := strings.CutPrefix(i, module); ok {
				found[path] = append(found[path], own)
			}
		}
	}
	for path := range allowed {
		if found[path] == nil {
			t.Errorf("%s has a line of what it may import, but is not in the module", path)
		}
	}
	return found
}

// TestContractIsSpelledOnce forbids strings of other packages that builder and
// node must agree on: what is spelled twice changes once.
func TestContractIsSpelledOnce(t *testing.T) {
	words := contractWords(t)
	for _, want := range []string{contract.ModuleFile, contract.LabelFile, contract.PersistFile, contract.ArgTrial, contract.TypePending} {
		if !slices.Contains(words, want) {
			t.Errorf("%q is not among the words that are looked for", want)
		}
	}
	for name, literals := range productStrings(t) {
		for _, text := range literals {
			for _, word := range words {
				if strings.Contains(text, word) && !(word == contract.BootDir && name == "image/flash/device.go") { // the host's own
					t.Errorf("%s: %q spells %q of package contract again", name, text, word)
				}
			}
		}
	}
}

// TestCommandsForNodesAreInTheContract: a test of cmd/firstboot holds them against what the node's
// side understands.
func TestCommandsForNodesAreInTheContract(t *testing.T) {
	for name, literals := range productStrings(t) {
		if !strings.HasPrefix(name, "image/") && !strings.HasPrefix(name, "cmd/imagebuilder/") {
			continue
		}
		for _, text := range literals {
			if strings.HasPrefix(text, "firstboot ") {
				t.Errorf("%s: %q is a command for a node: spell it in package contract", name, text)
			}
		}
	}
}

// TestScriptsFollowTheContract looks at what cannot import it.
func TestScriptsFollowTheContract(t *testing.T) {
	for name, words := range map[string][]string{
		"image/boot/boot.cmd": {" " + contract.ArgBootDevice + "=", " " + contract.ArgTrial + "=", " " + contract.StageFile + "; then", " " + contract.StageFile + fmt.Sprintf(" %x\n", contract.StageSize)},
		"image/boot/grub.cfg": {" " + contract.ArgTrial + "=", " " + contract.ArgBootPart + "=${bootpart};", "load_env --file ${prefix}/" + path.Base(slot.CountFile) + " ", "save_env --file ${prefix}/" + path.Base(slot.CountFile) + " ",
			"load_env --file ${prefix}/" + path.Base(slot.CountFile) + " tried tries " + slot.GRUBElsewhere + "\n", fmt.Sprintf(" ${disk},gpt%d\n", contract.PartBoot),
			"in (${root})/" + slot.EntryDir + "/*.conf;", "source (${root})/${1}/" + slot.OptionsFile + "\n"},
		"image/component/components.yaml": {"path: " + contract.ImagesDir + "/"},
		"overlays/base/files/usr/lib/systemd/system-generators/imagebuilder-boot-generator": {"=/" + contract.StateFile, "=/" + contract.BootDir},
		"overlays/firstboot/files/usr/lib/systemd/system/firstboot-shares.path":             {"=/" + contract.HoldFile},
	} {
		text, err := os.ReadFile("../" + name)
		if err != nil {
			t.Fatal(err)
		}
		for _, word := range words {
			if !strings.Contains(string(text), word) {
				t.Errorf("%s does not have %q of package contract", name, word)
			}
		}
	}
	if path.Dir(slot.CountFile) != path.Dir(slot.GRUBScript) { // the script's ${prefix}
		t.Errorf("GRUB counts in %s, but its script is %s", slot.CountFile, slot.GRUBScript)
	}
}

// TestWhatFirstbootWritesInEtcOutlivesAnImage: the initramfs clears the rest at
// every boot.
func TestWhatFirstbootWritesInEtcOutlivesAnImage(t *testing.T) {
	list, err := overlay.LoadAll(overlays.FS, overlay.Names(overlays.FS))
	if err != nil {
		t.Fatal(err)
	}
	keep := slices.Clone(contract.NodeEtc)
	for _, o := range list {
		for _, p := range o.EtcPersist {
			keep = append(keep, "/"+p+"/")
		}
	}
	notWritten := []string{"/etc/kubelet.conf.d/20-imagebuilder.conf", "/etc/containerd/config-v3.toml.d/20-imagebuilder.toml", // below k3s' own directory in /var
		"/etc/systemd/", "/etc/systemd/system/", // no more than a prefix
		"/etc/nfsmount.conf", "/etc/nfsmount.conf.d", // the doctor reads them
		"/etc/ssl/certs"} // the image's own
	for name, literals := range productStrings(t) {
		if !strings.HasPrefix(name, "firstboot/") {
			continue
		}
		for _, p := range strings.Split(strings.Join(literals, ":"), ":") { // some are lists of directories
			if strings.HasPrefix(p, "/etc/") && !keep.Keeps(p) && !slices.Contains(notWritten, p) {
				t.Errorf("%s names %s, which does not outlive a boot: add it to an overlay's etcPersist, or say here why not", name, p)
			}
		}
	}
}

// contractWords are the constants of package contract that cannot mean
// anything else: names with a dot or a slash, and GUIDs.
func contractWords(t *testing.T) []string {
	t.Helper()
	var words []string
	files, _ := filepath.Glob("../firstboot/contract/*.go")
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		for _, d := range parse(t, name).Decls {
			if d, ok := d.(*ast.GenDecl); !ok || d.Tok != token.CONST {
				continue
			}
			words = append(words, stringsIn(d)...)
		}
	}
	return slices.DeleteFunc(words, func(w string) bool { return len(w) < 36 && !strings.ContainsAny(w, "./") })
}

// productStrings returns the string literals of every file outside of tests
// and package contract.
func productStrings(t *testing.T) map[string][]string {
	t.Helper()
	found := map[string][]string{}
	err := filepath.WalkDir("..", func(name string, e fs.DirEntry, err error) error {
		rel := strings.TrimPrefix(filepath.ToSlash(name), "../")
		switch {
		case err != nil:
			return err
		case rel == "firstboot/contract":
			return fs.SkipDir
		case strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go"):
			found[rel] = stringsIn(parse(t, name))
		}
		return nil
	})
	if err != nil || len(found) < 100 {
		t.Fatalf("%d files: %v", len(found), err)
	}
	return found
}

func parse(t *testing.T, name string) *ast.File {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func stringsIn(n ast.Node) []string {
	var found []string
	ast.Inspect(n, func(n ast.Node) bool {
		if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			text, _ := strconv.Unquote(lit.Value)
			found = append(found, text)
		}
		return true
	})
	return found
}
