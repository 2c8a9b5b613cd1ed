package board

import (
	"cmp"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
)

// starters are the files of raspi-firmware that a processor must find beside
// config.txt. The Pi 3's (and Zero 2 W's) boot ROM reads the whole chain from
// the card, the Pi 4's EEPROM goes on with start4.elf, and the Pi 5's has all of
// it inside
// (https://www.raspberrypi.com/documentation/computers/configuration.html#boot-folder-contents).
var starters = map[string][]string{
	"bcm2837": {"bootcode.bin", "start.elf", "fixup.dat"},
	"bcm2711": {"start4.elf", "fixup4.dat"},
	"bcm2712": {},
}

func (p *Pi) soc() string { return cmp.Or(p.SoC, "bcm2711") }

// Starters are the files without which this Pi does not start.
func (p *Pi) Starters() []string { return starters[p.soc()] }

func (p *Pi) problem() (field, problem string) {
	if p == nil {
		return "", ""
	}
	if problem := oneOf(p.soc(), slices.Sorted(maps.Keys(starters))); problem != "" {
		return "soc", problem
	}
	for i, dtb := range p.DeviceTrees {
		if !strings.HasPrefix(path.Base(dtb), p.soc()+"-") {
			return fmt.Sprintf("deviceTrees.%d", i), fmt.Sprintf("%q is for another processor than %s; one image starts on one kind", dtb, p.soc())
		}
	}
	return "", ""
}
