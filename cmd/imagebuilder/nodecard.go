package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/image/flash"
	"github.com/going-mobile/imagebuilder/image/fleet"
)

// cardFiles are the files on a card that people read; the first is the default.
var cardFiles = []string{node.FileName, node.StatusFile, contract.StageFile, contract.ReportFile}

func newNodeRead() *cobra.Command {
	var reveal bool
	var out secretOut
	cmd := &cobra.Command{
		Use:   "read TARGET [FILE]",
		Short: "Print a file of a card: " + strings.Join(cardFiles, ", "),
		Long: `Print a file of the boot partition of a card, a disk or an image: node.yaml, unless
FILE names another one.

Nothing is mounted. So it also works where the system shows no drive for the boot
partition, as on Windows and macOS for a PC's card. If the boot partition is
mounted, name its directory instead. 'imagebuilder flash --list' lists devices.

Secrets in node.yaml are masked. --reveal prints the file as it is.`,
		Example: `  imagebuilder node read /dev/sdb
  imagebuilder node read '\\.\PhysicalDrive2' STATUS.TXT
  imagebuilder node read /dev/disk4 --reveal --out secrets/cabin-pi.yaml`,
		Args:              cardArgs,
		ValidArgsFunction: completeCardFiles,
		RunE: func(cmd *cobra.Command, args []string) error {
			name := node.FileName
			if len(args) == 2 {
				name = args[1]
			}
			text, err := readCardFile(cmd.Context(), args[0], name, reveal)
			if err != nil {
				return err
			}
			return out.write(cmd, text, reveal)
		},
	}
	out.flag(cmd)
	cmd.Flags().BoolVar(&reveal, "reveal", false, "print node.yaml as it is, with its secrets")
	return cmd
}

func cardArgs(cmd *cobra.Command, args []string) error {
	if len(args) < 1 || len(args) > 2 {
		return usagef("'%s' takes a TARGET and perhaps a FILE; see '%s --help'", cmd.CommandPath(), cmd.CommandPath())
	}
	if len(args) == 2 && cardFile(args[1]) == "" {
		return usagef("%q is none of %s", args[1], strings.Join(cardFiles, ", "))
	}
	return nil
}

// cardFile finds a file as FAT does, ignoring case.
func cardFile(name string) string {
	for _, f := range cardFiles {
		if strings.EqualFold(f, name) {
			return f
		}
	}
	return ""
}

func completeCardFiles(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 1 {
		return cardFiles, cobra.ShellCompDirectiveNoFileComp
	}
	return nil, cobra.ShellCompDirectiveDefault
}

func readCardFile(ctx context.Context, target, name string, reveal bool) ([]byte, error) {
	name = cardFile(name)
	card, err := flash.Read(ctx, target, name)
	if err != nil {
		return nil, err
	}
	data, there := card.Files[name]
	switch {
	case !there:
		return nil, fmt.Errorf("%s: there is no %s on it", target, name)
	case name == node.FileName && reveal:
		return []byte(strings.TrimRight(string(data), "\n") + "\n"), nil
	case name == node.FileName:
		return maskedNode(target, data)
	}
	return []byte(plainText(data)), nil
}

// maskedNode is a node.yaml without its secrets. If the file cannot be parsed, nobody can
// tell which parts are secret, so that is an error.
func maskedNode(target string, data []byte) ([]byte, error) {
	c, err := node.Load(node.FileName, data)
	var fault *node.Error
	switch {
	case errors.As(err, &fault) && fault.Kind == node.Empty:
		return nil, fmt.Errorf("%s: %w: it is no node yet; 'imagebuilder node write' makes it one", target, err)
	case err != nil:
		return nil, fmt.Errorf("%s: %w; --reveal prints it as it is", target, err)
	}
	return node.Marshal(fleet.Masked(c))
}

// plainText converts a file that is made for Windows' editors and padded with blanks for a
// terminal.
func plainText(data []byte) string {
	return strings.TrimRight(printable(strings.ReplaceAll(string(data), "\r\n", "\n")), " \n") + "\n"
}

func newNodeWrite() *cobra.Command {
	return &cobra.Command{
		Use:   "write TARGET FILE",
		Short: "Write a node's node.yaml onto its card or into an image",
		Long: `Check a node.yaml and write it in place onto a card, a disk or an image file, or
into the directory where a boot partition is mounted. Nothing is mounted, and
nothing else changes.

An image for another board than node.yaml names is refused. So is a stick that has
already installed its node.

TARGET then contains that node's secrets: treat it like a key.`,
		Example: `  imagebuilder node write /dev/sdb secrets/cabin-pi.yaml
  imagebuilder node write '\\.\PhysicalDrive2' secrets/cabin-pi.yaml`,
		Args: exactArgs("TARGET", "FILE"),
		RunE: func(cmd *cobra.Command, args []string) error { return runPersonalize(cmd, args[0], args[1]) },
	}
}

func newNodeRepair() *cobra.Command {
	return &cobra.Command{
		Use:   "repair TARGET",
		Short: "Let a node repair its damaged data at its next boot, at any price",
		Long: `Write ` + contract.RepairFile + ` to the boot partition of a card, a disk or an image file, or into
the directory where a boot partition is mounted. At its next boot, and only then,
the node repairs the file system with its data, if that is damaged. Some of the data
may be lost.

Nothing is mounted. So it also works where the system shows no drive for the boot
partition, as on Windows and macOS for a PC's disk.`,
		Example: `  imagebuilder node repair /dev/sdb
  imagebuilder node repair '\\.\PhysicalDrive2'`,
		Args: exactArgs("TARGET"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := flash.AllowRepair(cmd.Context(), args[0]); err != nil {
				return err
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "the next start from %s may repair its data, once\n", args[0])
			return err
		},
	}
}

// cardStatus is what a card says about its node.
type cardStatus struct {
	Board        string         `json:"board"`
	ImageVersion string         `json:"imageVersion"`
	Kernel       string         `json:"kernel"`
	Node         string         `json:"node,omitempty"`
	Site         string         `json:"site,omitempty"`
	Role         string         `json:"role,omitempty"`
	Sealed       bool           `json:"sealed"`
	Fault        string         `json:"fault,omitempty"` // of node.yaml
	LastStart    contract.Stage `json:"lastStart"`
	Status       string         `json:"status"` // the text of STATUS.TXT
}

func newNodeStatus() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status TARGET",
		Short: "Show from a card how far its node got",
		Long: `Show what a card, a disk or an image is, which node it belongs to, and how far the
node's last boot got. The node writes that to its boot partition. Nothing is
mounted, and nothing changes.`,
		Example: `  imagebuilder node status /dev/sdb
  imagebuilder node status '\\.\PhysicalDrive2' --json`,
		Args: exactArgs("TARGET"),
		RunE: func(cmd *cobra.Command, args []string) error {
			card, err := flash.Read(cmd.Context(), args[0], node.FileName, node.StatusFile, contract.StageFile)
			if err != nil {
				return err
			}
			s := statusOf(card)
			if asJSON {
				return printJSON(cmd.OutOrStdout(), s)
			}
			return printCardStatus(cmd, s)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func statusOf(card *flash.Card) cardStatus {
	s := cardStatus{Board: printable(card.Label.Board), ImageVersion: printable(card.Label.ImageVersion), Kernel: printable(card.Label.Kernel),
		LastStart: contract.ParseStage(card.Files[contract.StageFile]), Status: plainText(card.Files[node.StatusFile])}
	c, err := node.Load(node.FileName, card.Files[node.FileName])
	if err != nil {
		s.Fault = printable(err.Error())
		return s
	}
	s.Node, s.Site, s.Role, s.Sealed = c.Node, c.Site, string(c.Role), c.Sealed
	return s
}

func printCardStatus(cmd *cobra.Command, s cardStatus) error {
	w := newTable(cmd.OutOrStdout())
	fmt.Fprintf(w, "board\t%s\nimage\t%s, kernel %s\n", s.Board, s.ImageVersion, s.Kernel)
	switch {
	case s.Fault != "":
		fmt.Fprintf(w, "node\tnone: %s\n", s.Fault)
	case s.Sealed:
		fmt.Fprintf(w, "node\t%s, site %s, role %s; it has joined, no secrets are left here\n", s.Node, s.Site, s.Role)
	default:
		fmt.Fprintf(w, "node\t%s, site %s, role %s; its secrets are on it\n", s.Node, s.Site, s.Role)
	}
	if s.LastStart.Reached != "" { // older images do not record it
		fmt.Fprintf(w, "last start\t%s\n", lastStart(s.LastStart))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(cmd.OutOrStdout(), "\n%s", s.Status)
	return err
}

// lastStart describes how far the last start came, and the board revision, U-Boot and kernel
// that it came with.
func lastStart(s contract.Stage) string {
	var by []string
	if s.Revision != "" {
		by = append(by, "board revision "+s.Revision)
	}
	if s.UBoot != "" {
		by = append(by, "U-Boot "+s.UBoot)
	}
	if s.Kernel != "" {
		by = append(by, "kernel "+s.Kernel)
	}
	if len(by) == 0 {
		return s.Reached
	}
	return s.Reached + " (" + strings.Join(by, ", ") + ")"
}
