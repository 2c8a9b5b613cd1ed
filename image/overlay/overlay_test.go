package overlay

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/going-mobile/imagebuilder/image/tree"
)

// mapFS holds files by path.
func mapFS(files map[string]string) fstest.MapFS {
	m := fstest.MapFS{}
	for p, text := range files {
		m[p] = &fstest.MapFile{Data: []byte(text)}
	}
	return m
}

// describe writes a tree as text.
func describe(t *tree.Tree) string {
	var b strings.Builder
	for n := range t.Walk() {
		if n.Path == "." {
			continue
		}
		fmt.Fprintf(&b, "/%s %v %d:%d", n.Path, n.Mode, n.UID, n.GID)
		if n.Link != "" {
			b.WriteString(" -> " + n.Link)
		}
		if n.Content != nil {
			fmt.Fprintf(&b, " %d %.8s", n.Size(), n.Content.SHA256())
		}
		b.WriteString("\n")
	}
	return b.String()
}

const meter = `
version: 1
description: reads the meter
requires: [base]
packages: [libfoo++1.2, htop]
components: [k3s]
modules: [wireguard, "nf_*", kernel/drivers/net/usb/]
modulesLoad: [wireguard]
enable: [meter.service, "getty@tty2.service"]
disable: [other.timer]
mask: [third.socket]
users:
  - {name: meter, uid: 801, home: /var/lib/meter, groups: [dialout]}
  - {name: plain, uid: 803, gid: 802}
groups: [{name: readers, gid: 802}]
modes:
  /usr/bin/meter: "0755"
  /etc/meter.key: "0640 root:meter"
  /usr/bin/suid: "4750 meter:readers"
dirs:
  /etc/meter.d: "2750 803:adm"
  /var/empty: 
links: {/usr/bin/m: meter, /usr/share/x/y: /etc/meter.key}
etcPersist: [/etc/meter.d]
prune: [usr/share/games/**]
cmdline: [quiet, "a=b,c"]
acceptUnmodelled: {foo: prints a message}
`

var meterFiles = map[string]string{
	"meter/overlay.yaml":                            meter,
	"meter/files/usr/bin/meter":                     "#!/bin/sh\n",
	"meter/files/usr/bin/suid":                      "\x7fELF....",
	"meter/files/etc/meter.key":                     "k",
	"meter/files/etc/.hidden":                       "h",
	"meter/files/etc/.DS_Store":                     "x",
	"meter/files/usr/lib/systemd/system/a@.service": "",
}

func TestLoad(t *testing.T) {
	o, err := Load(mapFS(meterFiles), "meter")
	if err != nil {
		t.Fatal(err)
	}
	const want = `/etc drwxr-xr-x 0:0
/etc/.hidden -rw-r--r-- 0:0 1 aaa94026
/etc/meter.d dgrwxr-x--- 803:4
/etc/meter.key -rw-r----- 0:801 1 8254c329
/usr drwxr-xr-x 0:0
/usr/bin drwxr-xr-x 0:0
/usr/bin/m Lrwxrwxrwx 0:0 -> meter
/usr/bin/meter -rwxr-xr-x 0:0 10 a8076d3d
/usr/bin/suid urwxr-x--- 801:802 8 97f1616d
/usr/lib drwxr-xr-x 0:0
/usr/lib/systemd drwxr-xr-x 0:0
/usr/lib/systemd/system drwxr-xr-x 0:0
/usr/lib/systemd/system/a@.service -rw-r--r-- 0:0 0 e3b0c442
/usr/share drwxr-xr-x 0:0
/usr/share/x drwxr-xr-x 0:0
/usr/share/x/y Lrwxrwxrwx 0:0 -> /etc/meter.key
/var drwxr-xr-x 0:0
/var/empty drwxr-xr-x 0:0
`
	if diff := cmp.Diff(want, describe(o.Files)); diff != "" {
		t.Error(diff)
	}
	o.Files = nil
	wantOverlay := &Overlay{
		Name: "meter", Description: "reads the meter", Requires: []string{"base"},
		Packages: []string{"libfoo++1.2", "htop"}, Components: []string{"k3s"},
		Modules: []string{"wireguard", "nf_*", "kernel/drivers/net/usb/"}, ModulesLoad: []string{"wireguard"},
		Enable: []string{"meter.service", "getty@tty2.service"}, Disable: []string{"other.timer"}, Mask: []string{"third.socket"},
		Users: []User{
			{Name: "meter", UID: 801, GID: 801, Home: "/var/lib/meter", Shell: "/usr/sbin/nologin", Groups: []string{"dialout"}},
			{Name: "plain", UID: 803, GID: 802, Home: "/nonexistent", Shell: "/usr/sbin/nologin"},
		},
		Dirs:   []string{"etc/meter.d", "var/empty"},
		Groups: []Group{{"readers", 802}}, EtcPersist: []string{"etc/meter.d"}, Prune: []string{"usr/share/games/**"},
		Cmdline: []string{"quiet", "a=b,c"}, AcceptUnmodelled: map[string]string{"foo": "prints a message"},
	}
	if diff := cmp.Diff(wantOverlay, o); diff != "" {
		t.Error(diff)
	}
}

func TestLoadErrors(t *testing.T) {
	const head = "version: 1\ndescription: d\n"
	for _, c := range []struct{ name, yaml, want string }{
		{"unknown field", head + "pakages: [a]", `o/overlay.yaml:3: field "pakages": unknown (did you mean "packages"?)`},
		{"no version", "description: d", `o/overlay.yaml:1: field "version": must be 1, the only version this program reads`},
		{"later version", "version: 2\ndescription: d", `field "version": must be 1`},
		{"no description", "version: 1", `field "description": is missing`},
		{"package", head + "packages:\n- htop\n- Bad_Name", `o/overlay.yaml:5: field "packages[1]": "Bad_Name" is not the name of a Debian package`},
		{"twice", head + "packages: [a1, a1]", `field "packages[1]": "a1" is listed twice`},
		{"unit without suffix", head + "enable: [ssh]", `field "enable[0]": "ssh" is not a systemd unit with its suffix`},
		{"enabled and masked", head + "enable: [a.service]\nmask: [a.service]", `field "mask[0]": a.service is also listed under enable or disable`},
		{"module directory", head + "modules: [kernel/../x/]", `is not a kernel module`},
		{"glob to load", head + "modulesLoad: [\"nf_*\"]", `field "modulesLoad[0]"`},
		{"two arguments in one", head + "cmdline: [\"a b\"]", `is not one kernel argument`},
		{"root again", head + "users: [{name: toor, uid: 0}]", `field "users[0].uid": pin an id from 1 to 65533`},
		{"user without id", head + "users: [{name: toor}]", `field "users[0].uid"`},
		{"group that is none", head + "groups: [{name: x, gid: 65535}]", `field "groups[0].gid": 65535 and 4294967295 mean no id`},
		{"group that is none, of 32 bits", head + "groups: [{name: x, gid: 4294967295}]", `field "groups[0].gid": 65535 and`},
		{"user of no group", head + "users: [{name: x, uid: 800, gid: 65535}]", `field "users[0].gid": 65535 and`},
		{"owner that is none", head + "modes: {/etc/f: \"0640 4294967295:0\"}", `user 4294967295: 65535 and`},
		{"user name", head + "users: [{name: \"a:b\", uid: 3}]", `field "users[0].name"`},
		{"mode as a number", head + "modes: {/a: 755}", `field "modes./a": want four octal digits and maybe an owner`},
		{"mode with nine", head + "modes: {/a: \"0790\"}", `field "modes./a": want four octal digits`},
		{"owner", head + "modes: {/a: \"0755 root\"}", `field "modes./a": want the owner as user:group`},
		{"unknown owner", head + "modes: {/etc/f: \"0640 root:mteer\"}", `group "mteer" is not known here`},
		{"mode of nothing", head + "modes: {/usr/bin/no: \"0755\"}", `field "modes./usr/bin/no": no such file below files/`},
		{"relative link", head + "links: {usr/bin/x: y}", `field "links.usr/bin/x": "usr/bin/x" is not an absolute, clean path`},
		{"unclean directory", head + "dirs: {/a/../b: \"0755\"}", `is not an absolute, clean path`},
		{"link over a file", head + "links: {/etc/f: y}", `is also a file or directory of the overlay`},
		{"link below a file", head + "links: {/etc/f/g: y}", `/etc/f`},
		{"link to nothing", head + "links: {/etc/g: \"\"}", `needs a target`},
		{"persist outside etc", head + "etcPersist: [/var/lib]", `"/var/lib" is not below /etc`},
		{"persist all of etc", head + "etcPersist: [/etc]", `"/etc" is not below /etc`},
		{"suite without packages", head + "suites: [{name: forky, packages: []}]", `field "suites[0].packages": is missing`},
		{"accept without reason", head + "acceptUnmodelled: {foo: \" \"}", `field "acceptUnmodelled.foo": needs the reason`},
		{"program without mode", head, `o/files/usr/bin/p: is a program: give it a mode in overlay.yaml, modes: {/usr/bin/p: "0755"}`},
		{"empty", "", "o/overlay.yaml: is empty"},
	} {
		t.Run(c.name, func(t *testing.T) {
			files := map[string]string{"o/overlay.yaml": c.yaml, "o/files/etc/f": "x"}
			if c.name == "program without mode" {
				files["o/files/usr/bin/p"] = "#!/bin/sh\n"
			}
			_, err := Load(mapFS(files), "o")
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
		})
	}
}

func requires(names ...string) string {
	return "version: 1\ndescription: d\nrequires: [" + strings.Join(names, ", ") + "]\n"
}

func TestLoadAll(t *testing.T) {
	fsys := mapFS(map[string]string{
		"a/overlay.yaml": requires("c", "b"), "b/overlay.yaml": requires("base"), "c/overlay.yaml": requires("base"),
		"base/overlay.yaml": requires(), "x/overlay.yaml": requires("y"), "y/overlay.yaml": requires("z"), "z/overlay.yaml": requires("x"),
		"bad/overlay.yaml": requires("bse"),
	})
	all, err := LoadAll(fsys, []string{"b", "a", "base"})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, o := range all {
		names = append(names, o.Name)
	}
	if diff := cmp.Diff([]string{"base", "b", "c", "a"}, names); diff != "" {
		t.Error(diff)
	}
	for name, want := range map[string]string{
		"x":    "overlays require each other in a circle: x → y → z → x",
		"bad":  `overlay bad requires bse: unknown overlay "bse"; did you mean "base"? (overlays: a, b, bad, base, c, x, y, z)`,
		"nope": `unknown overlay "nope" (overlays:`,
		"../x": "a name consists of",
	} {
		if _, err := LoadAll(fsys, []string{name}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", name, err, want)
		}
	}
	var unknown *UnknownError
	if _, err := Load(fsys, "nope"); !errors.As(err, &unknown) {
		t.Errorf("%T", err)
	}
}

// TestDirectory reads from a directory on disk, whose modes must not matter.
func TestDirectory(t *testing.T) {
	dir := t.TempDir()
	for p, text := range meterFiles {
		p = filepath.Join(dir, filepath.FromSlash(p))
		if err := os.MkdirAll(filepath.Dir(p), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o777); err != nil {
			t.Fatal(err)
		}
	}
	fromDisk, err := Load(os.DirFS(dir), "meter")
	if err != nil {
		t.Fatal(err)
	}
	fromMemory, err := Load(mapFS(meterFiles), "meter")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(describe(fromMemory.Files), describe(fromDisk.Files)); diff != "" {
		t.Error(diff)
	}
	if err := os.WriteFile(filepath.Join(dir, "meter/files/etc/meter.key"), []byte("K"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := fromDisk.Files.ReadAll("etc/meter.key"); err == nil || !strings.Contains(err.Error(), "changed during the build") {
		t.Errorf("a changed file was read: %v", err)
	}
	if err := os.Symlink("meter.key", filepath.Join(dir, "meter/files/etc/link")); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(os.DirFS(dir), "meter"); err == nil || !strings.Contains(err.Error(), "only plain files can stand here") {
		t.Errorf("took a link: %v", err)
	}
}

// TestNoLinkLeadsOutOfAnOverlay: what is below files/ goes into the image,
// wherever that is, and so does what overlay.yaml declares, which DirHash would
// not have.
func TestNoLinkLeadsOutOfAnOverlay(t *testing.T) {
	elsewhere, dir := t.TempDir(), t.TempDir()
	for _, name := range []string{"whole/overlay.yaml", "whole/files/etc/shadow", "files/etc/shadow", "linked/overlay.yaml", "declared/overlay.yaml"} {
		name = filepath.Join(elsewhere, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte("version: 1\ndescription: d\n"), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	err := errors.Join(os.Symlink(filepath.Join(elsewhere, "whole"), filepath.Join(dir, "whole")),
		os.Rename(filepath.Join(elsewhere, "linked"), filepath.Join(dir, "linked")),
		os.Symlink(filepath.Join(elsewhere, "files"), filepath.Join(dir, "linked/files")),
		os.Rename(filepath.Join(elsewhere, "declared/overlay.yaml"), filepath.Join(dir, "real.yaml")),
		os.Mkdir(filepath.Join(dir, "declared"), 0o755),
		os.Symlink("../real.yaml", filepath.Join(dir, "declared/overlay.yaml")))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"whole", "linked", "declared"} {
		for _, fsys := range []fs.FS{os.DirFS(dir), FS(os.DirFS(dir))} {
			if o, err := Load(fsys, name); err == nil || !strings.Contains(err.Error(), "is a symbolic link") {
				t.Errorf("%s: took %v, %v", name, o, err)
			}
		}
	}
}

func TestContentIsReadAgain(t *testing.T) {
	o, err := Load(mapFS(meterFiles), "meter")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if b, err := o.Files.ReadAll("usr/bin/meter"); err != nil || string(b) != "#!/bin/sh\n" {
			t.Errorf("%q %v", b, err)
		}
	}
}

func TestFS(t *testing.T) {
	mine := mapFS(map[string]string{"base/overlay.yaml": requires(), "own/overlay.yaml": requires("base", "theirs")})
	builtin := mapFS(map[string]string{"base/overlay.yaml": requires("theirs"), "base/files/etc/x": "x", "theirs/overlay.yaml": requires(), "theirs/files/etc/y": "y"})
	joined := FS(mine, builtin)
	all, err := LoadAll(joined, []string{"own"})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, o := range all {
		got = append(got, fmt.Sprintf("%s %d", o.Name, o.Files.Len()))
	}
	// base is ours, whole: without the file of the other.
	if diff := cmp.Diff([]string{"base 1", "theirs 3", "own 1"}, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"base", "own", "theirs"}, Names(joined)); diff != "" {
		t.Error(diff)
	}
	if _, err := fs.ReadFile(joined, "nothing/overlay.yaml"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// FuzzLoad: no overlay.yaml panics, and whatever is accepted has a tree that
// can be walked and read.
func FuzzLoad(f *testing.F) {
	f.Add(meter)
	f.Add(requires("base"))
	f.Add("version: 1\ndescription: d\nlinks: {/a: b, /a/b: c}\ndirs: {/a: \"7777 0:0\"}\n")
	f.Fuzz(func(t *testing.T, text string) {
		o, err := Load(mapFS(map[string]string{"o/overlay.yaml": text, "o/files/etc/f": "x"}), "o")
		if err != nil {
			return
		}
		for n := range o.Files.Walk() {
			if n.Content == nil {
				continue
			}
			r, err := n.Content.Open()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, r); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// TestDirHashIsWhatTheShellSays runs the command in in-toto's specification, which ignores
// links, wherever they lead.
func TestDirHashIsWhatTheShellSays(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"x/overlay.yaml", "x/files/a/b", "x/files/a-b", "x/files/a.b", "x/files/Z", "y/other"} {
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for name, target := range map[string]string{"x/to-a-file": "overlay.yaml", "x/to-a-directory": "../y", "x/to-nothing": "none"} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("sh", "-c", "find . -type f | cut -c3- | LC_ALL=C sort | xargs sha256sum | sha256sum")
	cmd.Dir = filepath.Join(dir, "x")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := DirHash(os.DirFS(dir), "x"); err != nil || got != strings.Fields(string(out))[0] {
		t.Errorf("got %s, %v, the shell says %s", got, err, out)
	}
	if _, err := DirHash(os.DirFS(dir), "z"); err == nil {
		t.Error("an overlay that is not there has a digest")
	}
}
