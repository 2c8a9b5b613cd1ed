package rootfs

import (
	"path"
	"regexp"
	"slices"
	"strings"
)

// These tunables set nothing; they are the files in which an administrator sets something.
const (
	apparmorHome = `# Home directories elsewhere than in /home, each with a "/" at its end:
#@{HOMEDIRS}+=
`
	apparmorXDG = `# Other names of the directories in tunables/xdg-user-dirs, such as translations:
#@{XDG_DOWNLOAD_DIR}+=""
`
)

// apparmor writes the tunables that apparmor's postinst writes.
func apparmor(s *state) error {
	return firstError(
		s.defaultFile("etc/apparmor.d/tunables/home.d/ubuntu", 0o644, apparmorHome),
		s.defaultFile("etc/apparmor.d/tunables/xdg-user-dirs.d/site.local", 0o644, apparmorXDG),
	)
}

// apparmorProfile matches the line that names the profile in the block that dh_apparmor(1)
// adds to a postinst.
var apparmorProfile = regexp.MustCompile(`(?m)^\s*APP_PROFILE="(/etc/apparmor\.d/[^"/]+)"$`)

// apparmorLocals makes the empty local/PROFILE that each profile includes. All packages'
// profiles get one, whether or not apparmor itself is installed.
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
