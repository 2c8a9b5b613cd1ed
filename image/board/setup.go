package board

import "strconv"

// Checklist is what a person sets in the machine's own firmware, its BIOS,
// before the first start: no image can.
type Checklist struct {
	// Enter says how one gets there, such as "F2 while Dell's logo is shown".
	Enter string `yaml:"enter" json:"enter"`
	// Set lists the settings.
	Set []Setting `yaml:"set" json:"set"`
}

// Setting is one of them.
type Setting struct {
	// What is its name on the screen, and To its value there.
	What string `yaml:"what" json:"what"`
	To   string `yaml:"to" json:"to"`
	// Why tells what happens otherwise.
	Why string `yaml:"why" json:"why"`
}

// Booted is a machine that an image of the board was seen running on: its
// report says so. Emulators are none.
type Booted struct {
	// Machine is the model as its report has it, Image the version that ran.
	Machine string `yaml:"machine" json:"machine"`
	Image   string `yaml:"image" json:"image"`
}

// BootedText says in a table or a line where images of the board were seen
// running.
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
