package firstboot

import (
	"path"
	"slices"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
)

const (
	ownImages = "/" + contract.ImagesDir
	k3sImages = k3sAgent + "/images" // where k3s looks, also while it runs
)

// imageLinks lists what is wrong with the links by which k3s sees the archives
// of container images that came with the image: missing are those it lacks,
// stale those that an image before this one left. What else lies there is a
// person's.
func (m *machine) imageLinks() (missing, stale []string, err error) {
	ours, err := m.Files.List(ownImages)
	if err != nil {
		return nil, nil, err
	}
	there, err := m.Files.List(k3sImages)
	if err != nil {
		return nil, nil, err
	}
	for _, n := range ours {
		if target, err := m.Files.Readlink(k3sImages + "/" + n); err != nil || target != ownImages+"/"+n {
			missing = append(missing, n)
		}
	}
	for _, n := range there {
		target, err := m.Files.Readlink(k3sImages + "/" + n)
		if err == nil && path.Dir(target) == ownImages && !slices.Contains(ours, n) {
			stale = append(stale, n)
		}
	}
	return missing, stale, nil
}

func (m *machine) linkImages() error {
	missing, stale, err := m.imageLinks()
	if err != nil {
		return err
	}
	for _, n := range missing {
		if err := m.Files.Symlink(ownImages+"/"+n, k3sImages+"/"+n); err != nil {
			return err
		}
	}
	for _, n := range stale {
		if err := m.Files.Remove(k3sImages + "/" + n); err != nil {
			return err
		}
	}
	return nil
}
