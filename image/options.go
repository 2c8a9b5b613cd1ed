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
	// Accept maps packages to the reason why their unmodelled maintainer
	// scripts may be ignored.
	Accept map[string]string

	// Lock pins every input; nil resolves against the mirrors' current state.
	Lock *lock.Lock
	// Mirrors and SecurityMirrors of Debian, in order; empty means the host's
	// own, then the snapshot archive.
	Mirrors, SecurityMirrors []string
	// AllowOlderIndex takes indexes although newer ones were seen.
	AllowOlderIndex bool
	// Components overrides components: name → VERSION, FILE or URL.
	Components map[string]string
	// ComponentMirror replaces the scheme and host of release URLs.
	ComponentMirror string
	// Images are references of container images besides the board's and the
	// overlays'.
	Images []string
	// RegistryMirror is asked for their bytes first, never for what a tag means.
	RegistryMirror string
	// Locked refuses an image of which neither the reference nor the lock says
	// the digest.
	Locked bool
	// Strict refuses to defer a component to first boot, or to warn of one.
	Strict bool

	// Signer signs what firmware starts, with its owner's key: the board is then one
	// with secureBoot: own, whatever it says, and starts by UEFI alone.
	Signer *authenticode.Signer

	// Out is the raw image's path; the manifest, the lock and the rest lie
	// beside it.
	Out string
	// Compress is zst, xz, gz or empty: also write a compressed image.
	Compress string
	// QCOW2 also writes the image in QEMU's format.
	QCOW2 bool
	// SBOM also writes SPDX and CycloneDX documents.
	SBOM bool
	// Version overrides IMAGE_VERSION, which otherwise comes from the inputs.
	Version string
	// Force builds even where nothing has changed.
	Force bool

	Cache    *fetch.Cache
	Progress progress.Reporter
	// Now is what signed indexes are checked against.
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
	// Warnings are of this computer, its network and the given lock, and Deferred says why components are
	// left to first boot; the manifest has neither.
	Warnings []string          `json:"warnings,omitempty"`
	Deferred map[string]string `json:"deferred,omitempty"`
	// Unchanged is set where the image was up to date and nothing was written.
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

// lap ends the stage that began at the lap before, or a part of a stage.
func (s *stopwatch) lap(name string) {
	now := time.Now()
	i := slices.IndexFunc(s.stages, func(have Stage) bool { return have.Name == name })
	if i < 0 {
		i, s.stages = len(s.stages), append(s.stages, Stage{Name: name})
	}
	s.stages[i].Seconds += now.Sub(s.last).Seconds()
	s.last = now
}
