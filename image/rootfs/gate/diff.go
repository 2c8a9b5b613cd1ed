package gate

import (
	"fmt"
	"strings"
)

const (
	// around is the number of unchanged lines shown around a change.
	around = 2
	// maxCompared is the number of lines beyond which a script is not compared line by
	// line: the time and memory of the comparison grow with the square.
	maxCompared = 5000
)

// row is one line of a difference.
type row struct {
	sign byte   // '+' added, '-' removed, ' ' unchanged
	text string // of the line; empty for a removed line, of which only the digest is recorded
	at   int    // for a removed line: the number of recorded lines before it
}

// nearest is the difference between body and the recording that has most lines in common
// with it. It shows added lines; of removed lines it can show only the place.
func nearest(recorded []recording, body string) string {
	lines := strings.Split(body, "\n")
	if len(lines) > maxCompared {
		return fmt.Sprintf("  its %d lines are too many to compare\n", len(lines))
	}
	var best []row
	var from recording
	for _, r := range recorded {
		if rows := compare(r.lines, lines); best == nil || changes(rows) < changes(best) {
			best, from = rows, r
		}
	}
	return fmt.Sprintf("- recorded from version %s\n+ this one\n%s", from.version, render(best))
}

// compare aligns the lines along their longest common subsequence.
func compare(old []lineDigest, lines []string) []row {
	digests := make([]lineDigest, len(lines))
	for i, l := range lines {
		digests[i] = digestLine(l)
	}
	common := commonLengths(old, digests)
	var rows []row
	i, j := 0, 0
	for i < len(old) || j < len(lines) {
		switch {
		case i < len(old) && j < len(lines) && old[i] == digests[j]:
			rows = append(rows, row{sign: ' ', text: lines[j]})
			i, j = i+1, j+1
		case j == len(lines) || i < len(old) && common[i+1][j] >= common[i][j+1]:
			rows = append(rows, row{sign: '-', at: i})
			i++
		default:
			rows = append(rows, row{sign: '+', text: lines[j]})
			j++
		}
	}
	return rows
}

// commonLengths returns, for every pair of positions, the length of the longest common
// subsequence of the lines from there to the ends.
func commonLengths(a, b []lineDigest) [][]int32 {
	table := make([][]int32, len(a)+1)
	for i := range table {
		table[i] = make([]int32, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if a[i] == b[j] {
				table[i][j] = table[i+1][j+1] + 1
			} else {
				table[i][j] = max(table[i+1][j], table[i][j+1])
			}
		}
	}
	return table
}

func changes(rows []row) int {
	n := 0
	for _, r := range rows {
		if r.sign != ' ' {
			n++
		}
	}
	return n
}

// render writes the changes with a few of the lines around them.
func render(rows []row) string {
	var b strings.Builder
	skipped := false
	for i := 0; i < len(rows); i++ {
		switch r := rows[i]; {
		case r.sign == '-':
			n := run(rows[i:])
			fmt.Fprintf(&b, "- %s after line %d of the recorded script\n", count(n), r.at)
			i += n - 1
		case r.sign == '+' || nearChange(rows, i):
			fmt.Fprintf(&b, "%c %s\n", r.sign, r.text)
		default:
			if !skipped {
				b.WriteString("  …\n")
			}
			skipped = true
			continue
		}
		skipped = false
	}
	return b.String()
}

// run is the number of removed lines at the start of rows.
func run(rows []row) int {
	n := 0
	for n < len(rows) && rows[n].sign == '-' {
		n++
	}
	return n
}

func nearChange(rows []row, i int) bool {
	return changes(rows[max(0, i-around):min(len(rows), i+around+1)]) > 0
}

func count(n int) string {
	if n == 1 {
		return "1 line"
	}
	return fmt.Sprintf("%d lines", n)
}
