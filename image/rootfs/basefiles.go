package rootfs

import (
	"io/fs"

	"github.com/going-mobile/imagebuilder/image/tree"
)

const (
	utmpGID = 43
	mailGID = 8
)

// baseFiles does what base-files' postinst does on a first installation, except the links
// below /var, which systemd's own tmpfiles.d makes.
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

// infoDir makes the index of the info pages, unless their directory is missing.
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
	// The package has directories here, but a running system has links: systemd's var.conf
	// and legacy.conf make them if nothing is in the way.
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
