//go:build linux

package main

import "context"

// slots marks the running slot by the means of the board's boot loader.
type slots struct{}

func (slots) Bless(ctx context.Context) error           { return nil }
func (slots) Blessed(ctx context.Context) (bool, error) { return true, nil }
