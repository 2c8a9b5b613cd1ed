//go:build linux

package main

import (
	"bytes"
	"context"
	"flag"
	"os"

	"github.com/going-mobile/imagebuilder/firstboot"
	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/report"
)

func makeReport(ctx context.Context, h firstboot.Host, args []string) error {
	card := false
	if err := flags("report", args, func(f *flag.FlagSet) { f.BoolVar(&card, "card", false, "write it to the boot partition") }); err != nil {
		return err
	}
	text, err := report.Text(report.Collect(ctx, "/", h.Programs, h.Clock.Now()), firstboot.Secrets(h.Files))
	if err != nil {
		return err
	}
	if !card {
		_, err = os.Stdout.Write(bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n")))
		return err
	}
	return firstboot.Lay(h.Files, "/"+contract.BootDir+"/"+contract.ReportFile, contract.PadReport(text))
}
