//go:build unix

package image

import "syscall"

const errNoSpace = syscall.ENOSPC
