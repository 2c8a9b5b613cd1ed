package initramfs

// verdict is what an exit code of e2fsck(8) means for the boot.
type verdict int

const (
	fsClean   verdict = iota
	fsFixed           // errors were corrected
	fsDamaged         // errors are left, or e2fsck could not work
)

// verdictOf reads the bits of an exit code: 1 errors corrected, 2 reboot
// wanted (which concerns mounted file systems; ours is not), 4 errors left,
// 8 and above: e2fsck itself failed. -1 is a signal.
func verdictOf(code int) verdict {
	switch {
	case code == 0:
		return fsClean
	case code > 0 && code < 4:
		return fsFixed
	}
	return fsDamaged
}
