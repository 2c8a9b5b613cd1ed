// Package contract holds what the builder of an image and the programs on a
// node must agree on, each thing spelled once: names and paths, kernel
// arguments, the forms of the small files that one writes and the other reads,
// partition types.
//
// It is a leaf: plain values, an encoder beside every parser, no I/O. It
// refuses to know how anything is made. A test of package image looks for its
// words in all others. What a person writes for a node is package node's.
package contract

import (
	"strings"
	"time"
)

// Paths from the root of a node's file system, without the first slash.
const (
	// BootDir is where every board has its boot partition.
	BootDir = "boot/firmware"
	// ImagesDir holds the container images that came with the image.
	ImagesDir = "usr/lib/imagebuilder/images"
	// ChartsDir holds Helm charts, under the names by which a cluster's seed calls
	// them.
	ChartsDir = "usr/lib/imagebuilder/charts"
	// DpkgDir has dpkg's database: it describes the image, so it comes with
	// it; /var, a partition of the node, has but a link to it.
	DpkgDir = "usr/lib/imagebuilder/dpkg"
	// StateFile tells the running system, as JSON, what the initramfs did.
	StateFile = "run/imagebuilder/boot.json"
	// TrialMark is there where this start is one of a slot on trial: units can ask for
	// a file, and not for what StateFile says of it.
	TrialMark = "run/imagebuilder/trial"
)

// ByDigest is what an archive of container images is called, before its ending:
// k3s (1.33.1) passes by an archive that it has imported under the same name, so
// another one must have another.
func ByDigest(name, sha256 string) string { return name + "-" + sha256[:12] }

// IsByDigest says whether an archive of that digest may be called so.
func IsByDigest(called, sha256 string) bool {
	return called == ByDigest(called[:max(0, strings.LastIndex(called, "-"))], sha256)
}

// RepairFile on the boot partition lets e2fsck -y have its way once, where a
// careful check has given up. The person who puts it there was told so by the
// page on the screen.
const RepairFile = "repair.txt"

// EFIBootDir has, by a name for each architecture, what firmware starts from any
// disk that it was told nothing about.
const (
	EFIBootDir   = "EFI/BOOT/"
	EFIBootAMD64 = "BOOTX64.EFI"
	EFIBootARM64 = "BOOTAA64.EFI"
)

// K3sRuns is for how long k3s runs at least until its unit starts it anew by itself,
// so that it renews its certificates.
const K3sRuns = 60 * 24 * time.Hour

// Networks that a node is in besides its own: those of pods and services where
// nobody gave k3s others, and that of a tailnet's addresses.
const (
	PodNetwork     = "10.42.0.0/16"
	ServiceNetwork = "10.43.0.0/16"
	TailnetNetwork = "100.64.0.0/10"
)

const imagePrefix = "imagebuilder-"

// ImageID is what IMAGE_ID says in a board's os-release.
func ImageID(board string) string { return imagePrefix + board }

// ImageBoard returns the board of an IMAGE_ID; others have no ID of ours.
func ImageBoard(id string) (board string, ours bool) { return strings.CutPrefix(id, imagePrefix) }
