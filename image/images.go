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

// findImages pins the container images and brings them into the cache. Those of
// a lock are what the lock says, all of them.
func (p *plan) findImages(ctx context.Context) ([]*oci.Image, error) {
	opt := oci.Options{Arch: p.opt.Board.Arch, Mirror: p.opt.RegistryMirror, Room: int64(p.opt.Board.Disk.Slot), Progress: p.opt.Progress}
	refs := p.images
	if p.opt.Lock != nil {
		refs = lockedImages(p.opt.Lock)
	}
	if err := p.pinned(refs); err != nil {
		return nil, err
	}
	refs, err := oci.Resolve(ctx, p.opt.Cache, refs, opt)
	if err != nil {
		return nil, err
	}
	return oci.Pull(ctx, p.opt.Cache, refs, opt)
}

func lockedImages(l *lock.Lock) (refs []reference.Reference) {
	for _, x := range l.Images {
		refs = append(refs, reference.Reference{Name: x.Name, Digest: x.Digest})
	}
	return refs
}

func lockImages(images []*oci.Image) (list []lock.Image) {
	for _, img := range images {
		list = append(list, lock.Image{Name: img.Name, Digest: img.Digest})
	}
	return list
}

// pinned refuses to ask what a tag means where only digests will do, and a lock
// that lacks what is asked for by name or has another digest of it.
func (p *plan) pinned(refs []reference.Reference) error {
	var problems []error
	for _, want := range p.images {
		i := slices.IndexFunc(refs, func(r reference.Reference) bool { return r.Name == want.Name })
		switch {
		case i < 0:
			problems = append(problems, fmt.Errorf("the lock has no image %s, which the board, an overlay or --images asks for; build once without --lock", want.Name))
		case want.Digest != "" && want.Digest != refs[i].Digest:
			problems = append(problems, fmt.Errorf("the lock has image %s as %s, which the board, an overlay or --images wants as %s", want.Name, refs[i].Digest, want.Digest))
		case refs[i].Digest == "" && p.opt.Locked:
			problems = append(problems, fmt.Errorf("image %s is named by its tag alone, which --locked forbids: write %s@sha256:HEX, or give the --lock of an earlier build", want.Name, want.Name))
		}
	}
	return errors.Join(problems...)
}

// archive is the file in the root that holds all container images, called by its
// digest: k3s imports again what has another name.
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
