package rootfs

import (
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/image/overlay"
	"github.com/going-mobile/imagebuilder/image/tree"
)

// mountPoints are the empty directories over which something is mounted on a node, with
// their modes. Every board's boot partition is mounted at /boot/firmware, as Debian does on
// a Raspberry Pi: /boot keeps the kernel's config, which tools look for there.
var mountPoints = []struct {
	path string
	perm fs.FileMode
}{
	{"proc", 0o555}, {"sys", 0o555}, {"dev", 0o755}, {"run", 0o755},
	{"tmp", fs.ModeSticky | 0o777}, {"var", 0o755}, {"boot", 0o755}, {contract.BootDir, 0o755},
}

func makeMountPoints(s *state) error {
	for _, m := range mountPoints {
		if err := s.dir(m.path, m.perm, 0, 0); err != nil {
			return err
		}
	}
	return nil
}

// osRelease adds the image's name and version, for systemd, boot loaders and people. It
// also adds the image's storage version, which a node reads before it returns to this
// image.
func osRelease(s *state, id, version string) error {
	const p = "usr/lib/os-release"
	text, err := s.text(p)
	if err != nil {
		return err
	}
	fields := []struct{ key, value string }{{"IMAGE_ID", id}, {"IMAGE_VERSION", version}, {contract.StorageField, contract.EncodeStorage(contract.Storage)}}
	for _, f := range fields {
		if f.value == "" {
			continue
		}
		if err := CheckReleaseValue(f.value); err != nil {
			return fmt.Errorf("%s: %w", f.key, err)
		}
		text += f.key + "=" + f.value + "\n"
	}
	return firstError(s.file(p, 0o644, text), s.defaultLink("etc/os-release", "../usr/lib/os-release"))
}

// CheckReleaseValue refuses what cannot be an IMAGE_ID or IMAGE_VERSION. os-release(5)
// allows a-z, 0-9, ".", "_" and "-" in them. "+" and "~" are let through as well.
func CheckReleaseValue(value string) error {
	if strings.Trim(value, "abcdefghijklmnopqrstuvwxyz0123456789._-+~") != "" {
		return fmt.Errorf("%q may only have a-z, 0-9, '.', '_', '-', '+' and '~'", value)
	}
	return nil
}

// clockEpoch makes the file whose modification time systemd takes as the earliest possible
// time on a node without a clock.
func clockEpoch(s *state) error { return s.file("usr/lib/clock-epoch", 0o644, "") }

// modulesLoad lists the overlays' modulesLoad for systemd-modules-load.
func modulesLoad(s *state, overlays []*overlay.Overlay) error {
	for _, o := range overlays {
		if len(o.ModulesLoad) == 0 {
			continue
		}
		text := strings.Join(o.ModulesLoad, "\n") + "\n"
		if err := s.file("usr/lib/modules-load.d/imagebuilder-"+o.Name+".conf", 0o644, text); err != nil {
			return err
		}
	}
	return nil
}

// writeEtcPersist writes the list of the paths in /etc that are kept across updates: those
// of imagebuilder and those of the overlays, which may be files or directories.
func writeEtcPersist(s *state, overlays []*overlay.Overlay) error {
	paths := slices.Clone(contract.NodeEtc)
	for _, o := range overlays {
		for _, p := range o.EtcPersist {
			if !fs.ValidPath(p) || !strings.HasPrefix(p, "etc/") {
				return fmt.Errorf("overlay %s: %q is not a path below etc", o.Name, p)
			}
			paths = append(paths, "/"+p+"/")
		}
	}
	return s.file(contract.PersistFile, 0o644, paths.Encode())
}

// hostname sets the name of a node that has not been given one yet.
func hostname(s *state) error { return s.defaultFile("etc/hostname", 0o644, "localhost\n") }

// clampTimes sets every time that is missing or later than the build's date to that date:
// the image's bytes must not depend on when it was built.
func clampTimes(s *state) error {
	for n := range s.tree.Walk() {
		if !n.ModTime.IsZero() && !n.ModTime.After(s.epoch) {
			continue
		}
		c := n.Clone()
		c.ModTime = s.epoch
		if err := s.tree.Put(c); err != nil {
			return err
		}
	}
	return nil
}

// bootFiles are prefixes of files that the boot stage copies to the boot partition or into
// the initramfs. The root does not need them.
var bootFiles = []string{
	"boot/vmlinuz-",
	"usr/lib/firmware/intel-ucode/",
	"usr/lib/firmware/amd-ucode/",
	"usr/lib/grub/",
	"usr/lib/linux-image-", // device trees
	"usr/lib/raspi-firmware/",
	"usr/lib/shim/",
	"usr/lib/systemd/boot/efi/",
	"usr/lib/u-boot/",
}

// ofKernel are such files beside the modules, where Debian's kernels have them from 7.x on,
// and System.map, which nothing reads.
var ofKernel = []string{"vmlinuz", "System.map", "dtb"}

func isBootFile(name string) bool {
	if inside, ok := strings.CutPrefix(name, "usr/lib/modules/"); ok {
		_, file, _ := strings.Cut(inside, "/")
		file, _, _ = strings.Cut(file, "/")
		return slices.Contains(ofKernel, file)
	}
	return slices.ContainsFunc(bootFiles, func(prefix string) bool {
		return strings.HasPrefix(name, prefix) || name+"/" == prefix
	})
}

// WithoutBootFiles returns t without the kernel image, device trees, microcode,
// boot loaders and firmware of the boot partition.
func WithoutBootFiles(t *tree.Tree) *tree.Tree {
	rest := t.Clone()
	rest.RemoveFunc(func(n *tree.Node) bool { return isBootFile(n.Path) })
	return rest
}
