package firstboot

import (
	"path"
	"slices"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/node"
)

// linked is a directory of the image whose files k3s looks for in another one, below /var.
// Symlinks there lead to them.
type linked struct{ from, to string }

// linkedDirs returns this node's linked directories: the archives of container images, which k3s
// imports even while it runs, and on servers the charts, which all servers offer.
func (m *machine) linkedDirs() []linked {
	all := []linked{{"/" + contract.ImagesDir, k3sAgent + "/images"}}
	if m.cfg.Role == node.Server {
		all = append(all, linked{"/" + contract.ChartsDir, k3sServer + "/static/charts"})
	}
	return all
}

// differ lists what is wrong with the links: missing ones, and stale ones that an earlier
// image left. Anything else in that directory is k3s' own, or a person's.
func (m *machine) differ(l linked) (missing, stale []string, err error) {
	ours, err := m.Files.List(l.from)
	if err != nil {
		return nil, nil, err
	}
	there, err := m.Files.List(l.to)
	if err != nil {
		return nil, nil, err
	}
	for _, n := range ours {
		if target, err := m.Files.Readlink(l.to + "/" + n); err != nil || target != l.from+"/"+n {
			missing = append(missing, n)
		}
	}
	for _, n := range there {
		target, err := m.Files.Readlink(l.to + "/" + n)
		if err == nil && path.Dir(target) == l.from && !slices.Contains(ours, n) {
			stale = append(stale, n)
		}
	}
	return missing, stale, nil
}

func (m *machine) imageLinksDone() (bool, error) {
	for _, l := range m.linkedDirs() {
		if missing, stale, err := m.differ(l); err != nil || len(missing)+len(stale) > 0 {
			return false, err
		}
	}
	return true, nil
}

func (m *machine) layImageLinks() error {
	for _, l := range m.linkedDirs() {
		missing, stale, err := m.differ(l)
		if err != nil {
			return err
		}
		for _, n := range missing {
			if err := m.Files.Symlink(l.from+"/"+n, l.to+"/"+n); err != nil {
				return err
			}
		}
		for _, n := range stale {
			if err := m.Files.Remove(l.to + "/" + n); err != nil {
				return err
			}
		}
	}
	return nil
}
