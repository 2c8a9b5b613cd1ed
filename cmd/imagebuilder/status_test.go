package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spf13/cobra"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
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
		{Node: "ill", Doctor: &inquiry.Examination{Findings: []contract.Finding{{Group: "Backups", Check: "volumes' bucket answers", Verdict: "warning", Detail: "no such bucket"}}}},
	} {
		printDoctor(&out, r)
	}
	want := "\nold was not examined: no answer in time\n\nwell: its doctor found nothing\n\nill\n  warning  Backups: volumes' bucket answers: no such bucket\n"
	if out.String() != want {
		t.Errorf("%q\nwant %q", out.String(), want)
	}
}

// TestWatchOutlivesAFault: after the first success, --watch prints an error once, and tries
// again until it is interrupted. Before that, and without --watch, an error ends it.
func TestWatchOutlivesAFault(t *testing.T) {
	fault := errors.New("Headscale does not answer")
	for _, c := range []struct {
		watch        bool
		seen         []any
		out, told    string
		end          error
		looks, until int
	}{
		{true, []any{"one\n", fault, fault, "one\n", "two\n", fault, "two\n"}, "one\ntwo\n", strings.Repeat("Headscale does not answer (looking again)\n", 2), context.Canceled, 7, 7},
		{true, []any{"one\n", fault, fault}, "one\n", "Headscale does not answer (looking again)\n", context.Canceled, 2, 2},
		{true, []any{fault, "one\n"}, "", "", fault, 1, 9},
		{false, []any{fault}, "", "", fault, 1, 9},
		{false, []any{"one\n"}, "one\n", "", nil, 1, 9},
	} {
		synctest.Test(t, func(t *testing.T) {
			ctx, interrupt := context.WithCancel(t.Context())
			defer interrupt()
			var out, told bytes.Buffer
			cmd := &cobra.Command{}
			cmd.SetContext(ctx)
			cmd.SetOut(&out)
			cmd.SetErr(&told)
			looks := 0
			err := (&statusFlags{watch: c.watch}).follow(cmd, func() (string, error) {
				looks++
				if looks == c.until {
					time.AfterFunc(time.Second, interrupt)
				}
				if fault, ok := c.seen[looks-1].(error); ok {
					return "", fault
				}
				return fmt.Sprint(c.seen[looks-1]), nil
			})
			if !errors.Is(err, c.end) || looks != c.looks || out.String() != c.out || told.String() != c.told {
				t.Errorf("%v: %v after %d looks, %q, %q", c.seen, err, looks, &out, &told)
			}
		})
	}
}

// TestImageAndSlotAreTold: the running version, the age of the image, and whether it is
// kept; an older image reports less.
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
