package rootfs

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// pamTypes are the stacks that pam-auth-update(8) writes. word is the first word of their
// lines, field the prefix of their fields in a profile.
var pamTypes = []struct{ file, word, field string }{
	{"auth", "auth", "Auth"},
	{"account", "account", "Account"},
	{"password", "password", "Password"},
	{"session", "session", "Session"},
	{"session-noninteractive", "session", "Session-noninteractive"},
}

// pam writes /etc/pam.d/common-* from the profiles of /usr/share/pam-configs
// that are on by default, as pam-auth-update does on a first installation.
func pam(s *state) error {
	profiles, err := s.pamProfiles()
	if err != nil {
		return err
	}
	for _, t := range pamTypes {
		template, err := s.text("usr/share/pam/common-" + t.file)
		if err != nil {
			return err
		}
		if template == "" {
			continue
		}
		text, err := fillPAM(template, t.word, t.field, profiles)
		if err != nil {
			return fmt.Errorf("usr/share/pam/common-%s: %w", t.file, err)
		}
		if err := s.defaultFile("etc/pam.d/common-"+t.file, 0o644, text); err != nil {
			return err
		}
	}
	return firstError(
		s.defaultFile("etc/security/opasswd", 0o600, ""),
		s.defaultFile("etc/environment", 0o644, ""),
	)
}

// pamProfile holds the fields of a file in /usr/share/pam-configs.
type pamProfile map[string]string

// pamProfiles returns the enabled profiles, the highest priority first.
func (s *state) pamProfiles() ([]pamProfile, error) {
	type named struct {
		name     string
		priority int
		profile  pamProfile
	}
	var found []named
	for _, n := range s.tree.Children("usr/share/pam-configs") {
		text, err := s.text(n.Path)
		if err != nil {
			return nil, err
		}
		p := parsePAMProfile(text)
		if p["Default"] != "yes" {
			continue
		}
		priority, err := strconv.Atoi(p["Priority"])
		if err != nil {
			return nil, fmt.Errorf("%s: priority %q is not a number", n.Path, p["Priority"])
		}
		found = append(found, named{path.Base(n.Path), priority, p})
	}
	slices.SortFunc(found, func(a, b named) int {
		if a.priority != b.priority {
			return b.priority - a.priority
		}
		return strings.Compare(b.name, a.name)
	})
	var profiles []pamProfile
	for _, f := range found {
		profiles = append(profiles, f.profile)
	}
	return profiles, nil
}

var pamField = regexp.MustCompile(`^(\S+):\s+(.*?)\s*$`)

func parsePAMProfile(text string) pamProfile {
	p := pamProfile{}
	field := ""
	for line := range strings.SplitSeq(text, "\n") {
		if m := pamField.FindStringSubmatch(line); m != nil {
			field = strings.TrimSuffix(m[1], "-Final")
			p[field] = m[2]
			continue
		}
		// "Auth:" alone on a line is followed by the lines of its list.
		if name, ok := strings.CutSuffix(strings.TrimRight(line, " \t"), ":"); ok && !strings.ContainsAny(name, " \t") {
			field = strings.TrimSuffix(name, "-Final")
			continue
		}
		if line = strings.TrimSpace(line); line != "" {
			p[field] = strings.TrimPrefix(p[field]+"\n"+line, "\n")
		}
	}
	if p["Session-Interactive-Only"] != "yes" {
		for _, suffix := range []string{"-Type", "", "-Initial"} {
			p["Session-noninteractive"+suffix] = p["Session"+suffix]
		}
	}
	return p
}

const (
	pamPrimary    = `# here are the per-package modules (the "Primary" block)`
	pamFallback   = `# here's the fallback if no module succeeds`
	pamAdditional = `# and here are more per-package modules (the "Additional" block)`
	pamEnd        = `# end of pam-auth-update config`
)

// fillPAM replaces the two marked blocks of a template.
func fillPAM(template, word, field string, profiles []pamProfile) (string, error) {
	head, rest, ok1 := strings.Cut(template, pamPrimary)
	_, rest, ok2 := strings.Cut(rest, pamFallback)
	middle, rest, ok3 := strings.Cut(rest, pamAdditional)
	_, tail, ok4 := strings.Cut(rest, pamEnd)
	if !ok1 || !ok2 || !ok3 || !ok4 {
		return "", fmt.Errorf("a marker of pam-auth-update is missing")
	}
	return head + pamPrimary + "\n" + pamBlock(profiles, word, field, "Primary") +
		pamFallback + middle + pamAdditional + "\n" + pamBlock(profiles, word, field, "Additional") +
		pamEnd + tail, nil
}

// pamBlock writes the modules of one block. "end" in a control field becomes the number of
// lines left in the block: a jump behind its end.
func pamBlock(profiles []pamProfile, word, field, block string) string {
	var modules []string
	position := 0
	for _, p := range profiles {
		if p[field+"-Type"] != block {
			continue
		}
		text := p[field]
		if initial := p[field+"-Initial"]; position == 0 && initial != "" {
			text = initial
		}
		position++
		if text != "" {
			modules = append(modules, strings.Split(text, "\n")...)
		}
	}
	left := len(modules)
	if block == "Additional" {
		left--
	} else if left == 0 {
		return word + "\t[default=1]\t\t\tpam_permit.so\n"
	}
	var b strings.Builder
	for i, m := range modules {
		b.WriteString(word + "\t" + pamLine(m, left-i) + "\n")
	}
	return b.String()
}

var pamModule = regexp.MustCompile(`^((?:\[[^\]]+\]|\w+)\s+\S+)\s*(.*)$`)

// pamLine fills in the jump of one line. The trailing blank after a module without options
// is as pam-auth-update writes it.
func pamLine(line string, jump int) string {
	m := pamModule.FindStringSubmatch(line)
	if m == nil {
		return line
	}
	control := strings.ReplaceAll(m[1], "end", strconv.Itoa(jump))
	return control + " " + strings.Join(strings.Fields(m[2]), " ")
}
