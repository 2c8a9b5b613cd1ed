package image

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/image/lock"
	"github.com/going-mobile/imagebuilder/image/manifest"
	"github.com/going-mobile/imagebuilder/image/oci"
	"github.com/going-mobile/imagebuilder/image/oci/reference"
	"github.com/going-mobile/imagebuilder/image/tree"
)

// pinImages finds the digests of the container images. With a lock, the digests are the
// lock's and cover all of its images.
func (p *plan) pinImages(ctx context.Context) ([]reference.Reference, error) {
	return oci.Resolve(ctx, p.opt.Cache, p.wanted(), p.registries())
}

// pullImages brings pinned images into the cache.
func (p *plan) pullImages(ctx context.Context, refs []reference.Reference) ([]*oci.Image, error) {
	return oci.Pull(ctx, p.opt.Cache, refs, p.registries())
}

func (p *plan) registries() oci.Options {
	return oci.Options{Arch: p.opt.Board.Arch, Mirror: p.opt.RegistryMirror, Room: int64(p.opt.Board.Disk.Slot), Progress: p.opt.Progress}
}

func (p *plan) wanted() []reference.Reference {
	if p.opt.Lock != nil {
		return lockedImages(p.opt.Lock)
	}
	return p.images
}

func lockedImages(l *lock.Lock) (refs []reference.Reference) {
	for _, x := range l.Images {
		refs = append(refs, reference.Reference{Name: x.Name, Digest: x.Digest})
	}
	return refs
}

func lockImages(refs []reference.Reference) (list []lock.Image) {
	for _, img := range refs {
		list = append(list, lock.Image{Name: img.Name, Digest: img.Digest})
	}
	return list
}

// checkImages runs before any registry is asked. It refuses an image that is named by tag
// alone where Locked demands digests, a lock that lacks a wanted image or has another
// digest of it, and a malformed RegistryMirror.
func (p *plan) checkImages() error {
	refs := p.wanted()
	problems := []error{oci.CheckMirror(p.opt.RegistryMirror)}
	for _, want := range p.images {
		i := slices.IndexFunc(refs, func(r reference.Reference) bool { return r.Name == want.Name })
		switch {
		case i < 0:
			problems = append(problems, fmt.Errorf("the lock has no image %s, which the board, an overlay, --images or the fleet file asks for; build once without --lock", want.Name))
		case want.Digest != "" && want.Digest != refs[i].Digest:
			problems = append(problems, fmt.Errorf("the lock has image %s as %s, which the board, an overlay, --images or the fleet file wants as %s", want.Name, refs[i].Digest, want.Digest))
		case refs[i].Digest == "" && p.opt.Locked:
			problems = append(problems, fmt.Errorf("image %s is named by its tag alone, which --locked forbids: write %s@sha256:HEX, or give the --lock of an earlier build", want.Name, want.Name))
		}
	}
	return errors.Join(problems...)
}

func (p *plan) imageWarnings() (list []string) {
	for _, r := range p.wanted() {
		if summary, remedy := r.Warning(); summary != "" {
			list = append(list, summary+" "+remedy)
		}
	}
	return list
}

// archive is the file in the root that holds all container images. Its digest is part of
// its name: k3s imports an archive again if its name has changed.
func (p *plan) archive(ctx context.Context, images []*oci.Image) ([]*tree.Node, error) {
	if len(images) == 0 {
		return nil, nil
	}
	a, err := oci.NewArchive(ctx, p.opt.Cache, images)
	if err != nil {
		return nil, err
	}
	name := contract.ImagesDir + "/" + contract.ByDigest("images", a.SHA256()) + ".tar"
	return []*tree.Node{{Path: name, Mode: 0o644, Content: a, Source: "container images"}}, nil
}

func containers(images []*oci.Image) (list []manifest.Container) {
	for _, img := range images {
		list = append(list, manifest.Container{Name: img.Name, Digest: img.Digest, Size: img.Size})
	}
	return list
}
