package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/going-mobile/imagebuilder/image/board"
	"github.com/going-mobile/imagebuilder/image/flash"
)

func newBoardsShow(dir *string, asJSON *bool) *cobra.Command {
	return &cobra.Command{
		Use:   "show BOARD",
		Short: "Show a board: boot chain, sockets, lights, BIOS settings, and what is untested",
		Example: `  imagebuilder boards show optiplex-7050
  imagebuilder boards show nuc8 --boards ./my-boards`,
		Args: exactArgs("BOARD"),
		ValidArgsFunction: func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return completeBoards(cmd, args, word)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			from, err := boardSources(*dir)
			if err != nil {
				return err
			}
			b, err := board.Load(args[0], from...)
			if err != nil {
				return unknownIsUsage(err)
			}
			if *asJSON {
				return encodeBoard(cmd.OutOrStdout(), b)
			}
			_, err = io.WriteString(cmd.OutOrStdout(), describe(b))
			return err
		},
	}
}

func encodeBoard(w io.Writer, b *board.Board) error {
	return printJSON(w, struct {
		Name      string          `json:"name"`
		Title     string          `json:"title"`
		Arch      string          `json:"arch"`
		Firmware  string          `json:"firmware"`
		BIOS      bool            `json:"bios"`
		Suite     string          `json:"suite"`
		Kernel    string          `json:"kernel"`
		Packages  []string        `json:"packages"`
		Checklist board.Checklist `json:"checklist"`
		Booted    []board.Booted  `json:"booted"`
		Untested  []string        `json:"untested"`
	}{b.Name, b.Title, b.Arch, string(b.Firmware), b.BIOS, b.Suite, b.Kernel.Package, b.Packages, b.Checklist, booted(b), b.Untested})
}

// booted is never null in JSON.
func booted(b *board.Board) []board.Booted { return append([]board.Booted{}, b.Booted...) }

// page is text in titled sections; sections without lines are left out.
type page struct{ strings.Builder }

func (p *page) section(title string, lines []string) {
	if len(lines) == 0 {
		return
	}
	fmt.Fprintf(p, "\n%s\n", title)
	for _, l := range lines {
		fmt.Fprintf(p, "  %s\n", l)
	}
}

func describe(b *board.Board) string {
	var p page
	fmt.Fprintf(&p, "%s: %s\n", b.Name, b.Title)
	p.section("Hardware", machinery(b))
	p.section("How it starts", bootChain(b))
	p.section("Sockets", sockets(b.Label))
	p.section("What to plug in, in this order", plugs(b.Label))
	p.section("Lights", lights(b.Label))
	p.section("To set first: "+b.Checklist.Enter, settings(b.Checklist))
	p.section("Booted on hardware", []string{b.BootedText()})
	p.section("Untested", b.Untested)
	return p.String()
}

func machinery(b *board.Board) []string {
	lines := []string{
		"processor  " + b.Arch,
		fmt.Sprintf("system     Debian %s, %s", b.Suite, kernelOf(b)),
		"packages   " + strings.Join(b.Packages, ", "),
		fmt.Sprintf("disk       boot %v; root-a and root-b %v each; data gets the rest", b.Disk.Boot, b.Disk.Slot),
	}
	for _, r := range b.Disk.Raw {
		lines = append(lines, fmt.Sprintf("at %-8v %s, before the partitions", r.Offset, r.File))
	}
	if b.Pi != nil {
		lines = append(lines, "models     "+strings.Join(b.Pi.DeviceTrees, ", "))
	}
	if b.QEMU.Machine == "" {
		return append(lines, "emulated   by nothing: QEMU has no such machine")
	}
	return append(lines, "emulated   by QEMU's "+b.QEMU.Machine)
}

// kernelOf names the kernel's package, and its suite if that is not the board's.
func kernelOf(b *board.Board) string {
	for _, s := range b.Suites {
		if slices.Contains(s.Packages, b.Kernel.Package) {
			return b.Kernel.Package + " of " + s.Name
		}
	}
	return b.Kernel.Package
}

// bootChain draws which program starts which.
func bootChain(b *board.Board) []string {
	switch {
	case b.Firmware == board.RaspberryPi:
		return piChain(b.Pi)
	case b.BIOS:
		return append(slices.Clone(signedChain), biosChain...)
	case b.SecureBoot == board.SignedByDebian:
		return signedChain
	case b.SecureBoot == board.SignedByOwner:
		return append([]string{"UEFI, in the machine, with its owner's key; all that it starts is signed with that key (build --sign)"}, unsignedChain[1:]...)
	}
	return unsignedChain
}

var (
	signedChain = []string{
		"UEFI, in the machine, with Secure Boot or without",
		"└─ shim                       on the first partition; Microsoft's signature",
		"   └─ systemd-boot            Debian's signature; counts the attempts of a trial",
		"      ├─ kernel of slot a     Debian's signature; none on initramfs and arguments",
		"      │  └─ root-a            squashfs, read-only",
		"      └─ kernel of slot b     written by an update; three attempts to prove itself",
		"         └─ root-b",
		"            └─ data           ext4, /var of both",
	}
	biosChain = []string{
		"or BIOS, in the machine, which asks for no signature",
		"└─ GRUB                       in front of the first partition; grub/grub.cfg chooses the slot",
		"   └─ kernel of slot a or b   the same files; attempts are counted in grub/grubenv",
	}
	unsignedChain = []string{
		"UEFI, in the machine, Secure Boot off",
		"└─ systemd-boot               on the first partition; counts the attempts of a trial",
		"   ├─ kernel of slot a        one file: kernel, initramfs, arguments",
		"   │  └─ root-a               squashfs, read-only",
		"   └─ kernel of slot b        written by an update; three attempts to prove itself",
		"      └─ root-b",
		"         └─ data              ext4, /var of both",
	}
	ubootChain = []string{
		"   └─ U-Boot                  boot.scr chooses the slot, counts the attempts of a trial",
		"      ├─ a/vmlinuz            with a/initrd.img, a/cmdline.txt",
		"      │  └─ root-a            squashfs, read-only",
		"      └─ b/vmlinuz            written by an update; three attempts to prove itself",
		"         └─ root-b",
		"            └─ data           ext4, /var of both",
	}
)

// piChain begins with the files that this Pi's processor needs on the card.
func piChain(p *board.Pi) []string {
	first, what := "EEPROM, in the machine", "the Pi's firmware and its settings"
	switch starters := p.Starters(); {
	case len(starters) == 0:
		first, what = "EEPROM with the firmware, in the machine", "its settings"
	case slices.Contains(starters, "bootcode.bin"):
		first = "boot ROM, in the processor"
	}
	files := strings.Join(append(slices.Clone(p.Starters()), "config.txt"), ", ")
	return append([]string{first, fmt.Sprintf("└─ %-27s%s, on the first partition", files+"  ", what)}, ubootChain...)
}

// sockets counts the sockets on each side.
func sockets(l board.Label) (lines []string) {
	for _, side := range l.Sides {
		count, order := map[string]int{}, []string{}
		for _, s := range side.Sockets {
			if count[s.Kind]++; count[s.Kind] == 1 {
				order = append(order, s.Kind)
			}
		}
		for i, kind := range order {
			if count[kind] > 1 {
				order[i] = fmt.Sprintf("%d × %s", count[kind], kind)
			}
		}
		lines = append(lines, side.Title+": "+strings.Join(order, ", "))
	}
	if l.Note != "" && len(lines) > 0 {
		lines = append(lines, l.Note)
	}
	return lines
}

func plugs(l board.Label) (lines []string) {
	for _, p := range l.Plug {
		lines = append(lines, fmt.Sprintf("%-12s %s", p.Into, p.What))
	}
	return lines
}

func lights(l board.Label) (lines []string) {
	for _, d := range l.LEDs {
		lines = append(lines, fmt.Sprintf("%s, %s: %s", d.Name, d.Color, d.Means))
	}
	return lines
}

func settings(c board.Checklist) (lines []string) {
	for _, s := range c.Set {
		lines = append(lines, fmt.Sprintf("[ ] %s: %s", s.What, s.To), "      "+s.Why)
	}
	return lines
}

// boardLoader reads the board of a name.
type boardLoader func(name string) (*board.Board, error)

// tellChecklists prints, once per board, what to set in the BIOS of the machines that the
// cards are for.
func tellChecklists(w io.Writer, load boardLoader, written ...*flash.Result) error {
	told := map[string]bool{}
	for _, card := range written {
		label := card.Image.Label
		if label == nil || told[label.Board] {
			continue
		}
		told[label.Board] = true
		if err := tellChecklist(w, label.Board, load); err != nil {
			return err
		}
	}
	return nil
}

// tellChecklist skips unknown boards: a user's own board is known only where its directory
// is named.
func tellChecklist(w io.Writer, name string, load boardLoader) error {
	b, err := load(name)
	var unknown *board.UnknownError
	if errors.As(err, &unknown) {
		return nil
	}
	if err != nil {
		return err
	}
	var p page
	p.section("Set this in the BIOS of a new machine ("+b.Checklist.Enter+")", settings(b.Checklist))
	_, err = io.WriteString(w, p.String())
	return err
}
