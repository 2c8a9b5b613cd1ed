//go:build oracle

package hardware

import (
	"bufio"
	"compress/gzip"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/image/apt"
)

var write = flag.Bool("write", false, "write firmware.txt anew")

// contents are the indexes with firmware, below a suite's directory.
var contents = []string{"main/Contents-all.gz", "main/Contents-amd64.gz", "non-free-firmware/Contents-all.gz", "non-free-firmware/Contents-amd64.gz", "non-free-firmware/Contents-arm64.gz"}

// alternatives are links that a package's postinst makes: no index has them.
var alternatives = map[string]string{"regulatory.db": "wireless-regdb", "regulatory.db.p7s": "wireless-regdb"}

// TestOracleFirmware: the table says what Debian's archive says, no more and no less.
func TestOracleFirmware(t *testing.T) {
	mirrors, err := apt.HostMirrors("amd64", "trixie")
	if err != nil || len(mirrors.Archive) == 0 {
		t.Fatalf("the host's apt knows no mirror of Debian: %v", err)
	}
	files := maps.Clone(alternatives)
	for _, name := range contents {
		if err := readContents(mirrors.Archive[0]+"dists/trixie/"+name, files); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	if len(files) < 4000 {
		t.Fatalf("Debian has %d files of firmware?", len(files))
	}
	want := table(files)
	if *write {
		if err := os.WriteFile("firmware.txt", []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if want != firmwareText {
		t.Error("firmware.txt is not what Debian's archive says; write it anew, see firmware.go")
	}
	for file, pkg := range files {
		if got := firmwarePackage(file); got != pkg {
			t.Errorf("%s is said to be in %q, and is in %s", file, got, pkg)
		}
	}
}

// readContents adds what a Contents index has below /usr/lib/firmware: a path, and
// "section/package" of those that have it ("Debian Repository Format", Contents
// indices). Of several it takes the first.
func readContents(url string, files map[string]string) error {
	res, err := http.Get(url)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s", res.Status)
	}
	plain, err := gzip.NewReader(res.Body)
	if err != nil {
		return err
	}
	lines := bufio.NewReader(plain)
	for {
		line, err := lines.ReadString('\n')
		if at := strings.LastIndexByte(strings.TrimRight(line, " \n"), ' '); at > 0 {
			name := strings.TrimPrefix(strings.TrimSpace(line[:at]), "usr/")
			if rest, ok := strings.CutPrefix(name, "lib/firmware/"); ok {
				first, _, _ := strings.Cut(strings.TrimSpace(line[at:]), ",")
				files[rest] = first[strings.LastIndexByte(first, '/')+1:]
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// table has one line for a directory whose files are all of one package, and else one line per
// file.
func table(files map[string]string) string {
	of := map[string]string{} // by directory, "" where there are several
	for file, pkg := range files {
		for dir := range parents(file) {
			if have, ok := of[dir]; ok && have != pkg {
				pkg = ""
			}
			of[dir] = pkg
		}
	}
	lines := map[string]string{}
	for file, pkg := range files {
		name := file
		for dir := range parents(file) { // from the longest to the shortest
			if of[dir] != "" {
				name = dir
			}
		}
		lines[name] = pkg
	}
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(lines)) {
		fmt.Fprintf(&b, "%s\t%s\n", name, lines[name])
	}
	return b.String()
}

// parents are the directories over a file, each with its slash.
func parents(file string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for at := strings.LastIndexByte(file, '/'); at > 0; at = strings.LastIndexByte(file[:at], '/') {
			if !yield(file[:at+1]) {
				return
			}
		}
	}
}
