package gate

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
)

func newRecording(pkg, version, script, body string) recording {
	r := recording{pkg: pkg, script: script, version: version, whole: sha256.Sum256([]byte(body))}
	for line := range strings.SplitSeq(body, "\n") {
		r.lines = append(r.lines, digestLine(line))
	}
	return r
}

// recordedHead explains recorded.txt to whoever opens it.
const recordedHead = `# The scripts that models.yaml is about, as digests; TestRecord writes them, see
# README.md. PACKAGE SCRIPT VERSION and the SHA-256 of what is left of the script
# once comments, idle lines and debhelper's blocks are gone. Below it, indented,
# the first 8 bytes of the SHA-256 of each of its lines.
`

// perRow is the number of line digests in a row of recorded.txt.
const perRow = 8

// formatRecordings writes what parseRecordings reads, sorted by package,
// script, version and, as architectures differ, digest.
func formatRecordings(rs []recording) string {
	rs = slices.Clone(rs)
	slices.SortFunc(rs, func(a, b recording) int {
		return slices.Compare([]string{a.pkg, a.script, a.version, string(a.whole[:])}, []string{b.pkg, b.script, b.version, string(b.whole[:])})
	})
	var b strings.Builder
	b.WriteString(recordedHead)
	for _, r := range rs {
		fmt.Fprintf(&b, "%s %s %s %x\n", r.pkg, r.script, r.version, r.whole)
		for row := range slices.Chunk(r.lines, perRow) {
			sep := "\t"
			for _, l := range row {
				fmt.Fprintf(&b, "%s%x", sep, l)
				sep = " "
			}
			b.WriteByte('\n')
		}
	}
	return b.String()
}
