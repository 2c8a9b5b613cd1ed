package gate

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/going-mobile/imagebuilder/image/deb"
)

// pkg returns a package with control files, given as name and text in turn.
func pkg(name string, files ...string) *deb.Package {
	p := &deb.Package{Name: name, Version: "1.0", ControlFiles: map[string]string{}}
	for i := 0; i < len(files); i += 2 {
		p.ControlFiles[files[i]] = files[i+1]
	}
	return p
}

// The tests' own world: a tool that adds blocks, three packages with models.
const (
	testModels = `version: 1
models:
  - {package: lamp, effects: [light]}
  - {package: multi, effects: [light]}
  - {package: linux-image-kernel, effects: [boot]}
`
	testTemplates = `version: 1
tools:
  - tool: dh_light
    values:
      - 'light (?P<NAMES>''[a-z.]+''(?: ''[a-z.]+'')*)(?: \|\| (?P<OTHERWISE>true|exit [0-9]))?$'
      - '^dim "(?P<ROOM>[a-z]+)"'
    blocks:
      - {does: lights lamps, effect: presets, digests: [LIGHT]}
      - {does: dims a room twice, effect: none, digests: [DIM]}
`
	lightBlock = "if test -n \"$DPKG_ROOT\"; then\nlight 'a.lamp' 'b.lamp' || true\nfi"
	dimBlock   = "dim \"hall\" down\ndim \"hall\" up"

	lampScript = `#!/bin/sh
# lights the lamp
set -e

case "$1" in
    configure)
        oil=/var/lib/lamp/oil
        mkdir -p /var/lib/lamp
        pour "$oil"
        adduser --system lamp
        strike match
        ;;
    *)
        exit 1
        ;;
esac
exit 0
`
	multiScript  = "#!/bin/sh\ncp /usr/lib/x86_64-linux-gnu/multi /etc/multi\n"
	kernelScript = "#!/bin/sh -e\nv=6.1.1-a\nindex_modules $v\nhooks /boot/vmlinuz-$v 6.1.1-a\n"
)

func testKnowledge(t testing.TB) *knowledge {
	t.Helper()
	empty := &knowledge{}
	recorded := formatRecordings([]recording{
		newRecording("lamp", "0.8", "postinst", "strike match\nblow out\nstrike match"),
		newRecording("lamp", "0.9", "postinst", empty.residue("lamp", lampScript)),
		newRecording("multi", "2", "postinst", empty.residue("multi", multiScript)),
		newRecording("linux-image-kernel", "6.1.1", "postinst", empty.residue("linux-image-6.1.1-a", kernelScript)),
	})
	tools, err := parseTemplates([]byte(testTemplates))
	if err != nil {
		t.Fatal(err)
	}
	templates := testTemplates
	for mark, body := range map[string]string{"LIGHT": lightBlock, "DIM": dimBlock} {
		sum, ok := tools["dh_light"].digest(body)
		if !ok {
			t.Fatalf("%s has no digest", mark)
		}
		templates = strings.Replace(templates, mark, sum, 1)
	}
	k, err := newKnowledge([]byte(testModels), recorded, []byte(templates))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// added is a script that is nothing but boilerplate and the given block.
func added(tool, body string) string {
	return `#!/bin/sh
# configures nothing
set -e
case "$1" in
    configure)
    ;;
    abort-upgrade|abort-remove)
    ;;
    *)
        echo "unknown argument \` + "`$1'\"" + ` >&2
        exit 1
    ;;
esac

# Automatically added by ` + tool + `/13.24
` + body + `
# End automatically added section

exit 0
`
}

func TestAccepted(t *testing.T) {
	k := testKnowledge(t)
	indented := "\t# lights them\n\tif test -n \"${DPKG_ROOT:-}\"; then\n\n\t\tlight 'x.lamp' || exit 1\n\tfi"
	for name, p := range map[string]*deb.Package{
		"no script":           pkg("a"),
		"only prerm":          pkg("a", "prerm", "#!/bin/sh\nrm -rf /tmp/x\n", "postrm", "#!/usr/bin/perl\n", "config", "#!/bin/sh\ndb_input low a/b\n"),
		"boilerplate":         pkg("a", "postinst", added("dh_light", "# nothing")),
		"a block":             pkg("a", "postinst", added("dh_light", lightBlock)),
		"other data, indents": pkg("a", "postinst", added("dh_light", indented)),
		"the other block":     pkg("a", "postinst", added("dh_light", strings.ReplaceAll(dimBlock, "hall", "kitchen"))),
		"CRLF":                pkg("a", "postinst", strings.ReplaceAll(added("dh_light", lightBlock), "\n", "\r\n")),
		"nothing but a :":     pkg("a", "postinst", "#!/bin/sh -e\n:\n"),
		"loads debconf":       pkg("a", "postinst", "#!/bin/sh\n. /usr/share/debconf/confmodule\ndb_stop\nexit 0\n"),
		"upgrade helper":      pkg("a", "preinst", "#!/bin/sh\ndpkg-maintscript-helper rm_conffile /etc/x 1.0~ -- \"$@\"\n"),
		"upgrade helpers of debhelper": pkg("a", "preinst", added("dh_installdeb",
			"dpkg-maintscript-helper rm_conffile /etc/x 1.0~ -- \"$@\"\ndpkg-maintscript-helper dir_to_symlink /a /b 2\\~ c -- \"$@\"")),
		"idle with a hook":     pkg("a", "postinst", "#!/bin/sh\nset -e\n", "triggers", "interest-noawait /usr/share/x\nactivate-noawait ldconfig\n"),
		"modelled":             pkg("lamp", "postinst", lampScript),
		"older and modelled":   pkg("lamp", "postinst", "#!/bin/sh\nset -eu\n  strike match\n# soon\nblow out\nstrike match\n\nexit 0\n"),
		"modelled and a block": pkg("lamp", "postinst", strings.Replace(lampScript, "exit 0\n", added("dh_light", lightBlock), 1)),
		"another architecture": pkg("multi", "postinst", strings.Replace(multiScript, "x86_64", "aarch64", 1)),
		"another kernel":       pkg("linux-image-6.12.99+deb-arm64", "postinst", strings.ReplaceAll(kernelScript, "6.1.1-a", "6.12.99+deb-arm64")),
	} {
		if report, err := k.check([]*deb.Package{p}, nil); err != nil || len(report.Accepted) > 0 {
			t.Errorf("%s: %v %v", name, report, err)
		}
	}
}

func TestRefused(t *testing.T) {
	k := testKnowledge(t)
	light := func(old, new string) *deb.Package {
		return pkg("p", "postinst", added("dh_light", strings.Replace(lightBlock, old, new, 1)))
	}
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
		{"an arm that does something", pkg("p", "postinst", "#!/bin/sh\ncase \"$1\" in\nconfigure)\nchown x /y\n;;\nesac\n"), []string{"changes owners or modes (chown, chmod)", "chown x /y"}},
		{"helper with a command", pkg("p", "preinst", "#!/bin/sh\ndpkg-maintscript-helper rm_conffile /etc/$(evil) -- \"$@\"\n"), []string{"/etc/$(evil)"}},
		{"long", pkg("p", "postinst", "#!/bin/sh\n"+strings.Repeat("touch /x\n", 20)), []string{"    … and 12 more lines\n"}},

		{"code behind the data of a block", light("'a.lamp'", "'a.lamp'; evil"), []string{"    # dh_light\n", "; evil"}},
		{"code in the data of a block", light("a.lamp", "$(evil).lamp"), []string{"$(evil).lamp"}},
		{"more code in a block", light("fi", "fi\nevil"), []string{"evil"}},
		{"less code in a block", light("\nfi", ""), []string{"# dh_light"}},
		{"two blocks in one", light("fi", "fi\n"+dimBlock), []string{"# dh_light"}},
		{"data of another kind", light("true", "evil"), []string{"|| evil"}},
		{"data that is not the same everywhere", pkg("p", "postinst", added("dh_light", strings.Replace(dimBlock, "hall", "attic", 1))), []string{`dim "attic" down`}},
		{"data replaced by its stand-in", light("'a.lamp' 'b.lamp'", slot+"NAMES"+slot), []string{"# dh_light"}},
		{"block of another tool", pkg("p", "postinst", added("dh_dark", lightBlock)), []string{"# dh_dark"}},
		{"block without an end", pkg("p", "postinst", strings.Replace(added("dh_light", lightBlock), "# End", "# Ende", 1)), []string{"light 'a.lamp' 'b.lamp'"}},
		{"alternatives by debhelper", pkg("p", "postinst", added("dh_installalternatives", "update-alternatives --install /a a /b 10")),
			[]string{"p 1.0: postinst; it makes links (update-alternatives)", "# dh_installalternatives"}},

		{"changed since it was modelled", pkg("lamp", "postinst", strings.Replace(strings.Replace(lampScript, "        strike match\n", "", 1), "adduser", "adduser --quiet", 1)),
			[]string{"lamp 1.0: postinst is not the one that was modelled; it adds users or groups\n",
				"    - recorded from version 0.9\n    + this one\n      …\n      mkdir -p /var/lib/lamp\n      pour \"$oil\"\n",
				"    - 2 lines after line 5 of the recorded script\n    + adduser --quiet --system lamp\n      ;;\n      *)\n      …\n"}},
		{"new script of a modelled package", pkg("lamp", "preinst", "#!/bin/sh\ntouch /x\n"), []string{"lamp 1.0: preinst\n", "touch /x"}},
		{"script of another modelled package", pkg("multi", "postinst", lampScript), []string{"multi 1.0: postinst is not the one that was modelled"}},
		{"new trigger of a modelled package", pkg("lamp", "postinst", lampScript, "triggers", "# c\ninterest /usr/share/wicks\n"),
			[]string{"lamp 1.0: triggers: no model of what these do; it works on files of other packages (triggers)", "interest /usr/share/wicks"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := k.check([]*deb.Package{c.pkg}, nil)
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

func TestHints(t *testing.T) {
	for command, want := range map[string]string{
		"usermod -L x":                         "adds users or groups",
		"dpkg-divert --add /a":                 "diverts files of other packages (dpkg-divert)",
		"dpkg-statoverride --add a b 2755 /c":  "changes owners or modes (dpkg-statoverride)",
		"chmod 4755 /a":                        "changes owners or modes (chown, chmod)",
		"setcap cap_net_raw+ep /a":             "gives programs capabilities (setcap)",
		"update-alternatives --install /a a b": "makes links (update-alternatives)",
		"ucf /a /b":                            "writes configuration files (ucf)",
		"db_get a/b":                           "asks questions (debconf)",
		"dpkg-trigger x":                       "asks other packages to act (dpkg-trigger)",
		"deb-systemd-helper enable a.service":  "enables units",
		"touch /a":                             "",
	} {
		if got := strings.Join(hints(command), "|"); got != want {
			t.Errorf("%s: %q", command, got)
		}
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

func TestNearest(t *testing.T) {
	recorded := func(lines string) []recording {
		return []recording{newRecording("a", "1", "postinst", strings.ReplaceAll(lines, " ", "\n"))}
	}
	for _, c := range []struct{ old, now, want string }{
		{"a b c", "a x c", "  a|- 1 line after line 1 of the recorded script|+ x|  c|"},
		{"a b c", "b", "- 1 line after line 0 of the recorded script|  b|- 1 line after line 2 of the recorded script|"},
		{"a b c d e f g h", "a b c d x y e f g h", "  …|  c|  d|+ x|+ y|  e|  f|  …|"},
		{"a b c d e f g h", "a x b c d e f h", "  a|+ x|  b|  c|  …|  e|  f|- 1 line after line 6 of the recorded script|  h|"},
		{"a b", "x", "- 2 lines after line 0 of the recorded script|+ x|"},
		{"fi fi fi", "fi fi", "  fi|  fi|- 1 line after line 2 of the recorded script|"},
	} {
		got := nearest(recorded(c.old), strings.ReplaceAll(c.now, " ", "\n"))
		want := "- recorded from version 1\n+ this one\n" + strings.ReplaceAll(c.want, "|", "\n")
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s → %s:\n%s", c.old, c.now, diff)
		}
	}
	if got := nearest(recorded("a"), strings.Repeat("x\n", 6000)); got != "  its 6001 lines are too many to compare\n" {
		t.Error(got)
	}
}

func TestMalformedData(t *testing.T) {
	sum := strings.Repeat("0", 64)
	for _, c := range []struct{ models, recorded, templates, want string }{
		{recorded: "lamp postinst 1 " + sum[1:], want: "recorded.txt: line 1: \"" + sum[1:] + "\" is not a digest of 32 bytes"},
		{recorded: "# c\nlamp prerm 1 " + sum, want: "recorded.txt: line 2: want PACKAGE preinst|postinst VERSION SHA256"},
		{recorded: "lamp postinst 1 " + sum + "\n\t0123456789abcdef 01", want: `recorded.txt: line 2: "01" is not a digest of 8 bytes`},
		{recorded: "oil postinst 1 " + sum, want: "recorded.txt: oil is not in models.yaml"},
		{models: testModels + "  - {package: lamp, effects: [x]}\n", want: "models.yaml: lamp stands there twice"},
		{templates: testTemplates + "  - {tool: dh_light}\n", want: "templates.yaml: dh_light stands there twice"},
		{templates: "version: 1\ntools:\n  - {tool: x, values: ['(']}\n", want: "templates.yaml: x: error parsing regexp"},
	} {
		if c.models == "" {
			c.models = testModels
		}
		if c.templates == "" {
			c.templates = testTemplates
		}
		c.templates = strings.NewReplacer("LIGHT", sum, "DIM", sum).Replace(c.templates)
		if _, err := newKnowledge([]byte(c.models), c.recorded, []byte(c.templates)); err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("got %v\nwant %s", err, c.want)
		}
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
	for _, s := range []string{lampScript, multiScript, kernelScript, added("dh_light", lightBlock), added("dh_installdeb", dimBlock),
		"#!/bin/sh\ncat <<A <<-'B'\n# x\nA\n\tB\n"} {
		f.Add(s)
	}
	k := testKnowledge(f)
	f.Fuzz(func(t *testing.T, text string) {
		k.examine(pkg("lamp", "postinst", text, "triggers", text))
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

// FuzzTemplate: whatever stands where data does, a block is recognised only if
// it can be nothing but data.
func FuzzTemplate(f *testing.F) {
	k := testKnowledge(f)
	f.Add("a.lamp' 'b.lamp", "true")
	f.Add("a'; evil; '", "exit 1")
	f.Add("\x00NAMES\x00", "true\nevil")
	data := regexp.MustCompile(`^[a-z.]+(' '[a-z.]+)* \|\| (true|exit [0-9])$`)
	f.Fuzz(func(t *testing.T, names, otherwise string) {
		body := fmt.Sprintf("if test -n \"$DPKG_ROOT\"; then\nlight '%s' || %s\nfi", names, otherwise)
		if _, ok := k.recognise(Block{"dh_light", body}); ok != data.MatchString(names+" || "+otherwise) {
			t.Errorf("recognised %v: %q", ok, body)
		}
	})
}
