package rootfs

// These files are the here-documents of scripts that write a configuration
// file on a first installation.

const hosts = `127.0.0.1	localhost
::1		localhost ip6-localhost ip6-loopback
ff02::1		ip6-allnodes
ff02::2		ip6-allrouters

`

const networks = `default		0.0.0.0
loopback	127.0.0.0
link-local	169.254.0.0

`

const hostsAllow = `# /etc/hosts.allow: list of hosts that are allowed to access the system.
#                   See the manual pages hosts_access(5) and hosts_options(5).
#
# Example:    ALL: LOCAL @some_netgroup
#             ALL: .foobar.edu EXCEPT terminalserver.foobar.edu
#
# If you're going to protect the portmapper use the name "rpcbind" for the
# daemon name. See rpcbind(8) and rpc.mountd(8) for further information.
#

`

const hostsDeny = `# /etc/hosts.deny: list of hosts that are _not_ allowed to access the system.
#                  See the manual pages hosts_access(5) and hosts_options(5).
#
# Example:    ALL: some.host.name, .some.domain
#             ALL EXCEPT in.fingerd: other.host.name, .other.domain
#
# If you're going to protect the portmapper use the name "rpcbind" for the
# daemon name. See rpcbind(8) and rpc.mountd(8) for further information.
#
# The PARANOID wildcard matches any host whose name does not match its
# address.
#
# You may wish to enable this to ensure any programs that don't
# validate looked up hostnames still leave understandable logs. In past
# versions of Debian this has been the default.
# ALL: PARANOID

`

const etcModules = `# /etc/modules is obsolete and has been replaced by /etc/modules-load.d/.
# Please see modules-load.d(5) and modprobe.d(5) for details.
#
# Updating this file still works, but it is undocumented and unsupported.
`

const crypttab = "# <target name>\t<source device>\t\t<key file>\t<options>\n"

// netbase writes the tables of local names.
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

// timezone is UTC until a node is told otherwise.
func timezone(s *state) error {
	return s.defaultLink("etc/localtime", "/usr/share/zoneinfo/Etc/UTC")
}

// wtmpdb links the log of logins to where it has moved.
func wtmpdb(s *state) error {
	return s.defaultLink("var/lib/wtmpdb/wtmp.db", "../../log/wtmp.db")
}

// nfsState makes the file in which statd counts its restarts; its content is
// the node's.
func nfsState(s *state) error {
	uid, _, err := s.owner("statd", "nogroup")
	if err != nil {
		return err
	}
	const p = "var/lib/nfs/state"
	return firstError(s.defaultFile(p, 0o644, ""), s.restat(p, 0o644, uid, 0))
}

// managedCopies are the files that scripts install through ucf(1), which
// exists to ask an administrator; on a first installation it only copies.
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
