package rootfs

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/going-mobile/imagebuilder/image/overlay"
	"github.com/going-mobile/imagebuilder/image/rootfs/units"
)

// unitTree has every way of installing a unit that an image may meet, but for
// upheldUnit's, which systemd knows since version 253.
const unitTree = `
	usr/lib/systemd/system-preset/50-test.preset: enable *.socket\nenable a.service\nenable tmpl@.service one two\nenable dflt@.service\nenable also-first.service\nenable masked.service\nenable req.service\nenable old-alias.service\nenable inst@.service\nenable spec-x@.service\nenable drop.service\nenable cont.service\nenable cont2.service\nenable over.service\nenable reset.service\nenable bad-alias.service\nenable tmplwants@.service\n
	usr/lib/systemd/system-preset/90-late.preset: disable a.service\ndisable *\n
	usr/lib/systemd/system/a.service: [Unit]\nWantedBy=not.target\n[Install]\nWantedBy=multi-user.target graphical.target\nAlias=b.service dbus-org.a.service\n
	usr/lib/systemd/system/off.service: [Install]\nWantedBy=multi-user.target\nAlso=off-also.service\n
	usr/lib/systemd/system/off-also.service: [Install]\nWantedBy=multi-user.target\n
	usr/lib/systemd/system/s.socket: [Install]\nWantedBy=sockets.target\n
	usr/lib/systemd/system/tmpl@.service: [Install]\nWantedBy=multi-user.target\nDefaultInstance=unused\n
	usr/lib/systemd/system/dflt@.service: [Install]\nWantedBy=getty.target\nDefaultInstance=tty1\nAlias=autovt@.service\n
	usr/lib/systemd/system/inst@.service: [Install]\nWantedBy=multi-user.target\n
	usr/lib/systemd/system/tmplwants@.service: [Install]\nWantedBy=x@.target y@z.target\n
	usr/lib/systemd/system/also-first.service: [Install]\nAlso=also-second.service also-missing.service\n
	usr/lib/systemd/system/also-second.service: [Install]\nRequiredBy=multi-user.target\nAlso=also-first.service\n
	usr/lib/systemd/system/masked.service: [Install]\nWantedBy=multi-user.target\n
	etc/systemd/system/masked.service -> /dev/null
	usr/lib/systemd/system/req.service: [Install]\nRequiredBy=local-fs.target\n
	usr/lib/systemd/system/old-alias.service: [Install]\nAlias=multi-user.target.wants/old-alias.service\n
	usr/lib/systemd/system/spec-x@.service: [Install]\nDefaultInstance=i\nWantedBy=%p-%i.target %j.target\nAlias=n-%N.service\n
	usr/lib/systemd/system/drop.service: [Service]\nExecStart=/x\n
	usr/lib/systemd/system/drop.service.d/10-install.conf: [Install]\nWantedBy=multi-user.target\n
	etc/systemd/system/drop.service.d/20-more.conf: [Install]\nAlias=drop-alias.service\n
	usr/lib/systemd/system/cont.service: [Install]\nWantedBy=one.target \\n# a comment\n two.target\n
	usr/lib/systemd/system/cont2.service: [Install]\nWantedBy=three.target \\\n four.target\n
	usr/lib/systemd/system/over.service: [Install]\nWantedBy=vendor.target\n
	etc/systemd/system/over.service: [Install]\nWantedBy=admin.target\n
	usr/lib/systemd/system/reset.service: [Install]\nWantedBy=gone.target\nWantedBy=\nWantedBy=kept.target\n
	usr/lib/systemd/system/bad-alias.service: [Install]\nAlias=other.socket other@.service bad-alias.service\nWantedBy=fine.target\n
	usr/lib/systemd/system/linked.service -> a.service
	usr/lib/systemd/system/empty.service:
	usr/lib/systemd/system/static.service: [Service]\nExecStart=/x\n
	etc/systemd/system/multi-user.target.wants/off.service -> /usr/lib/systemd/system/off.service
	etc/systemd/system/multi-user.target.wants/off-also.service -> /lib/systemd/system/off-also.service
	etc/systemd/system/named-otherwise.service -> /usr/lib/systemd/system/off.service
	etc/systemd/system/multi-user.target.wants/static.service -> /usr/lib/systemd/system/static.service
`

const upheldUnit = `
	usr/lib/systemd/system/upheld.service: [Install]\nUpheldBy=multi-user.target\n
	usr/lib/systemd/system-preset/10-upheld.preset: enable upheld.service\n
`

// TestPresetsEqualSystemctl lets the host's systemctl preset-all work on the
// same tree; the oracle repeats it with the release's own.
func TestPresetsEqualSystemctl(t *testing.T) {
	if _, err := exec.LookPath("systemctl"); err != nil {
		t.Fatal("systemctl is missing: run make deps")
	}
	comparePresets(t, unitTree, t.TempDir(), func(dir string) *exec.Cmd {
		return exec.Command("systemctl", "--root="+dir, "preset-all")
	})
}

// comparePresets writes the tree to dir, where the command applies presets,
// and expects the links that applyPresets makes. The command may fail: units
// that are masked or misnamed are part of the tree.
func comparePresets(t *testing.T, text, dir string, command func(dir string) *exec.Cmd) {
	t.Helper()
	s := stateOf(t, text)
	materialise(t, s.tree, dir)
	out, err := command(dir).CombinedOutput()
	if _, exit := err.(*exec.ExitError); err != nil && !exit {
		t.Fatal(err)
	}
	noErr(t, applyPresets(s))
	var ours []string
	for n := range s.tree.Walk() {
		if n.Link != "" && strings.HasPrefix(n.Path, units.Dir) {
			ours = append(ours, n.Path+" -> "+n.Link)
		}
	}
	theirs := unitLinks(t, dir)
	slices.Sort(ours)
	if diff := cmp.Diff(theirs, ours); diff != "" {
		t.Errorf("links differ (-systemctl +ours):\n%s\nsystemctl said:\n%s", diff, out)
	}
	if len(ours) < 20 {
		t.Errorf("only %d links: %q\nsystemctl said:\n%s", len(ours), ours, out)
	}
}

// unitLinks lists the links below a root's unit configuration.
func unitLinks(t *testing.T, root string) []string {
	t.Helper()
	var links []string
	err := filepath.WalkDir(filepath.Join(root, units.Dir), func(p string, d os.DirEntry, err error) error {
		if err == nil && d.Type()&os.ModeSymlink != 0 {
			target, _ := os.Readlink(p)
			rel, _ := filepath.Rel(root, p)
			links = append(links, filepath.ToSlash(rel)+" -> "+target)
		}
		return err
	})
	noErr(t, err)
	slices.Sort(links)
	return links
}

func TestOverlayUnits(t *testing.T) {
	s := stateOf(t, `
		usr/lib/systemd/system/ssh.service: [Install]\nWantedBy=multi-user.target\n
		usr/lib/systemd/system/getty@.service: [Install]\nWantedBy=getty.target\nDefaultInstance=tty1\n
		usr/lib/systemd/system/noise.service: [Install]\nWantedBy=multi-user.target\n
		usr/lib/systemd/system/debian.service: [Install]\nWantedBy=multi-user.target\n
		usr/lib/systemd/system/default.target -> graphical.target
		usr/lib/systemd/system-preset/90-systemd.preset: enable noise.service\nenable debian.service\n`)
	noErr(t, enableUnits(s, []*overlay.Overlay{
		{Name: "one", Enable: []string{"ssh.service", "getty@tty2.service"}, Disable: []string{"noise.service"}},
		{Name: "two", Enable: []string{"ssh.service"}, Mask: []string{"bad.service"}},
	}))
	want := ""
	for _, name := range append([]string{"bad.service"}, masked...) {
		want += "etc/systemd/system/" + name + " -> /dev/null\n"
	}
	want = strings.Replace(want, "etc/systemd/system/ldconfig.service", `
		etc/systemd/system/getty.target.wants/getty@tty2.service -> /usr/lib/systemd/system/getty@.service
		etc/systemd/system/ldconfig.service`, 1)
	want = strings.Replace(want, "etc/systemd/system/systemd-firstboot.service", `
		etc/systemd/system/multi-user.target.wants/debian.service -> /usr/lib/systemd/system/debian.service
		etc/systemd/system/multi-user.target.wants/ssh.service -> /usr/lib/systemd/system/ssh.service
		etc/systemd/system/systemd-firstboot.service`, 1)
	wantTree(t, s.tree, want, "etc")
	wantTree(t, s.tree, `
		usr/lib/systemd/system-preset/10-imagebuilder.preset: # What the overlays of this image enable and disable.\nenable ssh.service\nenable getty@.service tty2\ndisable noise.service\nenable ssh.service\n
		usr/lib/systemd/system-preset/90-systemd.preset: enable noise.service\nenable debian.service\n
		usr/lib/systemd/system-preset/99-default.preset: # Nothing else is enabled.\ndisable *\n`, "usr/lib/systemd/system-preset")
	wantTree(t, s.tree, "usr/lib/systemd/system/default.target -> multi-user.target", "usr/lib/systemd/system/default.target")
}

func TestOverlayUnitsRefused(t *testing.T) {
	const text = `
		usr/lib/systemd/system/static.service: [Service]\nExecStart=/x\n
		usr/lib/systemd/system/ok.service: [Install]\nWantedBy=x.target\n
		usr/lib/systemd/system/host.service: [Install]\nWantedBy=%H.target\n
		etc/systemd/system/off.service -> /dev/null`
	for _, c := range []struct {
		overlay overlay.Overlay
		want    []string
	}{
		{overlay.Overlay{Enable: []string{"gone.service"}}, []string{"overlay o", "gone.service", "neither"}},
		{overlay.Overlay{Enable: []string{"static.service"}}, []string{"static.service", "[Install]"}},
		{overlay.Overlay{Enable: []string{"off.service"}}, []string{"off.service", "masked"}},
		{overlay.Overlay{Enable: []string{"host.service"}}, []string{"host.service", "%H"}},
		{overlay.Overlay{Enable: []string{"ok.service"}, Disable: []string{"ok.service"}}, []string{"ok.service", "enable", "disable"}},
	} {
		c.overlay.Name = "o"
		wantErr(t, enableUnits(stateOf(t, text), []*overlay.Overlay{&c.overlay}), c.want...)
	}
	s := stateOf(t, `usr/lib/systemd/system-preset/1.preset: ignore x.service\n`)
	wantErr(t, applyPresets(s), "1.preset", "ignore x.service")
}

// TestInstancesOfTwoOverlays: systemd reads one line of a template.
func TestInstancesOfTwoOverlays(t *testing.T) {
	const text = `
		usr/lib/systemd/system/wg@.service: [Install]\nWantedBy=multi-user.target\nDefaultInstance=x\n
		usr/lib/systemd/system/other.service: [Install]\nWantedBy=multi-user.target\n`
	s := stateOf(t, text)
	noErr(t, enableUnits(s, []*overlay.Overlay{
		{Name: "one", Enable: []string{"wg@wg0.service", "other.service"}},
		{Name: "two", Enable: []string{"wg@wg1.service", "wg@wg0.service"}},
	}))
	wantTree(t, s.tree, `
		etc/systemd/system/multi-user.target.wants/other.service -> /usr/lib/systemd/system/other.service
		etc/systemd/system/multi-user.target.wants/wg@wg0.service -> /usr/lib/systemd/system/wg@.service
		etc/systemd/system/multi-user.target.wants/wg@wg1.service -> /usr/lib/systemd/system/wg@.service`, "etc/systemd/system/multi-user.target.wants")
	for _, c := range []struct{ first, second overlay.Overlay }{
		{overlay.Overlay{Enable: []string{"wg@wg0.service"}}, overlay.Overlay{Disable: []string{"wg@.service"}}},
		{overlay.Overlay{Disable: []string{"wg@.service"}}, overlay.Overlay{Enable: []string{"wg@wg0.service"}}},
		{overlay.Overlay{Enable: []string{"wg@wg0.service"}}, overlay.Overlay{Enable: []string{"wg@.service"}}},
		{overlay.Overlay{Enable: []string{"wg@.service"}}, overlay.Overlay{Enable: []string{"wg@wg0.service"}}},
		{overlay.Overlay{}, overlay.Overlay{Disable: []string{"wg@wg0.service"}}},
	} {
		c.first.Name, c.second.Name = "one", "two"
		wantErr(t, enableUnits(stateOf(t, text), []*overlay.Overlay{&c.first, &c.second}), "overlay two", "wg@")
	}
}

// TestAMistypedUnit: a name similar to a unit's is refused; one that is similar to none may
// be a unit that other boards have.
func TestAMistypedUnit(t *testing.T) {
	const text = `usr/lib/systemd/system/noise.service: [Install]\nWantedBy=multi-user.target\n`
	for _, o := range []overlay.Overlay{{Mask: []string{"niose.service"}}, {Disable: []string{"nois.service"}}, {Enable: []string{"noises.service"}}} {
		o.Name = "o"
		wantErr(t, enableUnits(stateOf(t, text), []*overlay.Overlay{&o}), "overlay o", "did you mean noise.service?")
	}
	elsewhere := overlay.Overlay{Mask: []string{"systemd-boot-update.service", "noise.socket"}, Disable: []string{"rpcbind.service"}}
	noErr(t, enableUnits(stateOf(t, text), []*overlay.Overlay{&elsewhere}))
}

// TestEnabledAndMasked: a mask of another overlay, before or behind, or of the build itself
// would win in silence.
func TestEnabledAndMasked(t *testing.T) {
	const text = `usr/lib/systemd/system/ok.service: [Install]\nWantedBy=multi-user.target\n`
	one, two := &overlay.Overlay{Name: "one", Mask: []string{"ok.service"}}, &overlay.Overlay{Name: "two", Enable: []string{"ok.service"}}
	for _, overlays := range [][]*overlay.Overlay{{one, two}, {two, one}} {
		wantErr(t, enableUnits(stateOf(t, text), overlays), "overlay two enables ok.service, which overlay one masks")
	}
	built := &overlay.Overlay{Name: "o", Enable: []string{masked[0]}}
	wantErr(t, enableUnits(stateOf(t, text), []*overlay.Overlay{built}), "which imagebuilder masks")
}

func FuzzUnit(f *testing.F) {
	f.Add("a@.service", "[Install]\nWantedBy=x.target %p.target\nAlias=%i@.service b.service\nAlso=a@b.service\nDefaultInstance=i\n", "enable a@.service one two\ndisable *")
	f.Add("a.service", "[Install]\nWantedBy=x \\\n# c\n y.target\nUpheldBy=\nAlso=a.service", "enable *")
	f.Add("a.service", "[Install]\nAlias=x.target.wants/nothing", "enable *")
	f.Fuzz(func(t *testing.T, name, text, preset string) {
		if !strings.HasSuffix(name, ".service") {
			return
		}
		s := stateOf(t, "")
		if s.file("usr/lib/systemd/system/"+name, 0o644, text) != nil ||
			s.file("usr/lib/systemd/system-preset/1.preset", 0o644, preset) != nil {
			return
		}
		if applyPresets(s) != nil {
			return
		}
		first := dump(s.tree)
		if err := applyPresets(s); err != nil || dump(s.tree) != first {
			t.Errorf("presets applied twice: %v\n%swas\n%s", err, dump(s.tree), first)
		}
	})
}

func TestFinishEndsWithTheContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Finish(ctx, Input{Epoch: testEpoch}); err != context.Canceled {
		t.Errorf("error is %v", err)
	}
}
