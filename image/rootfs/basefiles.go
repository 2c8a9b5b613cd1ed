package rootfs

import (
	"io/fs"

	"github.com/going-mobile/imagebuilder/image/tree"
)

const (
	utmpGID = 43
	mailGID = 8
)

// baseFiles makes what base-files' postinst makes on a first installation.
// Its links below /var are left to systemd's own tmpfiles.d.
func baseFiles(s *state) error {
	return firstError(
		s.defaultLink("etc/dpkg/origins/default", "debian"),
		s.baseCopies(),
		s.baseDirectories(),
		s.varLogs(),
	)
}

func (s *state) baseCopies() error {
	const from = "usr/share/base-files/"
	return firstError(
		s.defaultCopy(from+"dot.profile", "root/.profile"),
		s.defaultCopy(from+"dot.bashrc", "root/.bashrc"),
		s.defaultCopy(from+"profile", "etc/profile"),
		s.defaultCopy(from+"motd", "etc/motd"),
		s.infoDir(from+"info.dir"),
	)
}

// infoDir makes the index of info pages where that directory was not pruned.
func (s *state) infoDir(from string) error {
	if !s.exists("usr/share/info") {
		return nil
	}
	return s.defaultCopy(from, "usr/share/info/dir")
}

func (s *state) baseDirectories() error {
	for _, p := range []string{"mnt", "srv", "opt", "etc/opt", "media", "var/opt",
		"usr/local", "usr/local/share", "usr/local/share/man", "usr/local/bin", "usr/local/games",
		"usr/local/lib", "usr/local/libexec", "usr/local/include", "usr/local/sbin", "usr/local/src", "usr/local/etc"} {
		if err := s.defaultDir(p, 0o755); err != nil {
			return err
		}
	}
	if err := s.dir("var/mail", fs.ModeSetgid|0o775, 0, mailGID); err != nil {
		return err
	}
	// They are directories in the package and links on a system: var.conf and
	// legacy.conf of systemd make the links when nothing is in the way.
	s.remove("var/run", "var/lock")
	return firstError(
		s.defaultLink("var/spool/mail", "../mail"),
		s.defaultLink("usr/local/man", "share/man"),
	)
}

func (s *state) varLogs() error {
	log := func(p string, perm fs.FileMode) error {
		return s.put(p, tree.Node{Mode: perm, GID: utmpGID, Content: tree.String("")})
	}
	return firstError(
		log("var/log/wtmp", 0o664),
		log("var/log/btmp", 0o660),
		log("var/log/lastlog", 0o664),
	)
}
