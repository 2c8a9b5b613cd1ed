package guest

import "github.com/going-mobile/imagebuilder/image/qemu"

// Screenshot writes the guest's screen as a PNG file. Config.QMP must be set.
func (g *Guest) Screenshot(file string) error {
	return g.qmp("screendump", map[string]any{"filename": file, "format": "png"})
}

// PressPower pushes the machine's power button. Config.QMP must be set, and
// the emulated Pi has no button.
func (g *Guest) PressPower() error {
	return g.qmp("system_powerdown", map[string]any{})
}

// SetLink plugs the network cable in or pulls it. Config.QMP must be set.
func (g *Guest) SetLink(up bool) error {
	return g.qmp("set_link", map[string]any{"name": "net0", "up": up})
}

func (g *Guest) qmp(command string, args map[string]any) error {
	_, err := qemu.Execute(g.config.QMP, command, args)
	return err
}
