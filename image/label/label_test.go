package label

import (
	"bytes"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/boards"
	"github.com/going-mobile/imagebuilder/image/board"
)

func of(t *testing.T, node, boardName string) Label {
	t.Helper()
	b, err := board.Load(boardName, boards.FS)
	if err != nil {
		t.Fatal(err)
	}
	return Label{Node: node, Site: "cabin", Board: b, Contact: "Zoë Müller-Łuczak, Αθήνα\n+351 912 345 678", Page: true}
}

// tool runs an independent reader of what we write.
func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	var stderr bytes.Buffer
	cmd := exec.Command(name, args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v; run make deps\n%s", name, err, stderr.Bytes())
	}
	return string(out)
}

func printed(t *testing.T, size Size, labels ...Label) string {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, size, labels); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "label.pdf")
	if err := os.WriteFile(name, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}

// TestTheCodeLeadsToTheNode, as a reader sees it on paper.
func TestTheCodeLeadsToTheNode(t *testing.T) {
	longest := strings.Repeat("a", 63)
	for _, size := range []Size{A6, Roll} {
		for _, name := range []string{"optiplex-7050", "rpi4"} {
			pdf := printed(t, size, of(t, "cabin-pi", name), of(t, longest, name))
			tool(t, "pdftoppm", "-r", "170", "-gray", "-png", pdf, pdf)
			for page, node := range []string{"cabin-pi", longest} {
				png := pdf + "-" + string(rune('1'+page)) + ".png"
				if got := tool(t, "zbarimg", "-q", "--raw", "--nodbus", png); got != "http://"+node+".local\n" {
					t.Errorf("%s, %s: the code says %q", size.name, name, got)
				}
			}
		}
	}
}

// TestAllIsOnIt: all texts are on the label, letters of other languages included, with their
// fonts embedded, on the requested paper.
func TestAllIsOnIt(t *testing.T) {
	for _, size := range []Size{A6, Roll} {
		pdf := printed(t, size, of(t, "cabin-pi", "rpi4"))
		text := strings.Join(strings.Fields(tool(t, "pdftotext", "-layout", pdf, "-")), " ")
		for _, want := range []string{"cabin-pi", "cabin — Raspberry Pi 4", "Zoë Müller-Łuczak, Αθήνα", "+351 912 345 678", "router", "PWR", "Trouble?"} {
			if !strings.Contains(text, want) {
				t.Errorf("%s lacks %q: %s", size.name, want, text)
			}
		}
		if n := strings.Count(tool(t, "pdffonts", pdf), "yes no  yes"); n != 2 {
			t.Errorf("%s: %d fonts are embedded", size.name, n)
		}
		info := tool(t, "pdfinfo", pdf)
		if size == A6 && !strings.Contains(info, "297.64 x 419.53 pts") || size == Roll && !strings.Contains(info, "175.75 x ") {
			t.Errorf("%s: %s", size.name, info)
		}
	}
}

// TestEveryLanguageSaysAll: every text of our boards' labels has a translation, and fits.
func TestEveryLanguageSaysAll(t *testing.T) {
	all := []string{plugIn, lightsMean, howFar, scanWith, trouble}
	all = append(all, board.LEDColors...)
	var labels []Label
	for _, name := range board.Names(boards.FS) {
		l := of(t, "cabin-pi", name)
		labels = append(labels, l)
		for _, text := range texts(&l.Board.Label) {
			all = append(all, *text)
		}
	}
	acronyms := []string{"", "PWR", "ACT"} // as they are printed on the board
	for _, tag := range Tags[1:] {
		l, err := ParseLanguage(tag)
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range all {
			said, ok := l[text]
			if !ok && !slices.Contains(acronyms, text) || strings.Count(said, "%s") != strings.Count(text, "%s") && ok {
				t.Errorf("%s: %q is %q", tag, text, said)
			}
		}
		for text := range l {
			if !slices.Contains(all, text) {
				t.Errorf("%s: nobody says %q", tag, text)
			}
		}
		for i := range labels {
			labels[i].Language = l
		}
		for _, size := range []Size{A6, Roll} {
			if err := Write(io.Discard, size, labels); err != nil {
				t.Errorf("%s: %v", tag, err)
			}
		}
	}
	if _, err := ParseLanguage("tlh"); err == nil || len(languages) != len(Tags) {
		t.Errorf("%d languages, %d tags: %v", len(languages), len(Tags), err)
	}
}

// TestInTheirLanguage: what a reader of the paper sees.
func TestInTheirLanguage(t *testing.T) {
	l := of(t, "cabin-pi", "rpi4")
	l.Language = french
	text := strings.Join(strings.Fields(tool(t, "pdftotext", "-layout", printed(t, A6, l), "-")), " ")
	for _, want := range []string{"Brancher, dans cet ordre", "Un câble réseau.", "PWR, rouge.", "Un problème ? Appelez", "ouvrez http://cabin-pi.local"} {
		if !strings.Contains(text, want) {
			t.Errorf("it lacks %q: %s", want, text)
		}
	}
	if l.Board.Label.Plug[0].What[:3] != "The" {
		t.Error("the board itself was translated")
	}
}

// TestNoPageIsPromised where the node shows none.
func TestNoPageIsPromised(t *testing.T) {
	l := of(t, "cabin-pi", "rpi4")
	l.Page = false
	text := tool(t, "pdftotext", "-layout", printed(t, A6, l), "-")
	if strings.Contains(text, "http://") || strings.Contains(text, "Scan") || !strings.Contains(text, "+351 912 345 678") {
		t.Error(text)
	}
}

func TestTheSameLabelIsTheSameBytes(t *testing.T) {
	labels := []Label{of(t, "cabin-pi", "rpi4"), of(t, "cabin-box", "optiplex-7050")}
	var first, second bytes.Buffer
	if err := Write(&first, Roll, labels); err != nil {
		t.Fatal(err)
	}
	if err := Write(&second, Roll, labels); err != nil || !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Errorf("two runs differ: %v", err)
	}
	if !bytes.Contains(first.Bytes(), []byte("(D:19700101000000")) {
		t.Error("the time of printing is in it")
	}
}

func TestEverySocketAndColorCanBeDrawn(t *testing.T) {
	if have := slices.Sorted(maps.Keys(shapes)); !slices.Equal(have, board.SocketKinds) {
		t.Errorf("shapes %v, sockets %v", have, board.SocketKinds)
	}
	if have := slices.Sorted(maps.Keys(colors)); !slices.Equal(have, board.LEDColors) {
		t.Errorf("colors %v, lights %v", have, board.LEDColors)
	}
}

// TestNoLabelThatCannotBeRead is printed.
func TestNoLabelThatCannotBeRead(t *testing.T) {
	foreign, long := of(t, "a", "rpi4"), of(t, "b", "rpi4")
	foreign.Contact = "山田"
	long.Contact = strings.Repeat("somebody else\n", 30)
	for _, c := range []struct {
		label Label
		want  string
	}{
		{foreign, `a: its label would lack '山'`},
		{long, "b: its label does not fit on a6"},
	} {
		if err := Write(io.Discard, A6, []Label{c.label}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %q", err, c.want)
		}
	}
	if err := Write(io.Discard, Roll, []Label{long}); err != nil {
		t.Errorf("a roll is long enough: %v", err)
	}
}
