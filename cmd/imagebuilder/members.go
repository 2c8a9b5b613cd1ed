package main

import (
	"context"
	"time"

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
