package accounts

import (
	"fmt"

	"github.com/going-mobile/imagebuilder/image/overlay"
	"github.com/going-mobile/imagebuilder/image/rootfs/confdir"
)

// AddOverlays adds the overlays' users and groups. Call it before AddSysusers, so that an
// overlay can pin the number of a name that a package leaves open.
func (a *Table) AddOverlays(overlays []*overlay.Overlay) error {
	for _, o := range overlays {
		for _, g := range o.Groups {
			if err := a.addGroup(Group{Name: g.Name, GID: g.GID, password: sysusersPw}); err != nil {
				return fmt.Errorf("overlay %s: %w", o.Name, err)
			}
		}
		for _, u := range o.Users {
			if err := a.overlayUser(u); err != nil {
				return fmt.Errorf("overlay %s: user %s: %w", o.Name, u.Name, err)
			}
		}
	}
	return nil
}

func (a *Table) overlayUser(u overlay.User) error {
	have := a.Group(u.Name)
	if have != nil && have.GID != u.GID {
		return fmt.Errorf("a group of that name has the gid %d, not %d: files of the one would be taken for the other's", have.GID, u.GID)
	}
	if have == nil && a.groupByID(u.GID) == nil {
		if err := a.addGroup(Group{Name: u.Name, GID: u.GID, password: sysusersPw}); err != nil {
			return err
		}
	}
	return a.addUser(User{Name: u.Name, UID: u.UID, GID: u.GID, gecos: u.Gecos,
		home: confdir.Or(u.Home, "/nonexistent"), shell: confdir.Or(u.Shell, noLogin), password: sysusersPw, aging: ":::::"})
}

// AddMembers adds the overlays' users to their groups. Call it once all groups exist.
func (a *Table) AddMembers(overlays []*overlay.Overlay) error {
	for _, o := range overlays {
		for _, u := range o.Users {
			for _, g := range u.Groups {
				if err := a.addMember(u.Name, g); err != nil {
					return fmt.Errorf("overlay %s: %w", o.Name, err)
				}
			}
		}
	}
	return nil
}
