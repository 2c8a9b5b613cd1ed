package rootfs

// dropped are large sources of databases that maintainer scripts compile: udev's hardware
// database, which a node does not need, and the journal's message catalog. If they were
// left without the compiled form, the first boot would spend minutes on compiling them.
var dropped = []string{"usr/lib/udev/hwdb.d", "usr/lib/systemd/catalog"}

// compiledDatabases removes the sources of databases that the build does not compile.
func compiledDatabases(s *state) error {
	s.remove(dropped...)
	return nil
}
