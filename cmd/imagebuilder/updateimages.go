package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/going-mobile/imagebuilder/image/atomicfile"
	"github.com/going-mobile/imagebuilder/image/fetch"
	"github.com/going-mobile/imagebuilder/image/fleet"
	"github.com/going-mobile/imagebuilder/image/rollout"
	"github.com/going-mobile/imagebuilder/image/update"
)

// source is what a board's update is made from.
type source struct {
	file string
	img  *update.Image
	base *update.Image // nil if none was named
}

type sources []*source

// close closes the images. Errors do not matter, as they were only read.
func (all sources) close() {
	for _, s := range all {
		_ = s.img.Close()
		if s.base != nil {
			_ = s.base.Close()
		}
	}
}

// updates is what a rollout needs to know about the images.
func (all sources) updates() (list []rollout.Update) {
	for _, s := range all {
		list = append(list, rollout.Of(s.img))
	}
	return list
}

// scratch makes the directory for unpacked images and for updates.
func (u *updateFlags) scratch() (remove func(), err error) {
	u.temp, remove, err = fetch.Scratch("update")
	return remove, err
}

// open opens the images and, if named, the bases that nodes run. The caller must close all,
// even after an error.
func (u *updateFlags) open(cmd *cobra.Command) (all sources, err error) {
	progress := newUI(cmd, u.quiet)
	defer progress.close()
	for _, name := range u.images {
		img, err := update.Open(cmd.Context(), name, u.temp, progress)
		if err != nil {
			return all, err
		}
		all = append(all, &source{file: name, img: img})
	}
	for _, name := range u.bases {
		base, err := update.Open(cmd.Context(), name, u.temp, progress)
		if err == nil {
			err = all.addBase(name, base)
		}
		if err != nil {
			return all, err
		}
	}
	return all, nil
}

// addBase assigns a base to the image of the same board.
func (all sources) addBase(name string, base *update.Image) error {
	for _, s := range all {
		if s.img.Label.Board == base.Label.Board && s.base == nil {
			s.base = base
			return nil
		}
	}
	_ = base.Close()
	return fmt.Errorf("--base %s: it is for board %s, for which there is no --image, or a base already", name, base.Label.Board)
}

// made is the output of --write.
type made struct {
	File    string `json:"file"`
	Board   string `json:"board"`
	Version string `json:"version"`
	Size    int64  `json:"size"` // in bytes
}

// write writes the update to a file for the user.
func (u *updateFlags) write(cmd *cobra.Command, f *fleet.Fleet) error {
	remove, err := u.scratch()
	if err != nil {
		return err
	}
	defer remove()
	all, err := u.open(cmd)
	defer all.close()
	if err != nil {
		return err
	}
	m, err := u.make(cmd, f, all[0], u.file)
	if err != nil {
		return err
	}
	return u.printMade(cmd.OutOrStdout(), m)
}

// make makes the update and writes it to a file.
func (u *updateFlags) make(cmd *cobra.Command, f *fleet.Fleet, s *source, name string) (*made, error) {
	key, err := f.Signer()
	if err != nil {
		return nil, err
	}
	signer, err := u.signer.read()
	if err != nil {
		return nil, err
	}
	progress := newUI(cmd, u.quiet)
	defer progress.close()
	out, err := atomicfile.Create(name, 0o644)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	m, err := update.Write(cmd.Context(), out, s.img, update.Options{Base: s.base, Key: key, Signer: signer, Progress: progress})
	if err != nil {
		return nil, err
	}
	size, err := out.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, err
	}
	return &made{name, m.Board, m.Version, size}, out.Commit()
}
