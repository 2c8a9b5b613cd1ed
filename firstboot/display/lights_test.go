package display

import (
	"slices"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/boards"
	"github.com/going-mobile/imagebuilder/firstboot"
	"github.com/going-mobile/imagebuilder/image/board"
	"github.com/going-mobile/imagebuilder/image/overlay"
	"github.com/going-mobile/imagebuilder/overlays"
)

// looks are what a person sees of a trigger, and meanings what a state is to them, both in
// the words of the label that lies in the box.
var (
	looks    = map[string]string{"heartbeat": "Beats like a heart", "timer": "Blinks fast", "none": "Steady"}
	meanings = map[firstboot.State]string{firstboot.Working: "it works", firstboot.Waiting: "or waits", firstboot.NeedsPerson: "it needs you", firstboot.Joined: "done"}
)

// compiledIn are the triggers of Debian's kernel for arm64 that are no modules: its config
// has LEDS_TRIGGER_HEARTBEAT=y, and TIMER=m (6.12.118+deb13). "none" is no trigger.
// TestTheLightCanBlink of image/e2e asks the kernel of each image.
var compiledIn = []string{"heartbeat", "none"}

func pis(t *testing.T) (out []*board.Board) {
	t.Helper()
	for _, name := range board.Names(boards.FS) {
		b, err := board.Load(name, boards.FS)
		if err != nil {
			t.Fatal(err)
		}
		if b.Firmware == board.RaspberryPi {
			out = append(out, b)
		}
	}
	if len(out) < 3 {
		t.Fatalf("%d boards are Pis", len(out))
	}
	return out
}

// TestTheLabelSaysWhatTheLightDoes: all that a helper at the far site knows of the light
// stands on the paper in the box.
func TestTheLabelSaysWhatTheLightDoes(t *testing.T) {
	if len(lights) != len(meanings) {
		t.Errorf("%d states have a light, %d a meaning", len(lights), len(meanings))
	}
	for _, b := range pis(t) {
		at := slices.IndexFunc(b.Label.LEDs, func(l board.LED) bool { return strings.Contains(l.Means, looks["heartbeat"]) })
		if at < 0 {
			t.Errorf("%s: the label tells nothing of the light", b.Name)
			continue
		}
		said := map[string]string{}
		for sentence := range strings.SplitSeq(strings.TrimSuffix(b.Label.LEDs[at].Means, "."), ". ") {
			look, meaning, _ := strings.Cut(sentence, ": ")
			said[look] = meaning
		}
		for state, sets := range lights {
			if look := looks[sets[0][1]]; meanings[state] == "" || !strings.Contains(said[look], meanings[state]) {
				t.Errorf("%s: the light of %v is %v, and the label says of that %q", b.Name, state, sets, said[look])
			}
		}
	}
}

// TestEachTriggerIsThere when its name is written: nothing loads it then.
func TestEachTriggerIsThere(t *testing.T) {
	for _, b := range pis(t) {
		var loaded []string
		all, err := overlay.LoadAll(overlays.FS, b.Overlays)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range all {
			loaded = append(loaded, o.ModulesLoad...)
		}
		for state, sets := range lights {
			if trigger := sets[0][1]; !slices.Contains(compiledIn, trigger) && !slices.Contains(loaded, "ledtrig-"+trigger) {
				t.Errorf("%s: of the light of %v, ledtrig-%s is not loaded", b.Name, state, trigger)
			}
		}
	}
}
