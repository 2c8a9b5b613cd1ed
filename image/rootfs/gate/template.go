package gate

import (
	"embed"
	"fmt"
	"io/fs"
	"regexp"
	"strings"
	"sync"
)

// templates holds debhelper's own autoscripts, one per file, as released in
// trixie; where bookworm's differ in more than ${DPKG_ROOT:-}, theirs too, as
// packages built with them are still in trixie. The first line names the
// effect, and #NAME# stands for what the tool fills in. Of debhelper's
// templates those are missing that change a root in ways nobody models:
// alternatives, ucf, usrlocal, emacsen, fonts, NSS databases.
//
//go:embed templates/*.sh
var templates embed.FS

// template is one autoscript. Debhelper fills it with data, so that it is
// matched as a whole, with the data limited to what cannot be a command.
type template struct {
	tool   string
	effect string
	body   *regexp.Regexp
}

// placeholders limits what debhelper may have filled in.
var placeholders = map[string]string{
	"UNITFILE":          `'[A-Za-z0-9:_.@\\-]+'`,
	"UNITFILES":         `'[A-Za-z0-9:_.@\\-]+'(?: '[A-Za-z0-9:_.@\\-]+')*`,
	"TMPFILES":          `[A-Za-z0-9_.@+-]+\.conf(?: [A-Za-z0-9_.@+-]+\.conf)*`,
	"CONFILE_BASENAME":  `[A-Za-z0-9_.@+-]+\.conf(?: [A-Za-z0-9_.@+-]+\.conf)*`,
	"SCRIPT":            `[A-Za-z0-9_.+-]+`,
	"INITPARMS":         `[a-z0-9 .-]+`,
	"PROFILE":           `[A-Za-z0-9_.+-]+`,
	"NAME":              `[A-Za-z0-9_.+-]+`,
	"ENABLE":            `[a-z]*`,
	"ONUPGRADE":         `[a-z]*`,
	"DIRLIST":           `[A-Za-z0-9_/. +-]+`,
	"PACKAGE":           `[a-z0-9+.-]+`,
	"INVOKE_RCD_PARAMS": `(?:--[a-z-]+ )*`,
	"RESTART_ACTION":    `(?:start|restart|try-restart|\$_dh_action)`,
	"ERROR_HANDLER":     `(?:exit [0-9]+|true|[a-z_]+)`,
	"ARGS":              `[A-Za-z0-9_/.,:= +-]*`,
	"PARAMS":            `(?:rm_conffile|mv_conffile|symlink_to_dir|dir_to_symlink) [A-Za-z0-9_/.,:=@%~\\ +-]+`,
}

var loadTemplates = sync.OnceValue(func() []template {
	names, err := fs.Glob(templates, "templates/*.sh")
	if err != nil {
		panic(err)
	}
	out := make([]template, 0, len(names))
	for _, name := range names {
		text, err := templates.ReadFile(name)
		if err != nil {
			panic(err)
		}
		t, err := parseTemplate(name, string(text))
		if err != nil {
			panic(err) // the embedded files are tested
		}
		out = append(out, t)
	}
	return out
})

func parseTemplate(name, text string) (template, error) {
	first, rest, _ := strings.Cut(text, "\n")
	effect, ok := strings.CutPrefix(first, "# effect: ")
	if !ok {
		return template{}, fmt.Errorf("%s: the first line must be \"# effect: NAME\"", name)
	}
	pattern := regexp.QuoteMeta(dpkgRoot(strings.Join(commands(rest), "\n")))
	for key, value := range placeholders {
		pattern = strings.ReplaceAll(pattern, "#"+key+"#", value)
	}
	if left := regexp.MustCompile(`#[A-Z_]+#`).FindString(pattern); left != "" {
		return template{}, fmt.Errorf("%s: no pattern for %s", name, left)
	}
	tool := strings.TrimPrefix(name, "templates/")
	tool, _, _ = strings.Cut(tool, ".")
	// dh_installdeb puts all its helper calls into one block.
	re, err := regexp.Compile(`^(?:` + pattern + `\n)+$`)
	if err != nil {
		return template{}, fmt.Errorf("%s: %w", name, err)
	}
	return template{tool: tool, effect: effect, body: re}, nil
}

// dpkgRoot evens out the two spellings of debhelper 13.11 and 13.24.
func dpkgRoot(s string) string { return strings.ReplaceAll(s, "${DPKG_ROOT:-}", "$DPKG_ROOT") }

// recognise returns the effect of a debhelper block.
func recognise(b Block) (effect string, ok bool) {
	body := dpkgRoot(b.Body) + "\n"
	for _, t := range loadTemplates() {
		if t.tool == b.Tool && t.body.MatchString(body) {
			return t.effect, true
		}
	}
	return "", false
}
