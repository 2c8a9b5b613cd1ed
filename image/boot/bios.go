package boot

import (
	_ "embed"
	"fmt"
	"path"
	"strings"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/slot"
	"github.com/going-mobile/imagebuilder/image/grub"
	"github.com/going-mobile/imagebuilder/image/tree"
)

// The script is a separate file so that people who know GRUB can read and check it.
//
//go:embed grub.cfg
var grubCfg []byte

// BIOSLoader returns the GRUB that a PC's BIOS starts. GRUB then uses the files that ESP put
// on the boot partition.
func BIOSLoader(in Input) (*grub.Loader, error) {
	return grub.New(func(name string) ([]byte, error) {
		return in.read(grub.Dir+name, "add the package "+grub.Package)
	}, grub.Modules, contract.PartBoot, "/"+path.Dir(slot.GRUBScript))
}

// addGRUB adds GRUB's script, the file with its trial counter, and the kernel arguments of
// a slot. The script finds the slots by systemd-boot's entries, but cannot parse their
// text.
func (in Input) addGRUB(f *files, name string) error {
	line := in.cmdline(name)
	if err := CheckBIOSCmdline(line); err != nil {
		return err
	}
	f.add(slot.GRUBScript, tree.Bytes(grubCfg))
	f.add(slot.CountFile, tree.Bytes(slot.CountEnv("", 0)))
	f.add(name+"/"+slot.OptionsFile, tree.String(fmt.Sprintf("set options='%s'\n", line)))
	return f.err
}

// CheckBIOSCmdline refuses kernel arguments that GRUB would change: it puts a \ before each
// quote and \ (its lib/cmdline.c), and the kernel does not remove it.
func CheckBIOSCmdline(line string) error {
	if strings.ContainsAny(line, "'\"\\\n") {
		return fmt.Errorf("the kernel arguments <%s> cannot be told to GRUB, which a BIOS needs: it changes every \", ' and \\; leave those and ends of lines away", line)
	}
	return nil
}
