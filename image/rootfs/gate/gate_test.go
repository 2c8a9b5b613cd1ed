package gate

import (
	"errors"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/going-mobile/imagebuilder/image/deb"
)

// trixie returns the real packages of testdata, by directory name.
func trixie(t testing.TB) map[string]*deb.Package {
	t.Helper()
	archive, err := txtar.ParseFile("testdata/trixie.txtar")
	if err != nil {
		t.Fatal(err)
	}
	pkgs := map[string]*deb.Package{}
	for _, f := range archive.Files {
		dir, name := path.Split(f.Name)
		p := pkgs[dir]
		if p == nil {
			p = &deb.Package{ControlFiles: map[string]string{}}
			pkgs[dir] = p
		}
		if name == "control" {
			m := regexp.MustCompile(`Package: (.*)\nVersion: (.*)\n`).FindStringSubmatch(string(f.Data))
			p.Name, p.Version = m[1], m[2]
			continue
		}
		p.ControlFiles[name] = string(f.Data)
	}
	if len(pkgs) < 80 {
		t.Fatalf("only %d packages in testdata", len(pkgs))
	}
	return pkgs
}

// TestTrixie passes the scripts of a real release through the gate. What is
// refused belongs to packages that no image contains.
func TestTrixie(t *testing.T) {
	var refused []string
	for _, p := range trixie(t) {
		for _, r := range examine(p) {
			refused = append(refused, r.Package+" "+r.Script)
		}
	}
	slices.Sort(refused)
	want := []string{
		"apt postinst",
		"cpio postinst",                   // an alternative
		"debian-archive-keyring postinst", // comes with apt
		"initramfs-tools postinst", "initramfs-tools triggers", "initramfs-tools-core postinst",
		"klibc-utils postinst",
	}
	if diff := cmp.Diff(want, slices.Compact(refused)); diff != "" {
		t.Error(diff)
	}
}

// TestModelsAreUsed finds recorded texts that no package of the release has.
func TestModelsAreUsed(t *testing.T) {
	used := map[string]bool{}
	for _, p := range trixie(t) {
		for _, script := range []string{"preinst", "postinst"} {
			used[modelName(p.Name)+script+residue(p.Name, p.ControlFiles[script])] = true
		}
	}
	for _, m := range Models() {
		if len(m.scripts) == 0 || len(m.Effects) == 0 {
			t.Errorf("%s has no script or no effect", m.Package)
		}
		for script, texts := range m.scripts {
			for _, text := range texts {
				if !used[m.Package+script+text] {
					t.Errorf("nothing has this %s of %s:\n%s", script, m.Package, text)
				}
			}
		}
	}
}

func TestTemplatesAreWellFormed(t *testing.T) {
	for _, tmpl := range loadTemplates() {
		if tmpl.effect != "none" && !slices.Contains([]string{"presets", "tmpfiles", "sysusers", "apparmor"}, tmpl.effect) {
			t.Errorf("%s: unknown effect %q", tmpl.tool, tmpl.effect)
		}
	}
}

func pkg(name string, files ...string) *deb.Package {
	p := &deb.Package{Name: name, Version: "1.0", ControlFiles: map[string]string{}}
	for i := 0; i < len(files); i += 2 {
		p.ControlFiles[files[i]] = files[i+1]
	}
	return p
}

const debhelperOnly = `#!/bin/sh
# postinst of something
set -e

case "$1" in
    configure)
    ;;
    abort-upgrade|abort-remove|abort-deconfigure)
    ;;
    *)
        echo "postinst called with unknown argument \` + "`$1'\"" + ` >&2
        exit 1
    ;;
esac

# Automatically added by dh_installsystemd/13.11.4
if [ -z "${DPKG_ROOT:-}" ] && [ "$1" = upgrade ] && [ -d /run/systemd/system ] ; then
	deb-systemd-invoke stop 'a.service' 'b@x.socket' >/dev/null || true
fi
# End automatically added section
# Automatically added by dh_installtmpfiles/13.24.2
if [ "$1" = "configure" ] || [ "$1" = "abort-upgrade" ] || [ "$1" = "abort-deconfigure" ] || [ "$1" = "abort-remove" ] ; then
	if [ -x "$(command -v systemd-tmpfiles)" ]; then
		systemd-tmpfiles ${DPKG_ROOT:+--root="$DPKG_ROOT"} --create a.conf b.conf || true
	fi
fi
# End automatically added section

exit 0
`

func TestAccepted(t *testing.T) {
	for name, p := range map[string]*deb.Package{
		"no script":        pkg("a"),
		"only prerm":       pkg("a", "prerm", "#!/bin/sh\nrm -rf /tmp/x\n", "postrm", "#!/usr/bin/perl\n", "config", "#!/bin/sh\ndb_input low a/b\n"),
		"debhelper only":   pkg("a", "postinst", debhelperOnly),
		"CRLF":             pkg("a", "postinst", strings.ReplaceAll(debhelperOnly, "\n", "\r\n")),
		"nothing but a :":  pkg("a", "postinst", "#!/bin/sh -e\n:\n"),
		"loads debconf":    pkg("a", "postinst", "#!/bin/sh\n. /usr/share/debconf/confmodule\ndb_stop\nexit 0\n"),
		"upgrade helper":   pkg("a", "preinst", "#!/bin/sh\ndpkg-maintscript-helper rm_conffile /etc/x 1.0~ -- \"$@\"\n"),
		"another kernel":   pkg("linux-image-6.12.999+deb13-arm64", "postinst", kernelPostinst),
		"idle with a hook": pkg("a", "postinst", "#!/bin/sh\nset -e\n", "triggers", "interest-noawait /usr/share/x\nactivate-noawait ldconfig\n"),
	} {
		if report, err := Check([]*deb.Package{p}, nil); err != nil || len(report.Accepted) > 0 {
			t.Errorf("%s: %v %v", name, report, err)
		}
	}
}

const kernelPostinst = `#!/bin/sh -e
version=6.12.999+deb13-arm64
image_path=/boot/vmlinuz-$version
if [ "$1" != configure ]; then
    exit 0
fi
depmod $version
if [ -f /lib/modules/$version/.fresh-install ]; then
    change=install
else
    change=upgrade
fi
linux-update-symlinks $change $version $image_path
rm -f /lib/modules/$version/.fresh-install
linux-run-hooks image postinst $version $image_path -- "$@"
exit 0
`

func TestRefused(t *testing.T) {
	tcpdump := trixie(t)["tcpdump_4.99.5-2_amd64/"]
	changed := strings.Replace(tcpdump.ControlFiles["postinst"], "addgroup", "addgroup --extra", 1)
	for _, c := range []struct {
		name string
		pkg  *deb.Package
		want []string // of the error, in this order
	}{
		{"own text", pkg("myd", "postinst", "#!/bin/sh\nset -e\n# add the user\nadduser --system myd\nsetcap cap_net_raw+ep /usr/bin/myd\n"),
			[]string{"no model covers those of myd:", "myd 1.0: postinst; it adds users or groups, gives programs capabilities (setcap)",
				"    adduser --system myd\n    setcap cap_net_raw+ep /usr/bin/myd\n", `acceptUnmodelled: {myd: "why this is enough"}`}},
		{"perl", pkg("p", "preinst", "#!/usr/bin/perl -w\nuse strict;\n"), []string{"p 1.0: preinst", "#!/usr/bin/perl -w"}},
		{"a program", pkg("p", "preinst", "\x7fELF\x02"), []string{"p 1.0: preinst"}},
		{"code inside a debhelper block", pkg("p", "postinst", "#!/bin/sh\n"+strings.Replace(debhelperOnly, "'a.service'", "'a.service'; rm -rf /", 1)),
			[]string{"    # dh_installsystemd\n", "rm -rf /"}},
		{"command in the data of a block", pkg("p", "postinst", strings.Replace(debhelperOnly, "a.conf b.conf", "$(evil).conf", 1)), []string{"$(evil).conf"}},
		{"alternatives by debhelper", pkg("p", "postinst", "#!/bin/sh\n# Automatically added by dh_installalternatives/13.16\nupdate-alternatives --install /a a /b 10\n# End automatically added section\n"),
			[]string{"p 1.0: postinst; it makes links (update-alternatives)", "# dh_installalternatives"}},
		{"an arm that does something", pkg("p", "postinst", "#!/bin/sh\ncase \"$1\" in\nconfigure)\nchown x /y\n;;\nesac\n"), []string{"changes owners or modes (chown, chmod)", "chown x /y"}},
		{"long", pkg("p", "postinst", "#!/bin/sh\n"+strings.Repeat("touch /x\n", 20)), []string{"    … and 12 more lines\n"}},
		{"changed since it was modelled", pkg("tcpdump", "postinst", changed),
			[]string{"tcpdump 1.0: postinst is not the one that was modelled", "--- modelled postinst", "+++ this postinst", "-", "addgroup", "+", "addgroup --extra"}},
		{"new script of a modelled package", pkg("tcpdump", "preinst", "#!/bin/sh\ntouch /x\n"), []string{"tcpdump 1.0: preinst\n", "touch /x"}},
		{"new trigger of a modelled package", pkg("tcpdump", "postinst", tcpdump.ControlFiles["postinst"], "triggers", "# c\ninterest /usr/share/pcap\n"),
			[]string{"tcpdump 1.0: triggers: no model of what these do; it works on files of other packages (triggers)", "interest /usr/share/pcap"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Check([]*deb.Package{c.pkg}, nil)
			var refused *RefusedError
			if !errors.As(err, &refused) {
				t.Fatalf("accepted: %v", err)
			}
			rest := err.Error()
			for _, w := range c.want {
				i := strings.Index(rest, w)
				if i < 0 {
					t.Fatalf("no %q in\n%s", w, err)
				}
				rest = rest[i+len(w):]
			}
		})
	}
}

func TestAllRefusalsInOneErrorSorted(t *testing.T) {
	script := "#!/bin/sh\ntouch /x\n"
	_, err := Check([]*deb.Package{pkg("z", "preinst", script, "postinst", script), pkg("b"), pkg("a", "postinst", script)}, nil)
	var refused *RefusedError
	if !errors.As(err, &refused) {
		t.Fatal(err)
	}
	var got []string
	for _, r := range refused.Refusals {
		got = append(got, r.Package+" "+r.Script)
	}
	if diff := cmp.Diff([]string{"a postinst", "z postinst", "z preinst"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestAcceptedByUser(t *testing.T) {
	p := pkg("myd", "postinst", "#!/bin/sh\nadduser --system myd\n")
	report, err := Check([]*deb.Package{p, pkg("plain")}, map[string]string{"myd": "the overlay has the user", "plain": "?", "gone": "?"})
	if err != nil {
		t.Fatal(err)
	}
	want := &Report{
		Accepted: []Accepted{{"myd", "1.0", "postinst", "the overlay has the user", []string{"adds users or groups"}}},
		Unneeded: []string{"gone", "plain"},
	}
	if diff := cmp.Diff(want, report); diff != "" {
		t.Error(diff)
	}
}

func TestParseKeepsData(t *testing.T) {
	const script = `#!/bin/sh
# a comment
	echo a # stays
cat > /etc/x <<'EOF'
# not a comment
   indented

EOF
cat <<-END
	# tabs
	END
# comment
awk '
# inside quotes
{ print }
'
echo "a
# b" ; echo '#'
echo $# # c
`
	const want = `echo a # stays
cat > /etc/x <<'EOF'
# not a comment
   indented

EOF
cat <<-END
	# tabs
	END
awk '
# inside quotes
{ print }
'
echo "a
# b" ; echo '#'
echo $# # c`
	if diff := cmp.Diff(want, Parse(script).Body); diff != "" {
		t.Error(diff)
	}
}

// FuzzParse: no panic, and a command at the beginning survives whatever
// follows it.
func FuzzParse(f *testing.F) {
	for _, p := range trixie(f) {
		for _, name := range []string{"preinst", "postinst"} {
			if len(p.ControlFiles[name]) < 4096 {
				f.Add(p.ControlFiles[name])
			}
		}
	}
	f.Add(debhelperOnly)
	f.Add("#!/bin/sh\ncat <<A <<-'B'\n# x\nA\n\tB\n")
	f.Fuzz(func(t *testing.T, text string) {
		examine(pkg("a", "postinst", text, "triggers", text))
		if !isShell(Parse(text).Interpreter) {
			return
		}
		_, rest, _ := strings.Cut(text, "\n")
		first := Parse("#!/bin/sh\nrm -rf /x\n" + rest)
		if !strings.HasPrefix(first.Body, "rm -rf /x") {
			t.Errorf("lost a command: %q", first.Body)
		}
	})
}
