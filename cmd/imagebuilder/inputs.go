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
	locks, components          []string
	locked, strict, olderIndex bool
	registry, componentMirror  string
	mirrors, security          []string
	cache                      string
}

func (in *inputFlags) add(flags *pflag.FlagSet, when string) {
	flags.StringArrayVar(&in.locks, "lock", nil, when+"build from exactly the inputs in this lock, which is trusted; give the same overlays again (repeatable: each of several images has its own IMAGE.lock.json)")
	flags.BoolVar(&in.locked, "locked", false, when+"refuse a container image whose digest is neither in its reference nor in the lock")
	flags.BoolVar(&in.strict, "strict", false, when+"fail if a component cannot be downloaded, instead of deferring it to first boot, or if it causes a warning")
	flags.StringVar(&in.registry, "registry-mirror", "", when+"base URL of a registry to ask first for container images (but never for the digest of a tag)")
	flags.StringArrayVar(&in.components, "component", nil, when+"NAME=VERSION, NAME=FILE or NAME=URL: override a component (repeatable)")
	flags.StringVar(&in.componentMirror, "component-mirror", "", when+"base URL to download components from (but never their digests)")
	flags.StringArrayVar(&in.mirrors, "mirror", nil, when+"Debian mirror (repeatable; default: the mirrors of this host's apt, then the snapshot archive)")
	flags.StringArrayVar(&in.security, "security-mirror", nil, when+"Debian security mirror (repeatable)")
	flags.BoolVar(&in.olderIndex, "allow-older-index", false, when+"accept a Debian index even if a newer one of its suite was seen before")
	flags.StringVar(&in.cache, "cache", "", when+"cache directory (default $XDG_CACHE_HOME/imagebuilder)")
}

// given names one of the flags that were given, "" if none was.
func (in *inputFlags) given(flags *pflag.FlagSet) (name string) {
	own := pflag.NewFlagSet("", pflag.ContinueOnError)
	new(inputFlags).add(own, "")
	flags.Visit(func(f *pflag.Flag) {
		if own.Lookup(f.Name) != nil {
			name = "--" + f.Name
		}
	})
	return name
}

// overrides are the components of --component, after others.
func (in *inputFlags) overrides(others []string) (map[string]string, error) {
	return pairs("--component", slices.Concat(others, in.components), "NAME=VERSION|FILE|URL")
}

// apply sets the flags in builds. A single lock goes with a single build. Otherwise each
// build gets the lock with the name of its output's lock file. The board in a lock would not
// identify the build, as one board may have two images.
func (in *inputFlags) apply(builds ...*buildFlags) error {
	if err := oci.CheckMirror(in.registry); err != nil {
		return &usageError{err}
	}
	left := slices.Clone(in.locks)
	for _, b := range builds {
		b.opt.Locked, b.opt.Strict, b.opt.AllowOlderIndex = in.locked, in.strict, in.olderIndex
		b.opt.RegistryMirror, b.opt.ComponentMirror = in.registry, in.componentMirror
		b.opt.Mirrors, b.opt.SecurityMirrors, b.cache = in.mirrors, in.security, in.cache
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
