package image

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/going-mobile/imagebuilder/image/board"
	"github.com/going-mobile/imagebuilder/image/component"
	"github.com/going-mobile/imagebuilder/image/disk"
	"github.com/going-mobile/imagebuilder/image/lock"
	"github.com/going-mobile/imagebuilder/image/provenance"
	"github.com/going-mobile/imagebuilder/image/rootfs/gate"
	"github.com/going-mobile/imagebuilder/image/tree"
)

// TestStale: what an earlier build with other options left beside the image is named, the
// digest that vouches for it with it.
func TestStale(t *testing.T) {
	out := filepath.Join(t.TempDir(), "x.img")
	for _, suffix := range []string{".zst", ".zst.sha256", ".qcow2.sha256", ".spdx.json", ".lock.json", ".note"} {
		if err := os.WriteFile(out+suffix, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	stale := func(opt Options) []string {
		opt.Out = out
		list := (&plan{opt: opt}).stale()
		slices.Sort(list)
		for i, name := range list {
			list[i] = name[len(out):]
		}
		return list
	}
	if got := stale(Options{}); !slices.Equal(got, []string{".qcow2.sha256", ".spdx.json", ".zst", ".zst.sha256"}) {
		t.Errorf("%q", got)
	}
	if got := stale(Options{Compress: "zst", SBOM: true}); !slices.Equal(got, []string{".qcow2.sha256"}) {
		t.Errorf("%q", got)
	}
}

// TestNothingOfTheBuilder: two computers with different networks, sources and directories write the
// same manifest, lock and provenance. So does one that is given the lock of another image; it
// prints a warning.
func TestNothingOfTheBuilder(t *testing.T) {
	written := func(host, home string, pinned ...lock.Component) string {
		sum, at := strings.Repeat("0", 64), time.Unix(1, 0)
		in := &inputs{warnings: []string{"of the image"}, hostWarnings: []string{"the host's apt sources: /etc/apt/sources.list.d/" + host}}
		in.lock = &lock.Lock{Version: lock.Version, Board: "b", Arch: "amd64", Timestamp: at,
			Suites:   []lock.Suite{{Name: "trixie", Date: at, InReleaseSHA256: sum, Components: []string{"main"}}},
			Packages: []lock.Package{{Name: "bash", Version: "1", Arch: "amd64", Suite: "trixie", Filename: "b.deb", Size: 1, SHA256: sum}}, Components: pinned}
		in.addComponents([]*component.Resolved{
			{Name: "k3s", Version: "file-0", Arch: "amd64", Source: component.FromFile, URL: filepath.Join(home, "k3s"), SHA256: sum},
			{Name: "tailscale", Version: "1", Arch: "amd64", Source: component.Deferred, Deferred: true, URL: "https://example.org/t", SHA256: sum, Reason: host + ": no such host"},
		})
		if told := strings.Join(in.hostWarnings, "\n"); pinned != nil && (!strings.Contains(told, "tailscale is another") || !strings.Contains(told, "pins components that")) {
			t.Errorf("told of the lock: %s", told)
		}
		p := &plan{opt: Options{Board: &board.Board{Name: "b"}, Out: filepath.Join(home, "x.img")}}
		v := &volume{bmap: &disk.Map{SHA256: sum}}
		m, err := p.manifest(in, nil, &slotRoot{&root{gate: &gate.Report{}}, tree.New()}, v, "id", "1")
		if err != nil {
			t.Fatal(err)
		}
		list, err := p.documents(v, m, in.lock, []provenance.Resource{provenance.File("x.img", sum)})
		if err != nil {
			t.Fatal(err)
		}
		var all strings.Builder
		for _, d := range list {
			all.Write(d.data)
		}
		return all.String()
	}
	dir := t.TempDir()
	one, other := written("one.example", filepath.Join(dir, "one")), written("other.example", filepath.Join(dir, "other"),
		lock.Component{Name: "tailscale", SHA256: strings.Repeat("1", 64)}, lock.Component{Name: "gone"}, lock.Component{Name: "gone too"})
	if diff := cmp.Diff(one, other); diff != "" {
		t.Error(diff)
	}
	for _, kept := range []string{"of the image", `"file": "k3s"`, `"deferred": true`} {
		if !strings.Contains(one, kept) {
			t.Errorf("%s is missing:\n%s", kept, one)
		}
	}
}

// TestNamesTogether: while one of the files cannot have its name, none gets its own; what
// fails nevertheless says which are new.
func TestNamesTogether(t *testing.T) {
	for _, late := range []bool{false, true} {
		if late && runtime.GOOS == "windows" { // where nobody removes an open file
			continue
		}
		dir := t.TempDir()
		names := []string{filepath.Join(dir, "x.img"), filepath.Join(dir, "x.img.lock.json")}
		var b batch
		defer b.close()
		for _, name := range names {
			if err := os.WriteFile(name, []byte("old"), 0o600); err != nil {
				t.Fatal(err)
			}
			f, err := b.create(name)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.Write([]byte("new")); err != nil {
				t.Fatal(err)
			}
		}
		want := "x.img.lock.json is a directory"
		if late { // what nobody can see before
			want = "only " + names[0] + " is new, what else lies beside it is of an earlier build; build again: "
			if err := os.Remove(b[1].Name()); err != nil {
				t.Fatal(err)
			}
		} else if err := errors.Join(os.Remove(names[1]), os.Mkdir(names[1], 0o700)); err != nil {
			t.Fatal(err)
		}
		if err := b.commit(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
		if text, err := os.ReadFile(names[0]); err != nil || (string(text) == "new") != late {
			t.Errorf("late %v: the image is %q, %v", late, text, err)
		}
	}
}
