package board

import "strconv"

// Checklist is what people must set in the machine's firmware setup (BIOS) before the first
// start; an image cannot do it.
type Checklist struct {
	// Enter says how to enter the setup, such as "F2 while Dell's logo is shown".
	Enter string `yaml:"enter" json:"enter"`
	// Set lists the settings.
	Set []Setting `yaml:"set" json:"set"`
}

// Setting is one setting of a Checklist.
type Setting struct {
	// What is the setting's name on the screen, and To the value to choose.
	What string `yaml:"what" json:"what"`
	To   string `yaml:"to" json:"to"`
	// Why says what happens otherwise.
	Why string `yaml:"why" json:"why"`
}

// Booted is a machine on which an image of the board was seen running, as that node's
// report shows. Emulators do not count.
type Booted struct {
	// Machine is the model as in the report, Image the version of the image that ran.
	Machine string `yaml:"machine" json:"machine"`
	Image   string `yaml:"image" json:"image"`
}

// BootedText lists the machines of Booted in one line, or says "not yet".
func (b *Board) BootedText() string {
	if len(b.Booted) == 0 {
		return "not yet"
	}
	text := ""
	for _, on := range b.Booted {
		text += ", " + on.Machine + " (" + on.Image + ")"
	}
	return text[2:]
}

func (c Checklist) problem() (field, problem string) {
	if (c.Enter == "") != (len(c.Set) == 0) {
		return "enter", "goes with set: how one gets there, and what is set there"
	}
	for i, s := range c.Set {
		for name, value := range map[string]string{"what": s.What, "to": s.To, "why": s.Why} {
			if value == "" {
				return at("set", i, name), "is missing"
			}
		}
	}
	return "", ""
}

func (b *Board) bootedProblem() (field, problem string) {
	for i, on := range b.Booted {
		if on.Machine == "" || on.Image == "" {
			return at("booted", i, "machine"), "name the machine and the version of the image that ran on it"
		}
	}
	for i, text := range b.Untested {
		if text == "" {
			return "untested." + strconv.Itoa(i), "is empty"
		}
	}
	return "", ""
}
