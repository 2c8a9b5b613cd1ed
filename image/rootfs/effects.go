package rootfs

import (
	"fmt"
	"slices"
)

// Effect models what the maintainer scripts of some packages leave in a fresh installation.
type Effect struct {
	// Name says what the effect is about, for errors and as the source of nodes.
	Name string
	// Packages are those whose preinst and postinst the effect models, at least in part. It
	// is applied if one of them is in the image.
	Packages []string
	apply    func(*state) error
}

// Effects lists all models, in the order in which they are applied. The scripts of other
// packages have not been looked at; see package gate.
//
// debhelper's blocks are not listed per package: sysusers.d, tmpfiles.d and presets are
// evaluated for all packages alike.
var Effects = slices.Concat(accountEffects, rootEffects)

// rootEffects are applied to the tree once all accounts are known.
var rootEffects = []Effect{
	{"base directories and profiles", []string{"base-files"}, baseFiles},
	{"shells", []string{"debianutils", "bash", "dash"}, shells},
	{"name services", []string{"libc-bin", "libnss-systemd", "libnss-resolve", "libnss-myhostname"}, nsswitch},
	{"PAM stacks", []string{"libpam-runtime", "libpam-modules", "libpam-systemd"}, pam},
	{"owners and setuid bits", []string{"dbus", "openssh-client", "nfs-common"}, statOverrides},
	{"alternatives", []string{"bash", "mawk", "less", "util-linux", "tar", "debianutils", "xz-utils", "iptables"}, alternatives},
	{"certificate authorities", []string{"ca-certificates"}, certificates},
	{"configuration through ucf", []string{"openssh-server", "nfs-common"}, managedConfig},
	{"local names", []string{"netbase"}, netbase},
	{"TCP wrappers", []string{"libwrap0"}, tcpWrappers},
	{"line editing", []string{"readline-common"}, readline},
	{"modules file", []string{"kmod"}, kmodConfig},
	{"crypttab", []string{"cryptsetup"}, cryptsetup},
	{"time zone", []string{"tzdata"}, timezone},
	{"login records", []string{"libwtmpdb0"}, wtmpdb},
	{"state of statd", []string{"nfs-common"}, nfsState},
	{"resolver", []string{"systemd-resolved"}, resolvConf},
	{"machine identity", []string{"systemd", "dbus-daemon"}, machineID},
	{"persistent journal", []string{"systemd"}, journal},
	{"iSCSI initiator name", []string{"open-iscsi"}, iscsiName},
	{"SSH host keys", []string{"openssh-server"}, sshHostKeys},
	{"AppArmor tunables", []string{"apparmor"}, apparmor},
	{"hardware database and journal catalog", []string{"udev", "systemd"}, compiledDatabases},
	{"nothing on a fresh root", nothingToDo, nothing},
}

// accountEffects come first, because the owners that other effects set must exist. The
// overlays' users are added after the first of them.
var accountEffects = []Effect{
	{"users and groups of every system", []string{"base-passwd", "passwd"}, basePasswd},
	{"users of scripts", []string{"rpcbind", "nfs-common", "tcpdump", "openssh-client", "wpasupplicant"}, addSystemUsers},
	{"users of sysusers.d", []string{"systemd", "udev", "dbus-system-bus-common", "systemd-resolved", "systemd-timesyncd", "openssh-server"}, sysusers},
}

// nothingToDo are packages whose scripts act only on upgrades, on a running system, on
// other boot systems or on Debian's own initramfs, so that they leave nothing in a fresh
// root:
var nothingToDo = []string{
	"adduser",             // moves an old configuration on upgrades
	"amd64-microcode",     // rebuilds an initramfs; the boot stage takes the files
	"debconf",             // loads its own library
	"dpkg",                // its database is written by the builder; see dpkgDatabase
	"e2fsprogs",           // rebuilds an initramfs
	"firmware-bnx2",       // rebuilds an initramfs
	"gzip",                // ends a diversion of zutils
	"init-system-helpers", // repairs what debootstrap diverted
	"initramfs-tools",     // never installed
	"intel-microcode",     // rebuilds an initramfs; the boot stage takes the files
	"iproute2",            // setcap, off by default
	"libc6",               // restarts services, protects /lib64 while it moves
	"libext2fs2t64",       // diversions that protect files while they move
	"libgssapi-krb5-2",    // moves an old configuration
	"libpam0g",            // restarts services
	"libreadline8t64",     // diversions that protect files while they move
	"libselinux1",         // removes old files
	"libtirpc3t64",        // diversions that protect files while they move
	"linux-base",          // debconf templates
	"login.defs",          // adopts a moved file
	"openssl",             // links /usr/lib/ssl, which the package ships
	"procps",              // applies sysctl on a running system
	"raspi-firmware",      // copies firmware to the boot partition: the boot stage does
	"systemd-sysv",        // restores links lost in an upgrade
	"ucf",                 // its database has no use without apt

	// These look at the machine's keys and call grub-install; the boot stage takes the
	// files.
	"shim-helpers-amd64-signed", "shim-helpers-arm64-signed", "shim-signed",
}

func nothing(*state) error { return nil }

// apply runs the effects whose packages are in the image.
func apply(s *state, effects []Effect) error {
	for _, e := range effects {
		if !s.has(e.Packages...) {
			continue
		}
		s.source = "rootfs " + e.Name
		if err := e.apply(s); err != nil {
			return wrapEffect(e, err)
		}
	}
	s.source = "rootfs"
	return nil
}

func wrapEffect(e Effect, err error) error { return fmt.Errorf("%s: %w", e.Name, err) }
