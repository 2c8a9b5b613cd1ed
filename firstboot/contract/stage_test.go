package contract

import (
	"strings"
	"testing"
)

func TestAStageIsOneSectorWhateverIsInIt(t *testing.T) {
	for _, s := range []Stage{
		{},
		{Reached: "It was never started."},
		{Reached: "The system runs.", Revision: "0xC03114", UBoot: "2025.01-3+deb13u1", Kernel: "6.12.57+deb13-arm64"},
	} {
		data := s.Encode()
		if len(data) != StageSize {
			t.Errorf("%+v: %d bytes", s, len(data))
		}
		if got := ParseStage(data); got != s {
			t.Errorf("%+v became %+v", s, got)
		}
	}
	// What does not fit is left out, line by line; nothing grows the file, and
	// nothing can forge another line.
	long := Stage{Reached: "first\nrevision=forged", Revision: strings.Repeat("x", 600), Kernel: "6.12"}
	if got := ParseStage(long.Encode()); len(long.Encode()) != StageSize || got != (Stage{Reached: "first revision=forged", Kernel: "6.12"}) {
		t.Errorf("%d bytes, %+v", len(long.Encode()), got)
	}
}

// TestAStageOfUBoot: sorted by name, zeros behind it (U-Boot's env export -t -s).
func TestAStageOfUBoot(t *testing.T) {
	text := "revision=0xC03114\nstage=U-Boot starts slot a.\nuboot=2025.01-3\n\x00\x00kernel=no"
	want := Stage{Reached: "U-Boot starts slot a.", Revision: "0xC03114", UBoot: "2025.01-3"}
	if got := ParseStage([]byte(text)); got != want {
		t.Errorf("%+v", got)
	}
}

func FuzzParseStage(f *testing.F) {
	f.Add([]byte("stage=x\nkernel=\x1b[2J\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		s := ParseStage(data)
		if again := ParseStage(s.Encode()); len(s.Encode()) != StageSize || len(data) < 300 && again != s {
			t.Errorf("%+v became %+v", s, again)
		}
	})
}
