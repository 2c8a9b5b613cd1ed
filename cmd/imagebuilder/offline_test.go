//go:build !e2e

package main

import "testing"

// Without the tag e2e there is nothing to set up.
func runMain(m *testing.M) int { return m.Run() }
