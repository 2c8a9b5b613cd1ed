package firstboot

import "github.com/going-mobile/imagebuilder/firstboot/contract"

// StageText is contract.StageFile of a node.
const StageText = bootDir + "/" + contract.StageFile

// Reached writes to StageText how far this start came. What the boot loader and
// the initramfs wrote of themselves stays.
func (h *Host) Reached(words string) error {
	old, err := h.read(StageText)
	if err != nil {
		old = nil // an image of before; or a card that somebody tidied
	}
	stage := contract.ParseStage(old)
	stage.Reached = words
	return Lay(h.Files, StageText, stage.Encode())
}
