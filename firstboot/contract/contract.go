// Package contract has everything on which the builder of an image and the
// programs on a node must agree, each thing in one place: names and paths,
// kernel arguments, partition types, and the formats of the small files that
// one side writes and the other reads.
//
// It is a leaf with plain values, an encoder for every parser, and no I/O. It
// refuses to know how anything is made. A test of package image looks for its
// words in all other packages. What a person writes for a node is in package
// node.
package contract

import (
	"strings"
	"time"
)

// Paths from the root of a node's file system, without the leading slash.
const (
	// BootDir is where the boot partition is mounted, on every board.
	BootDir = "boot/firmware"
	// ImagesDir holds the container images that came with the image.
	ImagesDir = "usr/lib/imagebuilder/images"
	// ChartsDir holds Helm charts, under the names by which a cluster's seed
	// refers to them.
	ChartsDir = "usr/lib/imagebuilder/charts"
	// DpkgDir has dpkg's database. It describes the image, so it is part of the
	// image; /var, which is the node's own partition, only has a symlink to it.
	DpkgDir = "usr/lib/imagebuilder/dpkg"
	// StateFile tells the running system, as JSON, what the initramfs did.
	StateFile = "run/imagebuilder/boot.json"
	// TrialMark exists if this boot is on trial: a unit can test for a file,
	// but not for what StateFile says.
	TrialMark = "run/imagebuilder/trial"
)

// ByDigest returns the name of an archive of container images, without its
// extension. It has the digest in it because k3s (1.33.1) skips an archive if
// it has imported one under the same name before.
func ByDigest(name, sha256 string) string { return name + "-" + sha256[:12] }

// IsByDigest reports whether an archive with that digest may have that name.
func IsByDigest(called, sha256 string) bool {
	return called == ByDigest(called[:max(0, strings.LastIndex(called, "-"))], sha256)
}

// RepairFile on the boot partition makes the next boot run e2fsck -y once,
// after a careful check has given up. The page on the screen tells a person to
// put it there.
const RepairFile = "repair.txt"

// EFIBootDir has, under a name for each architecture, what firmware starts from
// a disk for which it has no boot entry.
const (
	EFIBootDir   = "EFI/BOOT/"
	EFIBootAMD64 = "BOOTX64.EFI"
	EFIBootARM64 = "BOOTAA64.EFI"
)

// K3sRuns is the least time that k3s runs before its unit restarts it, so that
// it renews its certificates.
const K3sRuns = 60 * 24 * time.Hour

// Networks that a node is in besides its own: those of pods and services,
// unless k3s was given others, and that of the tailnet's addresses.
const (
	PodNetwork     = "10.42.0.0/16"
	ServiceNetwork = "10.43.0.0/16"
	TailnetNetwork = "100.64.0.0/10"
)

const imagePrefix = "imagebuilder-"

// ImageID returns the IMAGE_ID in the os-release of an image for a board.
func ImageID(board string) string { return imagePrefix + board }

// ImageBoard returns the board of an IMAGE_ID. ours is false for a system that
// is not our image.
func ImageBoard(id string) (board string, ours bool) { return strings.CutPrefix(id, imagePrefix) }
