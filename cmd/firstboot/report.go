//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"io/fs"
	"os"

	"github.com/going-mobile/imagebuilder/firstboot"
	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/firstboot/report"
)

const onBoot = "/" + contract.BootDir + "/"

func makeReport(ctx context.Context, h firstboot.Host, args []string) error {
	card := false
	if err := flags("report", args, func(f *flag.FlagSet) { f.BoolVar(&card, "card", false, "write it to the boot partition") }); err != nil {
		return err
	}
	text, err := report.Text(report.Collect(ctx, "/", h.Programs, h.Clock.Now()), ownConfig())
	if err != nil {
		return err
	}
	if !card {
		_, err = os.Stdout.Write(bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n")))
		return err
	}
	padded := contract.PadReport(text)
	if fi, err := h.Files.Stat(onBoot + contract.ReportFile); err == nil && fi.Size() == contract.ReportSize {
		return h.Files.Overwrite(onBoot+contract.ReportFile, padded)
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return errors.New("the image has no place for it: " + contract.ReportFile + " is missing on the boot partition")
}

// ownConfig is node.yaml for its secrets; one that cannot be read is none that
// this node works with.
func ownConfig() *node.Config {
	data, err := os.ReadFile(onBoot + node.FileName)
	if err != nil {
		return nil
	}
	c, err := node.Load(node.FileName, data)
	if err != nil {
		return nil
	}
	return c
}
