package board

import (
	"cmp"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
)

// starters are the files of raspi-firmware that must be beside config.txt for a processor
// to start. The boot ROM of the Pi 3 and Zero 2 W reads the whole chain from the card; the
// EEPROM of the Pi 4 continues with start4.elf; that of the Pi 5 contains everything
// (https://www.raspberrypi.com/documentation/computers/configuration.html#boot-folder-contents).
var starters = map[string][]string{
	"bcm2837": {"bootcode.bin", "start.elf", "fixup.dat"},
	"bcm2711": {"start4.elf", "fixup4.dat"},
	"bcm2712": {},
}

func (p *Pi) soc() string { return cmp.Or(p.SoC, "bcm2711") }

// Starters returns the names of the files without which this Pi does not start.
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
