package image

import (
	"io/fs"
	"slices"
	"time"

	"github.com/going-mobile/imagebuilder/image/authenticode"
	"github.com/going-mobile/imagebuilder/image/board"
	"github.com/going-mobile/imagebuilder/image/fetch"
	"github.com/going-mobile/imagebuilder/image/lock"
	"github.com/going-mobile/imagebuilder/image/manifest"
	"github.com/going-mobile/imagebuilder/image/progress"
)

// Options says what to build and where from.
type Options struct {
	Board *board.Board
	// OverlayFS holds the overlays that the board and Overlays name.
	OverlayFS fs.FS
	// Overlays and Packages add to the board's.
	Overlays []string
	Packages []string
	// Accept maps packages to the reason why those of their maintainer scripts that
	// imagebuilder does not model may be ignored.
	Accept map[string]string

	// Lock pins every input; nil resolves against the mirrors' current state.
	Lock *lock.Lock
	// Mirrors and SecurityMirrors are Debian mirrors, in order of preference. If empty, the
	// mirrors of the host's apt are used, then the snapshot archive.
	Mirrors, SecurityMirrors []string
	// AllowOlderIndex accepts an index even if a newer one of its suite was seen before.
	AllowOlderIndex bool
	// Components overrides components: it maps a name to a VERSION, FILE or URL.
	Components map[string]string
	// ComponentMirror replaces the scheme and host of release URLs.
	ComponentMirror string
	// Images are references of container images, in addition to the board's and the
	// overlays'.
	Images []string
	// RegistryMirror is asked first for the content of images, but never to resolve a tag.
	RegistryMirror string
	// Locked refuses an image whose digest is neither in its reference nor in the lock.
	Locked bool
	// Strict refuses to defer a component to first boot, and to accept one with a warning.
	Strict bool

	// Signer signs what the firmware starts with the owner's key. The board is then built
	// with secureBoot: own, whatever its file says, and boots by UEFI only. nil signs
	// nothing.
	Signer *authenticode.Signer

	// Out is the raw image's path; the manifest, the lock and the other files are written
	// beside it.
	Out string
	// Compress is zst, xz, gz or empty; if not empty, a compressed image is written as
	// well.
	Compress string
	// QCOW2 also writes the image in QEMU's format.
	QCOW2 bool
	// SBOM also writes SPDX and CycloneDX documents.
	SBOM bool
	// Version overrides IMAGE_VERSION, which otherwise comes from the inputs; see
	// CheckVersion.
	Version string
	// Force builds even where nothing has changed.
	Force bool

	Cache    *fetch.Cache
	Progress progress.Reporter
	// Now is the time against which the validity of signed indexes is checked.
	Now time.Time
}

// Result is what a build made.
type Result struct {
	Image    string             `json:"image"`
	Manifest *manifest.Manifest `json:"manifest"`
	// Files lists everything that was written, the image first.
	Files []string `json:"files"`
	// Stale lists files beside the image that belong to an earlier one.
	Stale []string `json:"stale,omitempty"`
	// Warnings concern this computer, its network and the given lock; Deferred says why
	// components are left to first boot. The manifest contains neither.
	Warnings []string          `json:"warnings,omitempty"`
	Deferred map[string]string `json:"deferred,omitempty"`
	// Unchanged is set if the image was up to date, so that nothing was written.
	Unchanged bool    `json:"unchanged"`
	Stages    []Stage `json:"stages"`
}

// Stage is the time that one part of a build took.
type Stage struct {
	Name    string  `json:"name"`
	Seconds float64 `json:"seconds"`
}

// stopwatch collects stages.
type stopwatch struct {
	last   time.Time
	stages []Stage
}

func newStopwatch() *stopwatch { return &stopwatch{last: time.Now()} }

// lap ends the stage that began at the previous lap. Laps of the same name add up.
func (s *stopwatch) lap(name string) {
	now := time.Now()
	i := slices.IndexFunc(s.stages, func(have Stage) bool { return have.Name == name })
	if i < 0 {
		i, s.stages = len(s.stages), append(s.stages, Stage{Name: name})
	}
	s.stages[i].Seconds += now.Sub(s.last).Seconds()
	s.last = now
}
