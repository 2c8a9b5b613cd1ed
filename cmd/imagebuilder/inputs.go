package main

import (
	"path/filepath"
	"slices"

	"github.com/spf13/pflag"

	"github.com/going-mobile/imagebuilder/image"
	"github.com/going-mobile/imagebuilder/image/lock"
	"github.com/going-mobile/imagebuilder/image/oci"
)

// inputFlags say where the inputs of images come from, for "build" and for commands that
// build by themselves.
type inputFlags struct {
	locks  []string
	locked bool
	strict bool
	mirror string
}

func (in *inputFlags) add(flags *pflag.FlagSet, when string) {
	flags.StringArrayVar(&in.locks, "lock", nil, when+"build from exactly the inputs in this lock, which is trusted; give the same overlays again (repeatable: each of several images has its own IMAGE.lock.json)")
	flags.BoolVar(&in.locked, "locked", false, when+"refuse a container image whose digest is neither in its reference nor in the lock")
	flags.BoolVar(&in.strict, "strict", false, when+"fail if a component cannot be downloaded, instead of deferring it to first boot, or if it causes a warning")
	flags.StringVar(&in.mirror, "registry-mirror", "", when+"base URL of a registry to ask first for container images (but never for the digest of a tag)")
}

func (in *inputFlags) given() bool {
	return len(in.locks) > 0 || in.locked || in.strict || in.mirror != ""
}

// apply sets the flags in builds. A single lock goes with a single build. Otherwise each
// build gets the lock with the name of its output's lock file. The board in a lock would not
// identify the build, as one board may have two images.
func (in *inputFlags) apply(builds ...*buildFlags) error {
	if err := oci.CheckMirror(in.mirror); err != nil {
		return &usageError{err}
	}
	left := slices.Clone(in.locks)
	for _, b := range builds {
		b.opt.Locked, b.opt.Strict, b.opt.RegistryMirror = in.locked, in.strict, in.mirror
		if len(in.locks) == 0 {
			continue
		}
		name := filepath.Base(b.opt.Out) + image.LockSuffix
		at := slices.IndexFunc(left, func(file string) bool { return filepath.Base(file) == name })
		if at < 0 && len(in.locks) == 1 && len(builds) == 1 {
			at = 0
		}
		if at < 0 {
			return usagef("--lock: none of those that are given is called %s, for the image %s", name, b.opt.Out)
		}
		var err error
		if b.opt.Lock, err = lock.Load(left[at]); err != nil {
			return fileOf("--lock", err)
		}
		left = slices.Delete(left, at, at+1)
	}
	if len(left) > 0 {
		return usagef("--lock: %s is of no image that is built", left[0])
	}
	return nil
}
