package rootfs

import (
	"io/fs"

	"github.com/going-mobile/imagebuilder/image/tree"
)

// machineID ships an empty /etc/machine-id: systemd writes the node's own on
// the first boot. A missing file would make PID 1 apply all presets, and one
// with "uninitialized" would make every boot a first boot.
func machineID(s *state) error {
	return firstError(
		s.put("etc/machine-id", tree.Node{Mode: 0o444, Content: tree.String("")}),
		s.link("var/lib/dbus/machine-id", "/etc/machine-id"),
	)
}

// iscsiName ships the request for a name instead of the name that
// open-iscsi's postinst generates: one name in many nodes would mix up their
// volumes. The start script of iscsid replaces the line.
func iscsiName(s *state) error {
	return s.file("etc/iscsi/initiatorname.iscsi", 0o600, `# The initiator name of this node, made on its first boot. Targets know the node
# by it: it must be unique, and volumes are out of reach if it changes.
GenerateName=yes
`)
}

// sshHostKeys leaves the keys to sshd-keygen.service. Its ConditionFirstBoot
// is false where /etc/machine-id exists, though empty (systemd 257), so the
// missing key becomes the condition. An RSA key would cost a small machine
// minutes, and no client of today needs one.
func sshHostKeys(s *state) error {
	return s.defaultFile("usr/lib/systemd/system/sshd-keygen.service.d/10-imagebuilder.conf", 0o644, `[Unit]
ConditionFirstBoot=
ConditionPathExists=!/etc/ssh/ssh_host_ed25519_key

[Service]
ExecStart=
ExecStart=/usr/bin/ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key
`)
}

// journal makes the directory whose presence turns the journal persistent.
func journal(s *state) error {
	gid := s.accounts.Group("systemd-journal")
	if gid == nil {
		return nil
	}
	return s.dir("var/log/journal", fs.ModeSetgid|0o755, 0, gid.GID)
}
