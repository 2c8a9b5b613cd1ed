package firstboot_test

import (
	"testing"

	"github.com/going-mobile/imagebuilder/firstboot"
	"github.com/going-mobile/imagebuilder/firstboot/contract"
)

// TestTheStageKeepsWhatOthersWrote, and is made where it is missing.
func TestTheStageKeepsWhatOthersWrote(t *testing.T) {
	for _, revision := range []string{"", "0xC03114"} {
		w := newWorld(t, initYAML)
		h := w.host()
		if revision != "" {
			w.put(firstboot.StageText, string(contract.Stage{Reached: "U-Boot starts slot a.", Revision: revision, UBoot: "2025.01", Kernel: "6.12"}.Encode()))
		}
		if err := h.Reached("The system runs."); err != nil {
			t.Fatal(err)
		}
		got := contract.ParseStage([]byte(w.text(firstboot.StageText)))
		if got.Reached != "The system runs." || got.Revision != revision || (got.UBoot == "2025.01") != (revision != "") || len(w.text(firstboot.StageText)) != contract.StageSize {
			t.Errorf("%+v", got)
		}
	}
}
