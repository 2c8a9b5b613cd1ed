package main

import (
	"strings"
	"testing"
	"time"

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

// TestImageAndSlotAreTold: what runs, since when it is out of date, and whether it is
// to be kept; an older image says less.
func TestImageAndSlotAreTold(t *testing.T) {
	now := time.Date(2026, 3, 11, 0, 0, 0, 0, time.UTC)
	made := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		said inquiry.Answer
		want string
	}{
		{inquiry.Answer{Slot: "a", Version: "v1"}, " a"},
		{inquiry.Answer{Slot: "a", Good: "a", Made: made}, "9 d a"},
		{inquiry.Answer{Slot: "b", Good: "a", Trial: "b", Tries: 2, Made: made}, "9 d b, on trial"},
		{inquiry.Answer{Slot: "a", Good: "a", Trial: "b", Tries: 3}, " a, next b"},
		{inquiry.Answer{Slot: "a", Good: "a", Trial: "b"}, " a, b failed"},
		{inquiry.Answer{Slot: "b", Good: "b", Trial: "b"}, " b"},
	} {
		if got := imageAge(c.said, now) + " " + slotWords(c.said); got != c.want {
			t.Errorf("%+v: %q, want %q", c.said, got, c.want)
		}
	}
	var silent strings.Builder
	if err := printRows(&silent, []roster.Row{{Node: "x", Notes: []string{"a note"}, Says: &inquiry.Answer{Silent: "Permission denied (publickey)"}}}); err != nil || !strings.Contains(silent.String(), "a note; not asked: Permission denied (publickey)") {
		t.Error(err, silent.String())
	}
	var out strings.Builder
	if err := printRows(&out, []roster.Row{{Node: "x", Says: &inquiry.Answer{Slot: "a", Version: "v1", Image: "2026.1"}}}); err != nil || !strings.Contains(out.String(), "IMAGE") || !strings.Contains(out.String(), "2026.1") {
		t.Error(err, out.String())
	}
}
