package rootfs

// dropped are large sources of databases that scripts compile: udev's
// properties of hardware, which a node has no use for, and the journal's
// explanations. Left in place without the compiled form, the first boot would
// spend minutes on them.
var dropped = []string{"usr/lib/udev/hwdb.d", "usr/lib/systemd/catalog"}

// compiledDatabases drops what would have been compiled.
func compiledDatabases(s *state) error {
	s.remove(dropped...)
	return nil
}
