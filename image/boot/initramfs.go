package boot

import (
	"bytes"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/image/kmod"
	"github.com/going-mobile/imagebuilder/image/tree"
)

// EFIModules are the modules that init needs on UEFI in addition to the board's.
var EFIModules = []string{"efivarfs"}

// Initramfs returns the compressed initramfs: init, the modules, and three small files that
// tell init the order in which to load modules, the time of the build, and the image's name
// (package contract).
func Initramfs(in Input) ([]byte, error) {
	t, err := initramfsTree(in)
	if err != nil {
		return nil, fmt.Errorf("initramfs: %w", err)
	}
	var out bytes.Buffer
	if err := writeZstd(&out, t); err != nil {
		return nil, fmt.Errorf("initramfs: %w", err)
	}
	return out.Bytes(), nil
}

func initramfsTree(in Input) (*tree.Tree, error) {
	modules, err := in.closure()
	if err != nil {
		return nil, err
	}
	t := tree.New()
	f := files{t: t, epoch: in.Epoch}
	f.addMode("init", 0o755, in.Init)
	for _, dir := range []string{"dev", "proc", "run", "sys", "sysroot"} {
		if f.err == nil {
			f.err = t.MkdirAll(dir, in.Epoch, source)
		}
	}
	f.err = addConsole(in, t, f.err)
	for _, m := range modules {
		c, err := in.content(m.Path, "the kernel package brings it")
		if err != nil {
			return nil, err
		}
		f.add(m.Path, c)
	}
	f.add(contract.ModuleFile, tree.String(moduleList(modules)))
	f.add(contract.EpochFile, tree.String(contract.EncodeEpoch(in.Epoch)))
	f.add(contract.BuildFile, tree.String(fmt.Sprintf("imagebuilder %s %s, kernel %s\n", in.Board, in.ImageVersion, in.Kernel)))
	return t, f.err
}

// addConsole adds the device that the kernel opens as init's standard files before anything
// is mounted; without it, nobody would see a panic of init.
func addConsole(in Input, t *tree.Tree, err error) error {
	if err != nil {
		return err
	}
	return t.Add(&tree.Node{
		Path: "dev/console", Mode: fs.ModeDevice | fs.ModeCharDevice | 0o600, ModTime: in.Epoch,
		Dev: tree.Dev{Major: 5, Minor: 1}, Source: source,
	})
}

// moduleList lists the modules in load order, with the dependencies of each.
func moduleList(modules []kmod.Module) string {
	var list []contract.Module
	for _, m := range modules {
		list = append(list, contract.Module{Path: m.Path, Needs: m.Needs})
	}
	return contract.EncodeModules(list)
}

// closure returns the modules to load, in load order.
func (in Input) closure() ([]kmod.Module, error) {
	names := in.Modules
	if in.Pi == nil {
		names = append(append([]string(nil), names...), EFIModules...)
	}
	return in.Closure(names)
}

// vendors are the makers of processors: the directory of their packages' updates, and the
// name under which the kernel looks for them.
var vendors = []struct{ dir, file string }{
	{"usr/lib/firmware/amd-ucode", "AuthenticAMD.bin"},
	{"usr/lib/firmware/intel-ucode", "GenuineIntel.bin"},
}

// Microcode returns the early cpio archive with microcode updates for processors, or nil if
// the board wants none. The kernel looks for one file per vendor with all updates,
// uncompressed, at the very beginning of the initramfs
// (Documentation/arch/x86/microcode.rst). Debian appends .initramfs to the names of updates
// that must not be loaded later than that.
func Microcode(in Input) ([]byte, error) {
	if len(in.Microcode) == 0 {
		return nil, nil
	}
	t := tree.New()
	f := files{t: t, epoch: in.Epoch}
	for _, v := range vendors {
		updates, err := in.updates(v.dir)
		if err != nil {
			return nil, err
		}
		if len(updates) > 0 {
			f.add("kernel/x86/microcode/"+v.file, tree.Bytes(updates))
		}
	}
	if f.err != nil {
		return nil, f.err
	}
	if t.Get("kernel") == nil {
		return nil, fmt.Errorf("no microcode of the root matches %q: add the package intel-microcode or amd64-microcode", in.Microcode)
	}
	var out bytes.Buffer
	if err := writeCpio(&out, t); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// updates concatenates the files of a directory that the board wants, which both vendors'
// formats allow.
func (in Input) updates(dir string) ([]byte, error) {
	var all []byte
	for _, n := range in.Root.Children(dir) {
		// In some versions, AMD's updates are accompanied by signature files.
		if n.Mode.IsDir() || path.Ext(n.Path) == ".asc" || !matchAny(in.Microcode, path.Base(n.Path)) {
			continue
		}
		b, err := in.read(n.Path, "the microcode package brings it")
		if err != nil {
			return nil, err
		}
		all = append(all, b...)
	}
	return all, nil
}

func matchAny(patterns []string, name string) bool {
	for _, p := range patterns {
		if ok, _ := path.Match(p, strings.TrimSuffix(name, ".initramfs")); ok {
			return true
		}
	}
	return false
}
