package main

import (
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/image/inquiry"
	"github.com/going-mobile/imagebuilder/image/roster"
)

// TestWhatDoctorsFoundIsTold, of each node that was asked.
func TestWhatDoctorsFoundIsTold(t *testing.T) {
	var out strings.Builder
	for _, r := range []roster.Row{
		{Node: "away"},
		{Node: "old", Doctor: &inquiry.Examination{Silent: "no answer in time"}},
		{Node: "well", Doctor: &inquiry.Examination{}},
		{Node: "ill", Doctor: &inquiry.Examination{Findings: []inquiry.Finding{{Group: "Backups", Check: "volumes' bucket answers", Verdict: "warning", Detail: "no such bucket"}}}},
	} {
		printDoctor(&out, r)
	}
	want := "\nold was not examined: no answer in time\n\nwell: its doctor found nothing\n\nill\n  warning  Backups: volumes' bucket answers: no such bucket\n"
	if out.String() != want {
		t.Errorf("%q\nwant %q", out.String(), want)
	}
}
