package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/going-mobile/imagebuilder/image/control"
	"github.com/going-mobile/imagebuilder/image/fleet"
	"github.com/going-mobile/imagebuilder/image/headscale"
	"github.com/going-mobile/imagebuilder/image/roster"
)

// members asks the fleet's Headscale for its nodes.
func members(ctx context.Context, f *fleet.Fleet) (*headscale.Client, []roster.Row, error) {
	client, err := control.Client(f)
	if err != nil {
		return nil, nil, err
	}
	rows, err := roster.Read(ctx, f, client, time.Now())
	return client, rows, err
}

// known is members for commands that can do something without Headscale. silent says why it
// does not answer. A local file that may not be read is an error: it is easily fixed, and
// says nothing about Headscale.
func known(ctx context.Context, f *fleet.Fleet) (client *headscale.Client, rows []roster.Row, silent, err error) {
	client, rows, err = members(ctx, f)
	if notReadable(err) {
		return nil, nil, nil, fmt.Errorf("nothing was done: you may not read one of the fleet's files, as after a run with sudo (to repair that: sudo chown -R $USER %s): %w", filepath.Join(f.Dir(), fleet.SecretsDir), err)
	}
	return client, rows, err, nil
}

// reachable returns the members, of which names are wanted. If Headscale does not answer, the
// machine that runs it is reached by its public name: a new certificate from there may be what
// Headscale lacks.
func reachable(cmd *cobra.Command, f *fleet.Fleet, names []string) ([]roster.Row, error) {
	_, rows, err := members(cmd.Context(), f)
	if err == nil || notReadable(err) || cmd.Context().Err() != nil || f.Control() == "" || !slices.Equal(names, []string{f.Control()}) {
		return rows, err
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "Headscale does not say where the nodes are, so %s is reached by its public name: %s\n", f.Control(), printable(err.Error()))
	return []roster.Row{roster.Control(f)}, nil
}

// notReadable is about files only: a firewall that blocks a connection causes EPERM, too.
func notReadable(err error) bool {
	var file *fs.PathError
	return errors.As(err, &file) && errors.Is(file, fs.ErrPermission)
}
