//go:build linux

// Command init is PID 1 of the initramfs. See firstboot/initramfs.
package main

import "github.com/going-mobile/imagebuilder/firstboot/initramfs"

func main() { initramfs.Run() }
