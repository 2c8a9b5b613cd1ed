//go:build linux

package update_test

import (
	"bytes"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot"
	"github.com/going-mobile/imagebuilder/firstboot/artifact"
	"github.com/going-mobile/imagebuilder/firstboot/attic"
	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/firstboot/slot"
	"github.com/going-mobile/imagebuilder/firstboot/update"
)

// boot returns the files of the boot partition by name, and the contents of the slots.
func (w *world) boot() map[string]string {
	w.t.Helper()
	found := map[string]string{"slot a": digest(w.roots["a"]), "slot b": digest(w.roots["b"])}
	err := filepath.WalkDir(w.at("boot/firmware"), func(name string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		data, err := os.ReadFile(name)
		rel, _ := filepath.Rel(w.at("boot/firmware"), name)
		found[filepath.ToSlash(rel)] = string(data)
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return found
}

// starts reports whether a boot loader would find what starts slot b.
func starts(boot map[string]string, kit []string) bool {
	if slices.Equal(kit, piBoard.kit) {
		return boot["b/vmlinuz"] != ""
	}
	return slices.ContainsFunc(slices.Collect(maps.Keys(boot)), func(name string) bool {
		n, ok := slot.ParseEFIName(filepath.Base(name))
		return ok && n.Slot == "b"
	})
}

// isSafe: slot a is untouched and starts; slot b starts only with a complete system, the old or the
// new one.
func (w *world) isSafe(when string, before map[string]string) {
	w.t.Helper()
	now := w.boot()
	for name, text := range before {
		inA := name == "slot a" || strings.HasPrefix(name, "a/") || strings.HasSuffix(name, "-a.conf") || strings.HasSuffix(name, "-a.efi")
		if inA && now[name] != text {
			w.t.Fatalf("%s: %s has changed", when, name)
		}
	}
	st, err := (slots{w}).store().Current()
	if err != nil || st.Good != "a" {
		w.t.Fatalf("%s: %+v, %v", when, st, err)
	}
	switch {
	case !starts(now, w.kit):
		return
	case now["slot b"] == before["slot b"]: // then what starts it is the old system's
		for name, text := range before {
			inB := strings.HasPrefix(name, "b/") || strings.Contains(name, "-b")
			if inB && !strings.Contains(name, firstboot.Unfinished) && now[name] != text {
				w.t.Fatalf("%s: slot b's old root starts, without its %s", when, name)
			}
		}
		return
	}
	for _, name := range w.kit { // a new root has all of the new boot files
		if !slices.ContainsFunc(slices.Collect(maps.Values(now)), func(text string) bool { return text == newFile(name, "b") }) {
			w.t.Fatalf("%s: slot b starts without its %s", when, name)
		}
	}
	if now["slot b"] != digest(newRoot) {
		w.t.Fatalf("%s: slot b starts, and its root is not whole", when)
	}
	if st.Leaves() && w.trial.Slot == "" {
		w.t.Fatalf("%s: slot b is tried, and what is kept for it is another trial's", when)
	}
}

// TestInstalled: the other slot has the image and is on trial; the running slot, and what both
// slots share, are unchanged.
func TestInstalled(t *testing.T) {
	want := map[string]map[string]string{
		"pi":      {"b/initrd.img": "new initrd.img slot=b ", "b/cmdline.txt": "new cmdline.txt slot=b ", "b/vmlinuz": "new vmlinuz slot=b ", slot.TrialFile: string(slot.TrialEnv("b", 3)), "b/left.txt": ""},
		"pc":      {"b/initrd.img": "new initrd.img slot=b ", "b/grub.cfg": "new grub.cfg slot=b ", "b/vmlinuz": "new vmlinuz slot=b ", "loader/entries/imagebuilder-5-b+3.conf": "new entry slot=b ", "loader/entries/imagebuilder-3-b.conf": "", "loader/entries/.firstboot-imagebuilder-0-b.conf": ""},
		"unified": {"EFI/Linux/imagebuilder-2-b+3.efi": newFile(slot.Unified, "b"), "EFI/Linux/imagebuilder-2-b+0-3.efi": ""},
	}
	for name, b := range boards {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, b)
			expected := w.boot()
			for file, text := range want[name] {
				expected[file] = text
				if text == "" {
					delete(expected, file)
				}
			}
			expected["slot b"] = digest(newRoot)
			data := w.artifact(1, nil)
			r, err := w.apply(data)
			if err != nil || *r != (update.Result{Installed: true, Slot: "b", Version: "two", Fetched: int64(len(data))}) {
				t.Fatalf("%+v, %v", r, err)
			}
			if got := w.boot(); !maps.Equal(got, expected) {
				t.Errorf("%q\nwant %q", got, expected)
			}
			if r.String() != "slot b has two, and is tried at the next start" || w.fast || w.busy {
				t.Errorf("%s; fast %v, busy %v", r, w.fast, w.busy)
			}
		})
	}
}

// TestEveryCallFails breaks each call in turn, in every way: the running slot always starts, the
// other slot only with a complete system, and the same update repeated ends as if nothing had
// failed.
func TestEveryCallFails(t *testing.T) {
	all := maps.Clone(boards)
	all["pi"] = waitingBoard // which has all that a Pi has, and what an earlier update left
	for name, b := range all {
		newWorld := func(t *testing.T, b board) *world {
			w := newWorld(t, b)
			if name == "pc" {
				sealedAgent(w)
			}
			return w
		}
		calm := newWorld(t, b)
		if _, err := calm.apply(calm.artifact(1, nil)); err != nil {
			t.Fatal(err)
		}
		want := calm.boot()
		kinds := map[string]fault{"cut": cut, "cutEnd": cutEnd}
		if name == "pc" { // whose files are of all kinds
			kinds["before"], kinds["after"] = before, after
		}
		t.Logf("%s: %d calls", name, calm.calls)
		for kind, f := range kinds {
			t.Run(name+" "+kind, func(t *testing.T) {
				t.Parallel()
				for n := 1; n <= calm.calls; n++ {
					w := newWorld(t, b)
					data, first, at := w.artifact(1, nil), w.boot(), ""
					w.fault = func(call int, what string) fault {
						if call == n {
							at = what
							return f
						}
						return none
					}
					_, err := w.apply(data)
					if err == nil && f != after && !mayFail(at) {
						t.Fatalf("call %d (%s) broken: no error", n, at)
					}
					w.fault = nil
					w.isSafe("call "+at, first)
					if _, err := w.apply(data); err != nil {
						t.Fatalf("call %d (%s) broken, then again: %v", n, at, err)
					}
					if got := w.boot(); !maps.Equal(got, want) {
						t.Fatalf("call %d (%s) broken: ends as %q\nwant %q", n, at, got, want)
					}
				}
			})
		}
	}
}

// mayFail lists the calls that may fail without harm: closing a file that was read, reading a link
// that is none, and asking a cluster whether it handles trials.
func mayFail(call string) bool {
	return strings.HasPrefix(call, "close") || strings.HasPrefix(call, "readlink") || call == "api /api/v1/nodes/home-pi"
}

// refusals are reasons against an update, each with the words for a person.
var refusals = map[string]struct {
	board   *board // a Pi's where there is none
	node    func(*world)
	signer  byte
	change  func(*artifact.Manifest)
	without string // boot file
	want    string
}{
	"another key":         {signer: 2, want: "the update was signed with key"},
	"no owner":            {node: func(w *world) { w.edit("boot/firmware/node.yaml", "ownerKey:", "# ownerKey:") }, want: "knows no owner"},
	"no node.yaml":        {node: func(w *world) { os.Remove(w.at("boot/firmware/node.yaml")) }, want: "does not know its owner"},
	"another board":       {change: func(m *artifact.Manifest) { m.Board = "rpi5" }, want: "for board rpi5, this node's is rpi4"},
	"another machine":     {change: func(m *artifact.Manifest) { m.Arch = "riscv64" }, want: "the update is for riscv64"},
	"another disk":        {change: func(m *artifact.Manifest) { m.DiskID = "12345678" }, want: "looks for disk 12345678, this node's is deadbeef"},
	"older":               {change: func(m *artifact.Manifest) { m.Made = made.Add(-time.Second) }, want: "older than what runs: two of 2026-10-31, this is one of 2026-11-01"},
	"no image":            {node: func(w *world) { w.put("usr/lib/os-release", "ID=debian\n") }, want: "no image of imagebuilder"},
	"on trial":            {node: func(w *world) { w.edit("proc/cmdline", "slot=a", "slot=b") }, want: "slot b, which runs, has not proved itself yet"},
	"busy":                {node: func(w *world) { w.busy = true }, want: "another update is under way"},
	"other boot files":    {board: &piBoard, without: slot.Initrd, want: "boot loader starts a slot by initrd.img, cmdline.txt, vmlinuz, and not by cmdline.txt, vmlinuz"},
	"Debian's signature":  {board: &ownedBoard, node: secure(""), want: "the update bears Debian's signature: build the image with --sign KEY"},
	"no signature":        {board: &unifiedBoard, node: secure(""), want: "and the update does not say that it is: build the image with --sign KEY"},
	"another's signature": {board: &unifiedBoard, node: secure(""), change: signedBy("another's"), want: "signed by another certificate than what runs"},
	"a key for shim":      {board: &entryBoard, node: secure("Microsoft's"), change: signedBy("the owner's"), want: "signed by another certificate than what runs"},
	"no certificate":      {board: &unifiedBoard, node: secure(""), change: func(m *artifact.Manifest) { m.Components[contract.CertificateComponent] = "?" }, want: "says wrongly by which certificate"},
	"no GRUB":             {board: &pcBoard, without: slot.OptionsFile, want: "and not by initrd.img, vmlinuz, entry"},
	"no room to boot":     {node: func(w *world) { w.room = 100 << 10 }, want: "the boot partition has room for 100 KB, the update needs 160 KB"},
	"a small slot":        {node: func(w *world) { w.size = 4 << 20 }, want: "slot b has room for 4 MB, the update's root has 4 MB"},
	"another base":        {node: func(w *world) { w.roots["a"][7] ^= 1 }, want: "made from another image than runs here"},
	"no room for a trial": {node: func(w *world) { w.varRoom = 63 << 20 }, want: "/var has room for 63 MB, the trial needs"},
	"a store not back":    {node: func(w *world) { w.owes = attic.ErrOwed }, want: "not put back yet as it was before the trial that failed"},
	"a silent cluster":    {node: server, want: "does not say whether its etcd has other members, nor did it before"},
	"no k3s":              {change: func(m *artifact.Manifest) { delete(m.Components, "k3s") }, want: "the update has no k3s"},
	"k3s far ahead":       {node: server, change: func(m *artifact.Manifest) { m.Components["k3s"] = "v1.35.0+k3s1" }, want: "goes one minor version forward at a time"},
	"which also votes":    {node: vps("witness"), change: func(m *artifact.Manifest) { m.Components["k3s"] = "v1.35.0+k3s1" }, want: "goes one minor version forward at a time"},
	"k3s behind":          {change: func(m *artifact.Manifest) { m.Components["k3s"] = "v1.32.9+k3s1" }, want: "k3s never goes back"},
	"k3s of no number":    {change: func(m *artifact.Manifest) { m.Components["k3s"] = "latest" }, want: "from k3s v1.33.1+k3s1 to latest"},
	"no Headscale":        {node: withHeadscale, want: "the update has no headscale"},
	"Headscale far ahead": {node: withHeadscale, change: headscale("v0.31.0"), want: "from Headscale v0.29.3 to v0.31.0: Headscale goes one minor version forward at a time"},
	"Headscale behind":    {node: withHeadscale, change: headscale("v0.28.0"), want: "and never back"},
	"deferred otherwise":  {change: func(m *artifact.Manifest) { m.Deferred["k3s"] = digest(rootB) }, want: "leaves k3s to be fetched"},
	"no encryption":       {node: encryptedAgent, change: states(""), want: "the update does not know how this node's data are kept, which are encrypted (storage 1, it states 0), and would take them for lost: build it"},
	"encryption waits":    {node: encrypts, change: states("0"), want: "(storage 1, it states 0)"},
	"no TPM":              {node: sealedAgent, change: states("1"), want: "which are encrypted, with a share of the key in the TPM (storage 2, it states 1)"},
	"sealed at a cut":     {node: func(w *world) { encryptedAgent(w); w.put(storageNext, "version: 2\n") }, change: states("1"), want: "(storage 2, it states 1)"},
	"a damaged share":     {node: func(w *world) { w.put(storageFile, "version: [\ndisk: hush\n") }, want: storageFile + " is damaged"},
	"storage in words":    {change: states("all"), want: "the update says wrongly how it keeps data"},
	"another codec":       {change: func(m *artifact.Manifest) { m.Codec = "zstd v9" }, want: "patches for who compresses with zstd v9, this node does with zstd v1."},
	"another initramfs":   {node: func(w *world) { w.edit("boot/firmware/a/initrd.img", "more", "less") }, want: "made from another image than runs here"},
	"another unified":     {board: &unifiedBoard, node: func(w *world) { w.edit(runningUnified, "signed", "sealed") }, want: "made from another image than runs here"},
	"a damaged unified":   {board: &unifiedBoard, node: func(w *world) { w.edit(runningUnified, "old uki", "old uki, longer") }, want: "made from another image than runs here"},
	"no initramfs":        {node: func(w *world) { os.Remove(w.at("boot/firmware/a/initrd.img")) }, want: "made from another image than runs here"},
}

// Boards whose update has another kind of boot file than the running system: ownedBoard runs a
// unified kernel image and gets an entry, which shim starts; entryBoard the other way round.
var (
	ownedBoard = board{kit: []string{slot.Initrd, slot.Kernel, slot.Entry}, files: unifiedBoard.files}
	entryBoard = board{kit: []string{slot.Unified}, files: map[string]string{"loader/entries/imagebuilder-1-a.conf": "entry a"}}
)

const efivars = "sys/firmware/efi/efivars/"

// secure switches Secure Boot on, with a certificate that the firmware trusts.
func secure(trusts string) func(*world) {
	return func(w *world) {
		w.put(efivars+"SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c", "\x06\x00\x00\x00\x01")
		w.put(efivars+"db-d719b2cb-3d3a-4596-a3bc-dad00e67656f", "\x27\x00\x00\x00 a list with "+trusts)
	}
}

// signedBy makes an update state by which certificate it is signed, "" for none.
func signedBy(certificate string) func(*artifact.Manifest) {
	return func(m *artifact.Manifest) {
		if certificate != "" {
			m.Components[contract.CertificateComponent] = contract.EncodeCertificate([]byte(certificate))
		}
	}
}

// TestSecureBoot: an update that the firmware will start is accepted; without Secure Boot nothing
// is checked.
func TestSecureBoot(t *testing.T) {
	off := func(w *world) {
		w.put(efivars+"SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c", "\x06\x00\x00\x00\x00")
	}
	for name, c := range map[string]struct {
		board  board
		node   func(*world)
		signer string
	}{
		"the firmware trusts it":     {unifiedBoard, secure("the owner's"), "the owner's"},
		"in a long list":             {unifiedBoard, secure(strings.Repeat("x", 1<<20-20) + "the owner's"), "the owner's"}, // read in pieces
		"what runs is signed by it":  {unifiedBoard, secure("Microsoft's"), "signed for"},                                  // see unified
		"through shim, as what runs": {pcBoard, secure("Microsoft's"), ""},
		"off":                        {unifiedBoard, off, ""},
		"no UEFI":                    {piBoard, func(*world) {}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, c.board)
			c.node(w)
			if r, err := w.apply(w.artifact(1, signedBy(c.signer))); err != nil || !r.Installed {
				t.Errorf("%+v, %v", r, err)
			}
		})
	}
}

const runningUnified = "boot/firmware/EFI/Linux/imagebuilder-1-a.efi"

// TestRefused: each refusal is explained in words, and nothing was written.
func TestRefused(t *testing.T) {
	for name, c := range refusals {
		t.Run(name, func(t *testing.T) {
			b := piBoard
			if c.board != nil {
				b = *c.board
			}
			w := newWorld(t, b)
			if c.node != nil {
				c.node(w)
			}
			w.kit = slices.DeleteFunc(slices.Clone(w.kit), func(name string) bool { return name == c.without })
			before := w.boot()
			r, err := w.apply(w.artifact(max(1, c.signer), c.change))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("%+v, %v; want %q", r, err, c.want)
			}
			if !maps.Equal(before, w.boot()) {
				t.Error("something was written")
			}
		})
	}
}

func (w *world) edit(name, old, text string) {
	w.t.Helper()
	data, err := os.ReadFile(w.at(name))
	if err != nil || !bytes.Contains(data, []byte(old)) {
		w.t.Fatalf("%s: no %q in it: %v", name, old, err)
	}
	w.put(name, strings.ReplaceAll(string(data), old, text))
}

const (
	storageFile = "var/lib/imagebuilder/firstboot/storage.yaml"
	storageNext = "var/lib/imagebuilder/firstboot/storage-next.yaml"
)

// Nodes whose data is encrypted, sealed, or to be encrypted.
func encryptedAgent(w *world) { w.put(storageFile, "version: 1\n") }
func sealedAgent(w *world)    { w.put(storageFile, "version: 2\n") }
func encrypts(w *world) {
	w.put("boot/firmware/node.yaml", w.text("boot/firmware/node.yaml")+"storage: {encrypt: true, holders: [cabin-pi]}\n")
}

func (w *world) text(name string) string {
	w.t.Helper()
	data, err := os.ReadFile(w.at(name))
	if err != nil {
		w.t.Fatal(err)
	}
	return string(data)
}

// states makes an update state how it keeps data.
func states(version string) func(*artifact.Manifest) {
	return func(m *artifact.Manifest) {
		if m.Components[contract.StorageComponent] = version; version == "" {
			delete(m.Components, contract.StorageComponent)
		}
	}
}

// TestStorage: a system that knows how the data is kept is accepted; if nothing is encrypted, any
// system is.
func TestStorage(t *testing.T) {
	for name, c := range map[string]struct {
		node   func(*world)
		states string
	}{
		"nothing is encrypted": {func(*world) {}, ""},
		"two shares":           {encryptedAgent, "1"},
		"sealed":               {sealedAgent, "2"},
		"of years later":       {sealedAgent, "7"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, piBoard)
			c.node(w)
			if r, err := w.apply(w.artifact(1, states(c.states))); err != nil || !r.Installed {
				t.Errorf("%+v, %v", r, err)
			}
		})
	}
}

// TestSealedMeanwhile: the TPM seals a share while the update is being written. The new system
// cannot open it, so its trial does not begin.
func TestSealedMeanwhile(t *testing.T) {
	w := newWorld(t, piBoard)
	encryptedAgent(w)
	first := w.boot()
	w.fault = func(_ int, name string) fault {
		if name == "sync b" {
			sealedAgent(w)
		}
		return none
	}
	if _, err := w.apply(w.artifact(1, states("1"))); err == nil || !strings.Contains(err.Error(), "slot a starts as before") || !strings.Contains(err.Error(), "(storage 2, it states 1)") {
		t.Error(err)
	}
	w.isSafe("sealed meanwhile", first)
	if w.trial.Slot != "" {
		t.Errorf("%+v", w.trial)
	}
}

// withHeadscale makes the node one whose image has Headscale.
func withHeadscale(w *world) {
	w.edit(node.ComponentsFile, `"name": "tailscale"`, `"name": "headscale", "version": "v0.29.3", "format": "binary"}, {"name": "tailscale"`)
}

func sameK3s(m *artifact.Manifest) { m.Components["k3s"] = "v1.33.1+k3s1" }

func headscale(version string) func(*artifact.Manifest) {
	return func(m *artifact.Manifest) { m.Components["headscale"] = version }
}

// TestTakenOnAVPS: Headscale goes forward.
func TestTakenOnAVPS(t *testing.T) {
	for _, version := range []string{"v0.29.3", "v0.29.4", "0.30.1", "v0.0.0-20260101000000-0123456789ab"} {
		w := newWorld(t, piBoard)
		withHeadscale(w)
		if r, err := w.apply(w.artifact(1, headscale(version))); err != nil || !r.Installed {
			t.Errorf("%s: %+v, %v", version, r, err)
		}
	}
}

// TestTaken: updates that only look as if they should be refused.
func TestTaken(t *testing.T) {
	for name, change := range map[string]func(*artifact.Manifest){
		"of the same day":   func(m *artifact.Manifest) { m.Made = made },
		"the same k3s":      func(m *artifact.Manifest) { m.Components["k3s"] = "v1.33.1+k3s1" },
		"an agent far back": func(m *artifact.Manifest) { m.Components["k3s"] = "v1.35.0+k3s1" },
		"deferred as here":  func(m *artifact.Manifest) { m.Deferred["k3s"] = digest(rootA) },
		"no chart":          func(m *artifact.Manifest) { delete(m.Components, "a-chart") },
		"another component": func(m *artifact.Manifest) { m.Components["argocd-chart"] = "1" },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, piBoard)
			if r, err := w.apply(w.artifact(1, change)); err != nil || !r.Installed {
				t.Errorf("%+v, %v", r, err)
			}
		})
	}
}

// encryptedServer has a store that the initramfs could not read.
func encryptedServer(w *world) {
	server(w)
	w.put("var/lib/imagebuilder/firstboot/storage.yaml", "version: 1\n")
}

// server makes the node a server; its cluster answers what is in api.
func server(w *world) {
	w.edit("boot/firmware/node.yaml", "role: agent", "role: server")
	w.edit("boot/firmware/node.yaml", "servers: [cabin-pi]", "init: true")
}

// vps makes the node one that runs Headscale, in a role that may.
func vps(role string) func(*world) {
	return func(w *world) {
		w.edit("boot/firmware/node.yaml", "role: agent", "role: "+role+"\ncontrol: {}")
		if role == "control" {
			w.edit("boot/firmware/node.yaml", "k3s: {servers: [cabin-pi], token: t}\n", "")
		}
	}
}

// TestTrial: what the trial may spoil is kept; stores only if nobody else has their content and
// their program changes. What had failed before is not held against the trial.
func TestTrial(t *testing.T) {
	const voters, own = "/api/v1/nodes?labelSelector=node-role.kubernetes.io/etcd", "/api/v1/nodes/home-pi"
	one, two := `{"items":[{}]}`, `{"items":[{},{}]}`
	seen := func(voters string) func(*world) {
		return func(w *world) { server(w); w.put("var/lib/imagebuilder/firstboot/voters", voters) }
	}
	onceReached := func(w *world) { w.put("var/lib/imagebuilder/firstboot/reached", "cabin-pi\n") }
	mended := func(m *artifact.Manifest) { m.Components["k3s"] = "v1.33.9+k3s1" }
	etcd := "/var/lib/rancher/k3s/server/db/etcd"
	for name, c := range map[string]struct {
		node    func(*world)
		change  func(*artifact.Manifest)
		api     map[string]string
		store   bool
		locked  bool
		tailnet bool // Headscale's store
		reached bool
	}{
		"an agent":              {},
		"ssh answers":           {node: func(w *world) { w.login = true }},
		"a server alone":        {node: server, api: map[string]string{voters: one}, store: true},
		"an encrypted one":      {node: encryptedServer, api: map[string]string{voters: one}, locked: true},
		"the same k3s":          {node: server, change: sameK3s},
		"silent, k3s mended":    {node: server, change: mended},
		"mended, seen alone":    {node: seen("1\n"), change: mended},
		"mended, and it speaks": {node: server, change: mended, api: map[string]string{voters: one}, store: true},
		"silent, seen alone":    {node: seen("1\n"), store: true},
		"silent, seen among":    {node: seen("3\n")},
		"seen alone, not now":   {node: seen("1\n"), api: map[string]string{voters: two}},
		"a server among three":  {node: server, api: map[string]string{voters: two}},
		"Headscale's machine":   {node: vps("control"), change: headscale("v0.29.3"), tailnet: true},
		"which also votes":      {node: vps("witness"), change: headscale("v0.29.3"), tailnet: true},
		"the same Headscale":    {node: vps("witness")},
		"no Headscale here":     {change: headscale("v0.29.3")},
		"it was reached":        {api: map[string]string{own: `{"metadata":{"annotations":{"imagebuilder/boot":"boot-1","imagebuilder/reached":"boot-1 cabin-pi"}}}`}, reached: true},
		"reached another time":  {api: map[string]string{own: `{"metadata":{"annotations":{"imagebuilder/boot":"boot-1","imagebuilder/reached":"boot-0 cabin-pi"}}}`}},
		"silent, once reached":  {node: onceReached, reached: true},
		"not asked, but once":   {node: onceReached, api: map[string]string{own: `{"metadata":{"annotations":{"imagebuilder/boot":"boot-0"}}}`}, reached: true},
		"not any more":          {node: onceReached, api: map[string]string{own: `{"metadata":{"annotations":{"imagebuilder/boot":"boot-1"}}}`}},
		"asked another time":    {api: map[string]string{own: `{"metadata":{"annotations":{"imagebuilder/boot":"boot-0","imagebuilder/reached":"boot-0 cabin-pi"}}}`}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, piBoard)
			if c.node != nil {
				c.node(w)
			}
			w.api, w.failed = c.api, []string{"logrotate.service"}
			w.put("proc/sys/kernel/random/boot_id", "boot-1\n")
			if _, err := w.apply(w.artifact(1, c.change)); err != nil {
				t.Fatal(err)
			}
			got := w.trial
			if got.Slot != "b" || !slices.Contains(got.Keep, "/"+contract.EtcUpper) || !slices.Contains(got.Keep, "/var/lib/imagebuilder/firstboot") || !slices.Equal(got.Failed, w.failed) {
				t.Errorf("%+v", got)
			}
			if slices.Contains(got.Keep, etcd) != c.store || slices.Contains(got.Locked, etcd) != c.locked || slices.Contains(got.Keep, contract.HeadscaleData) != c.tailnet || got.Reached != c.reached || got.Login != w.login {
				t.Errorf("%+v", got)
			}
			if text, err := got.Encode(); err != nil {
				t.Error(err)
			} else if _, err := contract.ParseTrial(text); err != nil { // by the initramfs
				t.Error(err)
			}
		})
	}
}

// TestRoomForATrial: what is kept counts with everything below it, and a link as a link only. What
// an earlier trial left half kept takes no room from it.
func TestRoomForATrial(t *testing.T) {
	w := newWorld(t, piBoard)
	w.put("var/lib/imagebuilder/firstboot/deep/er/big", strings.Repeat("x", 20<<20))
	w.put("usr/lib/large", strings.Repeat("x", 30<<20))
	if err := os.Symlink("/usr/lib", w.at("var/lib/imagebuilder/firstboot/link")); err != nil {
		t.Fatal(err)
	}
	for k3s, need := range map[string]string{"v1.33.1+k3s1": "84 MB", "v1.33.2+k3s1": "384 MB"} {
		w.varRoom = 84 << 20
		other := func(m *artifact.Manifest) { m.Components["k3s"] = k3s }
		if _, err := w.apply(w.artifact(1, other)); err == nil || !strings.Contains(err.Error(), "the trial needs "+need) {
			t.Errorf("k3s %s: %v", k3s, err)
		}
	}
	w.varRoom, w.half = 6<<20, 380<<20
	if _, err := w.apply(w.artifact(1, nil)); err != nil {
		t.Error(err)
	}
}

// TestCutShort: a file that ends too early is refused before anything is written, a
// stream leaves a slot that does not start.
func TestCutShort(t *testing.T) {
	for name, b := range boards {
		w := newWorld(t, b)
		data, first := w.artifact(1, nil), w.boot()
		for tenth := range 10 {
			short := data[:len(data)*tenth/10]
			if _, err := w.apply(short); !errors.Is(err, artifact.ErrTruncated) || !maps.Equal(first, w.boot()) {
				t.Fatalf("%s: a file of %d tenths: %v", name, tenth, err)
			}
		}
		for tenth := range 10 {
			if _, err := w.stream(data[:len(data)*tenth/10]); !errors.Is(err, artifact.ErrTruncated) {
				t.Fatalf("%s: a stream of %d tenths: %v", name, tenth, err)
			}
			w.isSafe("a stream cut short", first)
		}
		if starts(w.boot(), w.kit) {
			t.Errorf("%s: half a slot starts", name)
		}
		if _, err := w.stream(data); err != nil {
			t.Error(err)
		}
	}
}

// TestWornOut: a slot whose medium does not give back what was written is never started.
func TestWornOut(t *testing.T) {
	for name, c := range map[string]struct {
		board board
		worn  []string
		want  string
	}{
		"pi":      {piBoard, []string{"root", "b/initrd.img", "b/cmdline.txt", "b/vmlinuz"}, "does not give back what was written"},
		"pc":      {pcBoard, []string{"b/grub.cfg", "imagebuilder-0-b.conf"}, "the boot partition does not give back what was written"},
		"unified": {unifiedBoard, []string{"imagebuilder-0-b.efi"}, "EFI/Linux/imagebuilder-0-b.efi: the card or the disk is worn out"},
	} {
		for _, worn := range c.worn {
			w := newWorld(t, c.board)
			first := w.boot()
			w.worn = worn
			if _, err := w.apply(w.artifact(1, nil)); err == nil || !strings.Contains(err.Error(), "slot b is not ready, slot a starts as before") || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s, %s: %v", name, worn, err)
			}
			w.isSafe("worn out", first)
			if starts(w.boot(), w.kit) || w.trial.Slot != "" {
				t.Errorf("%s, %s: it starts", name, worn)
			}
		}
	}
}

// TestRotten: if the running slot changes after it was compared, the update ends with an
// explanation, and never with a slot that starts.
func TestRotten(t *testing.T) {
	w := newWorld(t, piBoard)
	first := w.boot()
	w.fault = func(_ int, name string) fault {
		if strings.HasPrefix(name, "remove") {
			w.roots["a"][1<<20+len(oldBlock)/2] ^= 1
			w.fault = nil
		}
		return none
	}
	_, err := w.apply(w.artifact(1, nil))
	if w.fault != nil || err == nil || !strings.Contains(err.Error(), "slot b is not ready, slot a starts as before") {
		t.Fatal(err)
	}
	w.roots["a"] = bytes.Clone(rootA)
	w.isSafe("rotten", first)
	if starts(w.boot(), w.kit) {
		t.Error("it starts")
	}
}

// TestRecoveredClusters: the files that fsck.fat makes of lost clusters after a power cut stop no
// update. Secrets in them are overwritten before their names are removed.
func TestRecoveredClusters(t *testing.T) {
	w := newWorld(t, piBoard.with("FSCK0000.REC", strings.Repeat("x", 300<<10)).with("FSCK.REC", "somebody's"))
	w.room = 100 << 10
	if r, err := w.apply(w.artifact(1, nil)); err != nil || !r.Installed {
		t.Fatalf("%+v, %v", r, err)
	}
	if left := w.boot(); left["FSCK0000.REC"] != "" || left["FSCK.REC"] == "" {
		t.Errorf("%d bytes of it are left, somebody's are %q", len(left["FSCK0000.REC"]), left["FSCK.REC"])
	}
	const lost = "/boot/firmware/FSCK0000.REC"
	if over := slices.Index(w.names, "overwrite "+lost); over < 0 || over > slices.Index(w.names, "remove "+lost) {
		t.Errorf("it was not written over before it went: %q", w.names)
	}
}
