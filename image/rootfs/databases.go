package rootfs

// dropped are large sources of databases that scripts compile: udev's
// properties of hardware, which a node has no use for, and the journal's
// explanations. Left in place without the compiled form, the first boot would
// spend minutes on them.
var dropped = []string{"usr/lib/udev/hwdb.d", "usr/lib/systemd/catalog"}

// masked units would do at boot what the build has done, or freeze in the
// /etc overlay what belongs to the image: systemd-sysusers would copy passwd
// there, firstboot would ask questions on the console.
var masked = []string{
	"ldconfig.service",
	"systemd-firstboot.service",
	"systemd-hwdb-update.service",
	"systemd-journal-catalog-update.service",
	"systemd-sysusers.service",
	"systemd-update-done.service",
}

// compiledDatabases drops what would have been compiled.
func compiledDatabases(s *state) error {
	s.remove(dropped...)
	return nil
}
