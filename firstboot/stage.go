package firstboot

import "github.com/going-mobile/imagebuilder/firstboot/contract"

// StageText is the path of contract.StageFile on a node.
const StageText = bootDir + "/" + contract.StageFile

// Reached writes to StageText how far this boot has come. It keeps what the
// boot loader and the initramfs wrote about themselves.
func (h *Host) Reached(words string) error {
	old, err := h.read(StageText)
	if err != nil {
		old = nil // an older image had no such file, or somebody removed it
	}
	stage := contract.ParseStage(old)
	stage.Reached = words
	return Lay(h.Files, StageText, stage.Encode())
}
