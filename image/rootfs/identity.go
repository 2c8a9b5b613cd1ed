package rootfs

import (
	"io/fs"

	"github.com/going-mobile/imagebuilder/image/tree"
)

// machineID ships an empty /etc/machine-id: systemd writes the node's own on the first
// boot. If the file were missing, PID 1 would apply all presets; with "uninitialized" in
// it, every boot would be a first boot.
func machineID(s *state) error {
	return firstError(
		s.put("etc/machine-id", tree.Node{Mode: 0o444, Content: tree.String("")}),
		s.link("var/lib/dbus/machine-id", "/etc/machine-id"),
	)
}

// iscsiName ships the line GenerateName=yes instead of the name that open-iscsi's postinst
// generates: if several nodes had the same name, their volumes would be mixed up. The start
// script of iscsid replaces the line with a generated name.
func iscsiName(s *state) error {
	return s.file("etc/iscsi/initiatorname.iscsi", 0o600, `# The initiator name of this node, made on its first boot. Targets know the node
# by it: it must be unique, and volumes are out of reach if it changes.
GenerateName=yes
`)
}

// sshHostKeys leaves making the host keys to sshd-keygen.service. Its ConditionFirstBoot is
// false if /etc/machine-id exists, even an empty one (systemd 257), so the drop-in replaces
// the condition by the missing key. It makes no RSA key: that would take a small machine
// minutes, and no current client needs one.
func sshHostKeys(s *state) error {
	return s.defaultFile("usr/lib/systemd/system/sshd-keygen.service.d/10-imagebuilder.conf", 0o644, `[Unit]
ConditionFirstBoot=
ConditionPathExists=!/etc/ssh/ssh_host_ed25519_key

[Service]
ExecStart=
ExecStart=/usr/bin/ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key
`)
}

// journal makes the directory whose existence makes the journal persistent.
func journal(s *state) error {
	gid := s.accounts.Group("systemd-journal")
	if gid == nil {
		return nil
	}
	return s.dir("var/log/journal", fs.ModeSetgid|0o755, 0, gid.GID)
}
