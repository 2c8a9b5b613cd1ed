package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/going-mobile/imagebuilder/boards"
	"github.com/going-mobile/imagebuilder/image/board"
)

// boardSources puts a user's own boards before the built-in ones.
func boardSources(dir string) ([]fs.FS, error) {
	if dir == "" {
		return []fs.FS{boards.FS}, nil
	}
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return nil, usagef("--boards: %q is not a directory", dir)
	}
	return []fs.FS{board.Dir(dir), boards.FS}, nil
}

func newBoards() *cobra.Command {
	var dir string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "boards",
		Short: "List the boards that images can be built for",
		Example: `  imagebuilder boards
  imagebuilder boards show rpi4
  imagebuilder boards --boards ./my-boards --json`,
		Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			from, err := boardSources(dir)
			if err != nil {
				return err
			}
			return printBoards(cmd, from, asJSON)
		},
	}
	cmd.PersistentFlags().StringVar(&dir, "boards", "", "directory with your own board files")
	cmd.PersistentFlags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.AddCommand(newBoardsShow(&dir, &asJSON))
	return cmd
}

func printBoards(cmd *cobra.Command, from []fs.FS, asJSON bool) error {
	type row struct {
		Name     string         `json:"name"`
		Title    string         `json:"title"`
		Arch     string         `json:"arch"`
		Firmware string         `json:"firmware"`
		Suite    string         `json:"suite"`
		Booted   []board.Booted `json:"booted"` // on hardware
	}
	var rows []row
	var bad []error // one bad board does not hide the others
	for _, name := range board.Names(from...) {
		b, err := board.Load(name, from...)
		if err != nil {
			bad = append(bad, err)
			continue
		}
		rows = append(rows, row{b.Name, b.Title, b.Arch, string(b.Firmware), b.Suite, booted(b)})
	}
	if asJSON {
		return errors.Join(append(bad, printJSON(cmd.OutOrStdout(), rows))...)
	}
	w := newTable(cmd.OutOrStdout())
	fmt.Fprintln(w, "BOARD\tARCH\tFIRMWARE\tSUITE\tHARDWARE")
	for _, r := range rows {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", r.Name, r.Arch, r.Firmware, r.Suite, r.Title)
	}
	return errors.Join(append(bad, w.Flush())...)
}
