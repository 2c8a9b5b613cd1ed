package firstboot_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot"
)

const announces = "/run/systemd/resolved.conf.d/20-imagebuilder-page.conf"

// paged lives for a while and tells, by state, whether the page was there.
func (w *world) paged(d time.Duration) (last firstboot.Status, shown map[firstboot.State]bool) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	h := w.host()
	h.Clock = until{clockWorld{w}, w.now.Add(d), cancel}
	shown = map[firstboot.State]bool{}
	err := firstboot.Run(ctx, h, firstboot.Options{}, func(s firstboot.Status) {
		last = s
		shown[s.State] = shown[s.State] || w.files[firstboot.PageFile] != nil
		if (w.files[firstboot.PageFile] != nil) != (w.files[announces] != nil) {
			w.t.Errorf("page and announcement differ at %s", s.Line())
		}
	})
	if !errors.Is(err, context.Canceled) {
		w.t.Error(err)
	}
	return last, shown
}

// TestPageComesAndGoes: the page is there until the node has joined and a
// little longer, again when it needs a person, and never where it is off.
func TestPageComesAndGoes(t *testing.T) {
	w := newWorld(t, initYAML)
	w.endless = true
	s, shown := w.paged(30 * time.Second)
	if s.State != firstboot.Joined || !shown[firstboot.Working] || !shown[firstboot.Joined] {
		t.Errorf("%s: %v", s.Line(), shown)
	}
	if w.paged(2 * time.Minute); w.files[firstboot.PageFile] != nil || w.files[announces] != nil {
		t.Error("the page of a node that has joined stays")
	}
	w.reboot()
	if s, shown = w.paged(time.Minute); s.State != firstboot.Joined || shown[firstboot.Working] || shown[firstboot.Joined] {
		t.Errorf("a member that is switched on: %s: %v", s.Line(), shown)
	}
	w.reboot()
	w.haveKey, w.running = false, false
	if s, _ = w.paged(time.Minute); s.State != firstboot.NeedsPerson || w.files[firstboot.PageFile] == nil {
		t.Errorf("a member that needs a person has no page: %s", s.Line())
	}
	rules := `add element inet imagebuilder lan { tcp . 80 }
add element inet imagebuilder lan { udp . 5353 }
`
	if text := w.text(firstboot.PageFile); !strings.HasPrefix(text, rules) || strings.Count(text, "add element") != 2 {
		t.Errorf("the page opens\n%s", text)
	}
	off := newWorld(t, initYAML+"page: off\n")
	off.endless = true
	off.spent["hskey-auth-first"] = true
	if s, shown = off.paged(time.Minute); s.State != firstboot.NeedsPerson || shown[firstboot.Working] || shown[firstboot.NeedsPerson] {
		t.Errorf("page: off: %s: %v", s.Line(), shown)
	}
}

// TestPageStandsInNobodysWay: a node joins without its page, and says so.
func TestPageStandsInNobodysWay(t *testing.T) {
	w := newWorld(t, initYAML)
	w.fault = func(_ int, name string) fault {
		if name == "run systemctl" {
			return before
		}
		return none
	}
	if s, _ := w.boot(needsPerson); s.State != firstboot.Joined || s.Notice == nil || s.Notice.Code != "page" {
		t.Error(s.Line())
	}
}

// TestGuardOpensThePage while it is shown, and closes it again.
func TestGuardOpensThePage(t *testing.T) {
	w := newWorld(t, initYAML)
	closed := func() []string { w.guard(time.Minute); return strings.Split(w.nft, "\n") }()
	w.put(firstboot.PageFile, "page\n")
	if w.guard(time.Minute); !slices.Contains(strings.Split(w.nft, "\n"), "page") {
		t.Errorf("the page is shut:\n%s", w.nft)
	}
	delete(w.files, firstboot.PageFile)
	if w.guard(time.Minute); !slices.Equal(strings.Split(w.nft, "\n"), closed) {
		t.Errorf("the page stays open:\n%s", w.nft)
	}
}
