//go:build !linux

package display

const noWait = 0
