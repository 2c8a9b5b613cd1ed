package gate

import (
	"path"
	"regexp"
	"slices"
	"strings"
)

// Script is a maintainer script taken apart.
type Script struct {
	// Interpreter is the base name of the program in the "#!" line, such as "sh", "bash" or
	// "perl"; "" without such a line.
	Interpreter string
	// Blocks are the sections that debhelper added, without their begin and end marks.
	Blocks []Block
	// Body is what the package's maintainer wrote, one command per line, without comments,
	// indentation and lines that have no effect. It is empty if nothing is left. A script
	// in another language than shell is kept whole.
	Body string
}

// Block is one section that a debhelper tool added.
type Block struct {
	Tool string // "dh_installsystemd"
	Body string // normalised like a Script's Body
}

var (
	blockBegin = regexp.MustCompile(`^# Automatically added by ([a-z0-9_]+)`) // debhelper's Dh_Lib.pm, autoscript
	blockEnd   = "# End automatically added section"
)

// Parse takes a script apart. It accepts any text.
func Parse(text string) Script {
	text = strings.ReplaceAll(text, "\r\n", "\n")
	s := Script{Interpreter: interpreter(text)}
	if !isShell(s.Interpreter) {
		s.Body = strings.TrimSpace(text)
		return s
	}
	rest, blocks := splitBlocks(text)
	for _, b := range blocks {
		b.Body = strings.Join(commands(b.Body), "\n")
		if b.Body != "" {
			s.Blocks = append(s.Blocks, b)
		}
	}
	s.Body = strings.Join(dropBoilerplate(commands(rest)), "\n")
	return s
}

// interpreter returns the base name of the program in the first line; env(1) is skipped.
func interpreter(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	if !strings.HasPrefix(line, "#!") {
		return ""
	}
	words := strings.Fields(line[2:])
	for i, w := range words {
		if base := path.Base(w); base != "env" || i == len(words)-1 {
			return base
		}
	}
	return ""
}

func isShell(name string) bool { return name == "sh" || name == "bash" || name == "dash" }

// splitBlocks separates debhelper's sections from the rest. A section without an end mark
// stays in the rest.
func splitBlocks(text string) (rest string, blocks []Block) {
	lines := strings.Split(text, "\n")
	var kept []string
	for i := 0; i < len(lines); i++ {
		m := blockBegin.FindStringSubmatch(lines[i])
		end := -1
		if m != nil {
			end = indexFrom(lines, i+1, blockEnd)
		}
		if end < 0 {
			kept = append(kept, lines[i])
			continue
		}
		blocks = append(blocks, Block{Tool: m[1], Body: strings.Join(lines[i+1:end], "\n")})
		i = end
	}
	return strings.Join(kept, "\n"), blocks
}

func indexFrom(lines []string, from int, want string) int {
	for i := from; i < len(lines); i++ {
		if lines[i] == want {
			return i
		}
	}
	return -1
}

// commands returns the lines of a shell script without comments, blank lines and
// indentation. In here documents and quoted strings, which are data, every line is kept
// unchanged.
func commands(text string) []string {
	var out []string
	var lex lexer
	for line := range strings.SplitSeq(text, "\n") {
		if lex.inData() {
			out = append(out, line)
			lex.line(line)
			continue
		}
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		out = append(out, line)
		lex.line(line)
	}
	return out
}

// lexer knows, between two lines of a shell script, whether the next line is code or part
// of a quoted string or here document. Nesting that it does not understand ("$(…"…"…)" over
// several lines) it rather takes for code. At worst a line that looks like a comment is
// dropped then, as it also was when the text was recorded.
type lexer struct {
	quote   byte // ' or " if a string is open
	heredoc []heredoc
}

type heredoc struct {
	word string
	tabs bool // <<-
}

func (l *lexer) inData() bool { return l.quote != 0 || len(l.heredoc) > 0 }

func (l *lexer) line(s string) {
	if l.quote == 0 && len(l.heredoc) > 0 {
		if l.heredoc[0].tabs {
			s = strings.TrimLeft(s, "\t")
		}
		if s == l.heredoc[0].word {
			l.heredoc = l.heredoc[1:]
		}
		return
	}
	l.code(s)
}

func (l *lexer) code(s string) {
	var opened []heredoc
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case l.quote == '\'':
			if c == '\'' {
				l.quote = 0
			}
		case c == '\\':
			i++
		case l.quote == '"':
			if c == '"' {
				l.quote = 0
			}
		case c == '\'' || c == '"':
			l.quote = c
		case c == '#' && (i == 0 || strings.IndexByte(" \t;", s[i-1]) >= 0):
			l.heredoc = append(l.heredoc, opened...)
			return
		case c == '<' && strings.HasPrefix(s[i:], "<<") && !strings.HasPrefix(s[i:], "<<<"):
			h, n := parseHeredoc(s[i:])
			if h.word != "" {
				opened = append(opened, h)
			}
			i += n - 1
		}
	}
	l.heredoc = append(l.heredoc, opened...)
}

var heredocPattern = regexp.MustCompile(`^<<(-?)[ \t]*(?:'([^']+)'|"([^"]+)"|\\?([A-Za-z0-9_!.%+-]+))`)

// parseHeredoc parses "<<EOF" at the start of s and returns the length of that operator.
func parseHeredoc(s string) (heredoc, int) {
	m := heredocPattern.FindStringSubmatch(s)
	if m == nil {
		return heredoc{}, 2
	}
	return heredoc{word: m[2] + m[3] + m[4], tabs: m[1] == "-"}, len(m[0])
}

var (
	// idleLine matches lines that never have an effect.
	idleLine = regexp.MustCompile(`^set [-+][eu]+$`)
	// upgradeHelper matches calls of dpkg-maintscript-helper(1), which acts on upgrades
	// only: on a first installation, its prior-version test fails and there is no old file.
	upgradeHelper = regexp.MustCompile(`^dpkg-maintscript-helper (rm_conffile|mv_conffile|symlink_to_dir|dir_to_symlink) [A-Za-z0-9_/.,:=@%~\\ +-]+ -- "\$@"$`)

	// idleAlone matches lines that have no effect if there are no others, such as loading a
	// library whose functions nobody calls.
	idleAlone = regexp.MustCompile(`^(:|true|exit 0|\. /usr/share/debconf/confmodule|db_version 2\.0|db_stop)$`)

	caseBegin   = regexp.MustCompile(`^case "?(\$1|\$\{1\}|\$\{1:-\})"? in$`)
	caseArm     = regexp.MustCompile(`^\(?[a-z*|\\ -]+\)\s*(;;)?$`)
	caseComment = regexp.MustCompile("^echo (?:[^;&|`]|\\\\`)*(?:called with|unknown|unsupported)(?:[^;&|`]|\\\\`)*>&2( *;;)?$")
	caseIdle    = regexp.MustCompile(`^(;;|:|exit [01]|exit [01] *;;)$`)
)

// dropBoilerplate removes lines that have no effect.
func dropBoilerplate(lines []string) []string {
	var out []string
	for i := 0; i < len(lines); i++ {
		if n := idleCase(lines[i:]); n > 0 {
			i += n - 1
			continue
		}
		if !idleLine.MatchString(lines[i]) && !upgradeHelper.MatchString(lines[i]) {
			out = append(out, lines[i])
		}
	}
	if !slices.ContainsFunc(out, func(l string) bool { return !idleAlone.MatchString(l) }) {
		return nil
	}
	for out[len(out)-1] == "exit 0" {
		out = out[:len(out)-1]
	}
	return out
}

// idleCase returns the number of lines of a case statement at the start of lines that only
// checks the script's first argument: its arms do nothing, or refuse an argument that dpkg
// never passes. It returns 0 if there is no such statement.
func idleCase(lines []string) int {
	if !caseBegin.MatchString(lines[0]) {
		return 0
	}
	for i := 1; i < len(lines); i++ {
		l := lines[i]
		switch {
		case l == "esac":
			return i + 1
		case !caseArm.MatchString(l) && !caseComment.MatchString(l) && !caseIdle.MatchString(l):
			return 0
		}
	}
	return 0
}
