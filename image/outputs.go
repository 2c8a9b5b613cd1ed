package image

import (
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/codec"
	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/image/compress"
	"github.com/going-mobile/imagebuilder/image/deb"
	"github.com/going-mobile/imagebuilder/image/disk"
	"github.com/going-mobile/imagebuilder/image/lock"
	"github.com/going-mobile/imagebuilder/image/manifest"
	"github.com/going-mobile/imagebuilder/image/overlay"
	"github.com/going-mobile/imagebuilder/image/provenance"
	"github.com/going-mobile/imagebuilder/image/tree"
	"github.com/going-mobile/imagebuilder/image/verify"
)

// LockSuffix names the lock beside an image.
const LockSuffix = ".lock.json"

// Suffixes of files beside the image that imagebuilder never reads back. The suffixes of
// the others are defined in the packages that write and read them.
const (
	spdxSuffix      = ".spdx.json"
	cycloneDXSuffix = ".cdx.json"
)

// files lists what a build with these options writes, the image first.
func (p *plan) files() []string {
	out := p.opt.Out
	list := []string{out, out + manifest.Suffix, out + LockSuffix, out + provenance.Suffix, out + disk.MapSuffix}
	for _, v := range p.variants() {
		list = append(list, v.name, v.name+verify.SumSuffix)
	}
	if p.opt.SBOM {
		list = append(list, out+spdxSuffix, out+cycloneDXSuffix)
	}
	return list
}

// stale lists files beside the image that an earlier build with other options left there.
// They describe another image. They are the user's, so the build does not delete them.
func (p *plan) stale() []string {
	var list []string
	others := []string{p.opt.Out + spdxSuffix, p.opt.Out + cycloneDXSuffix}
	for _, f := range append(slices.Clone(compress.Formats), compress.QCOW2) {
		name := p.variant(f).name
		others = append(others, name, name+verify.SumSuffix) // the checksum file of an image that may be gone
	}
	for _, name := range others {
		if !slices.Contains(p.files(), name) && !modTime(name).IsZero() {
			list = append(list, name)
		}
	}
	return list
}

// upToDate returns the manifest beside the image if it is of the same inputs, or nil if
// there is something to build. The manifest is written last: a file that is newer was
// touched by somebody else. An imagebuilder that is newer than the manifest may build other
// bytes.
func (p *plan) upToDate(id string) *manifest.Manifest {
	if p.opt.Force {
		return nil
	}
	name := p.opt.Out + manifest.Suffix
	data, err := os.ReadFile(name)
	if err != nil {
		return nil
	}
	m, err := manifest.Decode(name, data)
	if err != nil || m.Inputs != id || m.Builder != Version() {
		return nil
	}
	written := modTime(name)
	for _, file := range p.files() {
		if t := modTime(file); t.IsZero() || t.After(written) {
			return nil
		}
	}
	if info, err := os.Stat(p.opt.Out); err != nil || info.Size() != m.Image.Size {
		return nil
	}
	if self, err := os.Executable(); err != nil || modTime(self).After(written) {
		return nil
	}
	return m
}

// modTime returns the zero time for a file that is not there.
func modTime(name string) time.Time {
	info, err := os.Stat(name)
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}

func (p *plan) manifest(in *inputs, pkgs []*deb.Package, s *slotRoot, v *volume, id, version string) (*manifest.Manifest, error) {
	m := &manifest.Manifest{
		Version: 1, Builder: Version(), Codec: codec.Name(), Inputs: id, Timestamp: in.lock.Timestamp, Accepted: map[string]string{},
		Image: manifest.Image{
			Board: p.opt.Board.Name, Arch: p.opt.Board.Arch, ID: contract.ImageID(p.opt.Board.Name), Version: version,
			Size: v.layout.Size, SHA256: v.bmap.SHA256,
		},
		Packages: packageList(pkgs, in.lock, s.tree), Components: []manifest.Component{},
		Warnings: append(in.warnings, s.warnings...),
	}
	if s := p.opt.Signer; s != nil {
		m.Image.Signer = &manifest.Signer{Name: s.Name(), SHA256: fmt.Sprintf("%x", s.Fingerprint())}
	}
	names := map[int]string{contract.PartBoot: "boot", contract.PartRootA: contract.NameRootA, contract.PartBIOS: contract.NameBIOS}
	for _, part := range v.layout.Partitions {
		m.Partitions = append(m.Partitions, manifest.Partition{
			Number: part.Number, Name: names[part.Number], Type: part.Type, Start: part.Start, Size: part.Size,
		})
	}
	for _, o := range p.overlays {
		sum, err := overlay.DirHash(p.opt.OverlayFS, o.Name)
		if err != nil {
			return nil, err
		}
		m.Overlays = append(m.Overlays, manifest.Overlay{Name: o.Name, DirHash: sum})
	}
	for i, c := range in.components {
		m.Components = append(m.Components, manifest.Component{
			Name: c.Name, Version: c.Version, URL: in.lock.Components[i].URL, SHA256: c.SHA256, Size: c.Size,
			BuiltFrom: c.BuiltFrom, Toolchain: c.Toolchain, Deferred: c.Deferred, Warning: c.Warning,
		})
	}
	m.Images = containers(in.images)
	for _, a := range s.gate.Accepted {
		m.Accepted[a.Package] = a.Reason
	}
	return m, nil
}

// packageList lists the packages with the number of bytes that each has in the image: the
// Source of a file is its package's name and version.
func packageList(pkgs []*deb.Package, l *lock.Lock, root *tree.Tree) []manifest.Package {
	suite, size := map[string]string{}, map[string]int64{}
	for _, pkg := range l.Packages {
		suite[pkg.Name] = pkg.Suite
	}
	for n := range root.Walk() {
		size[n.Source] += n.Size()
	}
	list := make([]manifest.Package, 0, len(pkgs))
	for _, pkg := range pkgs {
		source, sourceVersion := pkg.Origin()
		list = append(list, manifest.Package{
			Name: pkg.Name, Version: pkg.Version, Arch: pkg.Architecture, SHA256: pkg.SHA256,
			Source: source, SourceVersion: sourceVersion, Suite: suite[pkg.Name], Size: size[pkg.Name+" "+pkg.Version],
		})
	}
	return list
}
