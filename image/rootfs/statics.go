package rootfs

// Maintainer scripts write these files on a first installation. The settings are the same
// as theirs; the comments are ours.

const hosts = `127.0.0.1	localhost
::1		localhost ip6-localhost ip6-loopback
ff02::1		ip6-allnodes
ff02::2		ip6-allrouters

`

const networks = `default		0.0.0.0
loopback	127.0.0.0
link-local	169.254.0.0

`

const hostsAllow = `# Who may use services that ask libwrap, whatever hosts.deny says: hosts_access(5).
`

const hostsDeny = `# Who may not use services that ask libwrap: hosts_access(5). Empty: nobody is refused.
`

const etcModules = `# Modules to load at boot, as files of modules-load.d(5) name them.
`

const crypttab = "# name\tdevice\tkey file\toptions: crypttab(5)\n"

// netbase writes /etc/hosts and /etc/networks.
func netbase(s *state) error {
	return firstError(
		s.defaultFile("etc/hosts", 0o644, hosts),
		s.defaultFile("etc/networks", 0o644, networks),
	)
}

// tcpWrappers writes the access lists of libwrap.
func tcpWrappers(s *state) error {
	return firstError(
		s.defaultFile("etc/hosts.allow", 0o644, hostsAllow),
		s.defaultFile("etc/hosts.deny", 0o644, hostsDeny),
	)
}

func readline(s *state) error {
	return s.defaultCopy("usr/share/readline/inputrc", "etc/inputrc")
}

func kmodConfig(s *state) error { return s.defaultFile("etc/modules", 0o644, etcModules) }

func cryptsetup(s *state) error { return s.defaultFile("etc/crypttab", 0o644, crypttab) }

// timezone makes UTC the default.
func timezone(s *state) error {
	return s.defaultLink("etc/localtime", "/usr/share/zoneinfo/Etc/UTC")
}

// wtmpdb links the old path of the login database to the new one.
func wtmpdb(s *state) error {
	return s.defaultLink("var/lib/wtmpdb/wtmp.db", "../../log/wtmp.db")
}

// nfsState makes the empty file in which statd counts its restarts.
func nfsState(s *state) error {
	uid, _, err := s.owner("statd", "nogroup")
	if err != nil {
		return err
	}
	const p = "var/lib/nfs/state"
	return firstError(s.defaultFile(p, 0o644, ""), s.restat(p, 0o644, uid, 0))
}

// managedCopies are the files that scripts install through ucf(1). ucf asks the
// administrator about changed files; on a first installation it only copies.
var managedCopies = []struct{ pkg, from, to string }{
	{"openssh-server", "usr/share/openssh/sshd_config", "etc/ssh/sshd_config"},
	{"nfs-common", "usr/share/nfs-common/conffiles/idmapd.conf", "etc/idmapd.conf"},
	{"nfs-common", "usr/share/nfs-common/conffiles/nfs-common.default", "etc/default/nfs-common"},
	{"nfs-common", "usr/share/nfs-common/conffiles/nfs.conf", "etc/nfs.conf"},
}

func managedConfig(s *state) error {
	for _, c := range managedCopies {
		if !s.has(c.pkg) {
			continue
		}
		if err := s.defaultCopy(c.from, c.to); err != nil {
			return err
		}
	}
	return nil
}

// resolvConf points the resolver library at systemd-resolved.
func resolvConf(s *state) error {
	return s.defaultLink("etc/resolv.conf", "../run/systemd/resolve/stub-resolv.conf")
}
