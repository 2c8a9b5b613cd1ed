package flash

import (
	"cmp"
	"regexp"
	"slices"
	"strings"
)

// This file has what users are advised to do on each system. It is built on every system so
// that it is tested on every system.

// asRoot is how to run the program as root without hiding from it the variables in which a
// fleet's secrets may be.
const asRoot = "run it with sudo --preserve-env=HEADSCALE_API_KEY,IMAGEBUILDER_AGE_IDENTITY (and name there what else fleet.yaml has by {env: NAME})"

// macAllowed: on macOS root is not enough if the terminal has no permission to use
// removable volumes.
const macAllowed = asRoot + "; and allow your terminal the use of removable volumes (System Settings, Privacy & Security)"

// unmount is the command that unmounts whatever is mounted of a device. On Linux it names
// mounts inside of others first.
func unmount(system string, d Device) string {
	if system == "darwin" {
		return "diskutil unmountDisk " + cmp.Or(d.Disk, d.Path)
	}
	command := "umount"
	for _, at := range slices.Backward(d.Mounts) {
		command += " " + shellWord(at)
	}
	return command
}

// shellWord quotes a word for a shell if it needs that.
func shellWord(s string) string {
	if plainWord.MatchString(s) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

var plainWord = regexp.MustCompile(`^[\w/.:@%+,-]+$`)
