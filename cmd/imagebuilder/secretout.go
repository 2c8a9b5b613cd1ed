package main

import (
	"fmt"
	"io/fs"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/going-mobile/imagebuilder/image/atomicfile"
)

// secretOut is where a result with secrets goes: standard output, or a file that only its
// owner can read, unlike one that a shell makes for ">".
type secretOut struct{ file string }

func (o *secretOut) flag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.file, "out", "", "write to this file, which you alone can read (default: standard output)")
}

// write writes the text. It warns if standard output is a file in which others can read the
// secret.
func (o *secretOut) write(cmd *cobra.Command, text []byte, secret bool) error {
	if o.file == "" {
		if secret && openToOthers(cmd.OutOrStdout()) {
			fmt.Fprintln(cmd.ErrOrStderr(), "warning: the file that standard output goes to can be read by others, and contains secrets now: remove it, and write it with --out FILE")
		}
		_, err := cmd.OutOrStdout().Write(text)
		return err
	}
	if err := atomicfile.WriteFile(o.file, text, 0o600); err != nil {
		return err
	}
	_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s is written, for you alone to read\n", o.file)
	return err
}

// openToOthers says that out is a regular file that others can read. Windows has no such
// permission bits.
func openToOthers(out any) bool {
	f, ok := out.(interface{ Stat() (fs.FileInfo, error) })
	if !ok || runtime.GOOS == "windows" {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0
}
