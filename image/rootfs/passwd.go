package rootfs

import (
	"fmt"

	"github.com/going-mobile/imagebuilder/image/tree"
)

// basePasswd reads the users and groups that every Debian system has.
func basePasswd(s *state) error {
	users, err := s.text("usr/share/base-passwd/passwd.master")
	if err != nil {
		return err
	}
	groups, err := s.text("usr/share/base-passwd/group.master")
	if err != nil {
		return err
	}
	if err := s.accounts.parsePasswd(users); err != nil {
		return fmt.Errorf("passwd.master: %w", err)
	}
	if err := s.accounts.parseGroup(groups); err != nil {
		return fmt.Errorf("group.master: %w", err)
	}
	return nil
}

// writeAccounts writes the six account files, when every effect and overlay
// has added its users. subuid and subgid stay empty: system users have none.
func writeAccounts(s *state) error {
	secret := func(p, content string) error {
		return s.put(p, tree.Node{Mode: 0o640, GID: shadowGID, Content: tree.String(content)})
	}
	return firstError(
		s.file("etc/passwd", 0o644, s.accounts.passwd()),
		s.file("etc/group", 0o644, s.accounts.groupFile()),
		secret("etc/shadow", s.accounts.shadow()),
		secret("etc/gshadow", s.accounts.gshadow()),
		s.defaultFile("etc/subuid", 0o644, ""),
		s.defaultFile("etc/subgid", 0o644, ""),
	)
}
