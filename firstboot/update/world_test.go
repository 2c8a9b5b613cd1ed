//go:build linux

package update_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot"
	"github.com/going-mobile/imagebuilder/firstboot/artifact"
	"github.com/going-mobile/imagebuilder/firstboot/artifact/artifacttest"
	"github.com/going-mobile/imagebuilder/firstboot/codec"
	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/crashtest"
	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/firstboot/slot"
	"github.com/going-mobile/imagebuilder/firstboot/update"
)

var (
	made = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	// The slots' roots before the update, and what slot b gets: more than one flush, partly copied
	// from slot a, with a changed block of it.
	oldText, newText = artifacttest.Text(40<<10, 1), artifacttest.Text(40<<10, 2)
	oldBlock, block  = artifacttest.Block(oldText), artifacttest.Block(newText)
	rootA, rootB     = slices.Concat(artifacttest.Noise(1<<20, 1), oldBlock), artifacttest.Noise(300<<10, 2)
	fresh            = slices.Concat(artifacttest.Noise(64<<10, 3), make([]byte, 4<<20))
	newRoot          = slices.Concat(fresh, rootA[512<<10:1<<20], block)
)

// oldInitrd is slot a's initrd; the new one is a copy of its beginning.
const oldInitrd = "new initrd.img slot=a and more"

// board is a way to start a slot, with the files on its boot partition: good.env and the like, and
// slot a, which runs. Slot b has an older system.
type board struct {
	files map[string]string
	kit   []string
}

var piBoard = board{kit: []string{slot.Initrd, slot.Cmdline, slot.Kernel}, files: map[string]string{
	slot.ScriptFile: "script", slot.GoodFile: string(slot.GoodEnv("a")), slot.TrialFile: string(slot.TrialEnv("", 0)),
	"a/vmlinuz": "kernel a", "a/initrd.img": oldInitrd, "a/cmdline.txt": "a",
	"b/vmlinuz": "old kernel", "b/initrd.img": "old initrd", "b/cmdline.txt": "old", "b/left.txt": "by somebody", "start4.elf": "firmware",
}}

// waitingBoard was not restarted since its last update.
var waitingBoard = piBoard.with(slot.TrialFile, string(slot.TrialEnv("b", 3)))

// with is the board with another file.
func (b board) with(name, text string) board {
	b.files = maps.Clone(b.files)
	b.files[name] = text
	return b
}

var pcBoard = board{kit: []string{slot.Initrd, slot.OptionsFile, slot.Kernel, slot.Entry}, files: map[string]string{
	"loader/entries/imagebuilder-4-a.conf": "entry a", "loader/entries/imagebuilder-3-b.conf": "old", "loader/entries/.firstboot-imagebuilder-0-b.conf": "cut off",
	slot.GRUBScript: "script", slot.CountFile: string(slot.CountEnv("", 0)),
	"a/vmlinuz": "kernel a", "a/initrd.img": oldInitrd, "a/grub.cfg": "a",
	"b/vmlinuz": "old kernel", "b/initrd.img": "old initrd", "b/grub.cfg": "old",
}}

var unifiedBoard = board{kit: []string{slot.Unified}, files: map[string]string{
	"EFI/Linux/imagebuilder-1-a.efi": string(unified("old", "a").File), "EFI/Linux/imagebuilder-2-b+0-3.efi": "spent",
}}

// unified is a unified kernel image: a compressed section between what differs from slot to slot.
func unified(version, slot string) artifact.Former {
	head := version + " uki slot="
	packed := artifacttest.Packed(codec.Zstd, slices.Concat([]byte(version), artifacttest.Text(30<<10, 5)))
	return artifact.Former{File: slices.Concat([]byte(head+slot+" "), packed, []byte("signed for "+slot)),
		Packed: artifact.Span{At: int64(len(head)) + 2, Size: int64(len(packed))},
		Own:    []artifact.Span{{At: int64(len(head)), Size: 1}, {At: int64(len(head)+2+len(packed)) + 11, Size: 1}}}
}

// newFile is the update's file of that name.
func newFile(name, of string) string {
	if name == slot.Unified {
		return string(unified("new", of).File)
	}
	return "new " + name + " slot=" + of + " "
}

var boards = map[string]board{"pi": piBoard, "pc": pcBoard, "unified": unifiedBoard}

// world is a node: files in a directory, its slots in memory. Each call of an
// update to it is counted and can be made to fail.
type world struct {
	t       *testing.T
	dir     string
	kit     []string
	room    int64 // on the boot partition
	varRoom int64
	half    int64             // of /var, which an earlier trial has filled
	failed  []string          // units
	api     map[string]string // of Kubernetes, by path
	login   bool              // ssh answers
	trial   contract.Trial    // that was started
	back    string            // the slot to which a rollback has led
	owes    error             // why what the last trial kept is still needed
	roots   map[string][]byte
	size    int64  // of a slot
	worn    string // what is written to it is lost: "root", or a boot file
	busy    bool
	fast    bool // the boot partition does not wait for its medium
	slept   time.Duration
	asleep  func() // what happens meanwhile

	calls int
	names []string
	fault func(n int, name string) fault
	// what the medium has instead of data that was not synced
	lostRoot  []byte
	lostFiles map[string][]byte
}

// fault and its kinds, by short names.
type fault = crashtest.Fault

const (
	none   = crashtest.None
	before = crashtest.Before
	after  = crashtest.After
	cut    = crashtest.Cut
	cutEnd = crashtest.CutEnd
)

func newWorld(t *testing.T, b board) *world {
	t.Helper()
	w := &world{t: t, dir: tempDir(t), kit: b.kit, room: 64 << 20, varRoom: 1 << 30, size: 64 << 20, lostFiles: map[string][]byte{},
		roots: map[string][]byte{"a": bytes.Clone(rootA), "b": bytes.Clone(rootB)}}
	public, _ := artifacttest.Keys(t, 1)
	list, err := node.MarshalComponents([]node.Component{
		{Name: "k3s", Version: "v1.33.1+k3s1", URLs: []string{"https://example.net/k3s"}, SHA256: digest(rootA), Format: "binary", Files: []node.ComponentFile{{Name: "k3s", Mode: 0o755}}, Deferred: true},
		{Name: "tailscale", Version: "1.90.1", Format: "binary"},
		{Name: "a-chart", Version: "1", Format: "binary"},
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"usr/lib/os-release": "IMAGE_ID=imagebuilder-rpi4\nIMAGE_VERSION=one\n", "usr/lib/clock-epoch": "", node.ComponentsFile: string(list),
		"proc/cmdline":                    "quiet " + contract.Args{Slot: "a", DiskID: "deadbeef", SlotSize: 64 << 20}.Encode() + "\n",
		"boot/firmware/imagebuilder.json": "{}",
		"boot/firmware/" + node.FileName:  "version: 1\nnode: home-pi\nsite: home\nrole: agent\nheadscale: {url: https://hs.example.net}\nk3s: {servers: [cabin-pi], token: t}\nownerKey: " + public.String() + "\n",
	} {
		w.put(name, text)
	}
	for name, text := range b.files {
		w.put("boot/firmware/"+name, text)
	}
	if err := os.Chtimes(w.at("usr/lib/clock-epoch"), made, made); err != nil {
		t.Fatal(err)
	}
	return w
}

// tempDir is in memory where there is such a place: files are synced thousands of
// times.
func tempDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "update-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func (w *world) at(name string) string { return filepath.Join(w.dir, filepath.FromSlash(name)) }

func (w *world) put(name, text string) {
	w.t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(w.at(name)), 0o755), os.WriteFile(w.at(name), []byte(text), 0o644)); err != nil {
		w.t.Fatal(err)
	}
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// artifact makes an update for the world; change is applied to its manifest before signing.
func (w *world) artifact(signer byte, change func(*artifact.Manifest)) []byte {
	w.t.Helper()
	_, private := artifacttest.Keys(w.t, signer)
	var parts, out bytes.Buffer
	p, err := artifact.NewPacker(&parts)
	if err != nil {
		w.t.Fatal(err)
	}
	m := manifest("two", made.Add(time.Hour), newRoot)
	m.Codec = codec.Name()
	for chunk := range slices.Chunk(fresh, artifact.MaxPart) {
		part, err := p.Data(chunk)
		if err != nil {
			w.t.Fatal(err)
		}
		m.Root.Parts = append(m.Root.Parts, part)
	}
	patch, err := p.Patch(block, newText, artifact.Patch{Old: []artifact.Range{{At: 1 << 20, Size: int64(len(oldBlock)), Raw: int64(len(oldText))}},
		Blocks: []artifact.Block{{Raw: int64(len(newText))}}}, bytes.NewReader(rootA))
	if err != nil || patch.Patch == nil {
		w.t.Fatal(err)
	}
	m.Root.Parts = append(m.Root.Parts, artifact.Copy(rootA[512<<10:1<<20], 512<<10), patch)
	for _, name := range w.kit {
		m.Boot = append(m.Boot, w.pack(p, name))
	}
	if change != nil {
		change(m)
	}
	if err := artifact.Write(&out, m, private, &parts); err != nil {
		w.t.Fatal(err)
	}
	return out.Bytes()
}

// manifest is the manifest of an update from slot a's root, without parts.
func manifest(version string, made time.Time, root []byte) *artifact.Manifest {
	return &artifact.Manifest{Board: "rpi4", Arch: runtime.GOARCH, Version: version, Made: made, DiskID: "deadbeef",
		Components: map[string]string{"k3s": "v1.34.2+k3s1", "tailscale": "1.92.0", "a-chart": "2", contract.StorageComponent: contract.EncodeStorage(contract.Storage)}, Deferred: map[string]string{},
		Base: &artifact.Base{Size: int64(len(rootA)), SHA256: digest(rootA)}, Root: artifact.Content{Size: int64(len(root)), SHA256: digest(root)}}
}

// pack packs a boot file, against what the world's slot a has.
func (w *world) pack(p *artifact.Packer, name string) (f artifact.File) {
	w.t.Helper()
	a, b := []byte(newFile(name, "a")), []byte(newFile(name, "b"))
	apart, err := false, error(nil)
	switch name {
	case slot.Initrd:
		f, err = p.File(name, a, b, []byte(oldInitrd))
	case slot.Unified: // against slot b's file: a node ignores its own slot's letter in it
		if f, apart, err = p.Repack(name, a, b, unified("new", "a").Packed, unified("old", "b")); !apart {
			w.t.Fatalf("%s is not known apart", name)
		}
	default:
		f, err = p.File(name, a, b, nil)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return f
}

// apply runs an update from a file until it ends or power fails; stream runs one of unknown length.
func (w *world) apply(data []byte) (*update.Result, error) { return w.run(data, int64(len(data))) }

func (w *world) stream(data []byte) (*update.Result, error) { return w.run(data, -1) }

func (w *world) run(data []byte, size int64) (r *update.Result, err error) {
	defer func() {
		w.fast, w.busy = false, false // the process ended
		switch p := recover().(type) {
		case nil:
		case crashtest.PowerCut:
			w.loseWhatWasNotSynced()
			r, err = nil, crashtest.ErrInjected
		default:
			panic(p)
		}
	}()
	return update.Apply(context.Background(), w.host(), slots{w}, w.spool(), bytes.NewReader(data), size)
}

func (w *world) host() firstboot.Host {
	return firstboot.Host{Files: files{world: w}, Units: units{world: w}, Net: cluster{world: w}, Clock: clock{world: w}}
}

// loseWhatWasNotSynced makes the medium lose everything that was not synced.
func (w *world) loseWhatWasNotSynced() {
	if w.lostRoot != nil {
		w.roots["b"] = w.lostRoot
	}
	for name, data := range w.lostFiles {
		w.put(name, string(data))
	}
	w.lostRoot, w.lostFiles = nil, map[string][]byte{}
}

// do runs the effect of a call, or what the fault leaves of it.
func (w *world) do(name string, effect func() error) error {
	w.calls++
	w.names = append(w.names, name)
	f := none
	if w.fault != nil {
		f = w.fault(w.calls, name)
	}
	return f.Do(name, effect, func() {})
}
