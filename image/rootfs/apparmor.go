package rootfs

import (
	"path"
	"regexp"
	"slices"
	"strings"
)

const apparmorHome = `# This file is auto-generated. It is recommended you update it using:
# $ sudo dpkg-reconfigure apparmor
#
# The following is a space-separated list of where additional user home
# directories are stored, each must have a trailing '/'. Directories added
# here are appended to @{HOMEDIRS}.  See tunables/home for details.
#@{HOMEDIRS}+=
`

const apparmorXDG = `# ------------------------------------------------------------------
#
#    Copyright (C) 2014 Canonical Ltd.
#    This program is free software; you can redistribute it and/or
#    modify it under the terms of version 2 of the GNU General Public
#    License published by the Free Software Foundation.
#
# ------------------------------------------------------------------

# The following may be used to add additional entries such as for
# translations. See tunables/xdg-user-dirs for details. Eg:
#@{XDG_MUSIC_DIR}+="Musique"

#@{XDG_DESKTOP_DIR}+=""
#@{XDG_DOWNLOAD_DIR}+=""
#@{XDG_TEMPLATES_DIR}+=""
#@{XDG_PUBLICSHARE_DIR}+=""
#@{XDG_DOCUMENTS_DIR}+=""
#@{XDG_MUSIC_DIR}+=""
#@{XDG_PICTURES_DIR}+=""
#@{XDG_VIDEOS_DIR}+=""
`

// apparmor writes the tunables of apparmor's postinst.
func apparmor(s *state) error {
	return firstError(
		s.defaultFile("etc/apparmor.d/tunables/home.d/ubuntu", 0o644, apparmorHome),
		s.defaultFile("etc/apparmor.d/tunables/xdg-user-dirs.d/site.local", 0o644, apparmorXDG),
	)
}

// apparmorProfile is the line by which dh_apparmor(1) names the profile in
// the block it adds to a postinst.
var apparmorProfile = regexp.MustCompile(`(?m)^\s*APP_PROFILE="(/etc/apparmor\.d/[^"/]+)"$`)

// apparmorLocals makes the empty local/PROFILE that the profiles of all
// packages include, whether or not apparmor itself is there.
func apparmorLocals(s *state) error {
	var profiles []string
	for _, p := range s.packages {
		for _, m := range apparmorProfile.FindAllStringSubmatch(p.ControlFiles["postinst"], -1) {
			profiles = append(profiles, strings.TrimPrefix(m[1], "/"))
		}
	}
	slices.Sort(profiles)
	for _, p := range profiles {
		if !s.exists(p) {
			continue
		}
		if err := s.defaultFile(path.Join("etc/apparmor.d/local", path.Base(p)), 0o644, ""); err != nil {
			return err
		}
	}
	return nil
}
