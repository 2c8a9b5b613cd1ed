package oci

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/going-mobile/imagebuilder/image/fetch"
	"github.com/going-mobile/imagebuilder/image/oci/reference"
)

// mirrorFlag is how errors refer to the option that sets a mirror.
const mirrorFlag = "'imagebuilder build --registry-mirror URL'"

// advice adds what to do about a registry that refuses or does not answer.
func (p *puller) advice(r reference.Reference, err error) error {
	repo, bad := r.Repository()
	if bad != nil {
		return err
	}
	at, said := r.Registry(), word(err, repo)
	switch fetch.Status(said) {
	case http.StatusUnauthorized:
		return fmt.Errorf("%w\n%s wants to know who asks, or the image does not exist there: 'docker login %s' (or podman, crane) puts the answer into docker's config.json", err, at, at)
	case http.StatusForbidden:
		return fmt.Errorf("%w\nwhom docker's config.json names for %s may not read it", err, at)
	case http.StatusNotFound:
		return fmt.Errorf("%w\n%s has no such image, tag or digest (or hides it from whoever has not logged in)", err, at)
	case http.StatusTooManyRequests:
		return fmt.Errorf("%w\n%s has had enough for now: wait, log in ('docker login %s') or take a mirror (%s); what has arrived is kept", err, at, at, mirrorFlag)
	}
	var op *net.OpError
	switch silent := errors.As(said, &op) && op.Op == "dial"; {
	case silent && r.Digest == "":
		return fmt.Errorf("%w\n%s cannot be reached, and no other registry is asked what a tag means: write the image's digest, and take it from a mirror (%s)", err, at, mirrorFlag)
	case silent && p.opt.Mirror == "":
		return fmt.Errorf("%w\n%s cannot be reached: take it from a mirror (%s)", err, at, mirrorFlag)
	}
	return err
}

// word returns the registry's own last error. A mirror's errors do not count, as a mirror
// may lack the image.
func word(err error, repo name.Repository) error {
	var all *fetch.Error
	if !errors.As(err, &all) { // a tag, for which only the registry is asked
		return err
	}
	var said error
	for _, a := range all.Attempts {
		if strings.HasPrefix(a.URL, base(repo)+"/") {
			said = a.Err
		}
	}
	return said
}

// RoomError says that something does not fit into a slot.
type RoomError struct {
	What       string // subject and verb: "the root has"
	Need, Room int64  // bytes
	Largest    []*Image
}

func (e *RoomError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %.1f MB, %.1f MB more than a slot of %.1f MB: leave something out, or give the board a larger disk.slot",
		e.What, mb(e.Need), mb(e.Need-e.Room), mb(e.Room))
	if len(e.Largest) > 0 {
		b.WriteString("; the largest container images are")
	}
	for _, img := range e.Largest {
		fmt.Fprintf(&b, "\n  %8.1f MB  %s", mb(img.Size), img.Name)
	}
	return b.String()
}

func mb(n int64) float64 { return float64(n) / 1e6 }

// Fits returns a RoomError if what, which needs need bytes, does not fit into room bytes.
// The error lists the largest images, which might be left out.
func Fits(what string, need, room int64, images []*Image) error {
	if need <= room {
		return nil
	}
	sorted := slices.Clone(images)
	slices.SortStableFunc(sorted, func(a, b *Image) int { return cmp.Compare(b.Size, a.Size) })
	return &RoomError{what, need, room, sorted[:min(5, len(sorted))]}
}

// checkRoom adds up the sizes of all blobs; a shared blob counts once.
func checkRoom(images []*Image, room int64) error {
	var all []blob
	for _, img := range images {
		all = append(all, img.blobs...)
	}
	all, err := distinct(all)
	if err != nil {
		return err
	}
	var need int64
	for _, b := range all {
		need += b.size
	}
	return Fits("the container images have", need, cmp.Or(room, math.MaxInt64), images)
}
