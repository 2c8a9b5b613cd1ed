package grub

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Types of the objects after GRUB's kernel (include/grub/kernel.h), and the list's magic
// number, "mimg".
const (
	kindELF    = 0
	kindPrefix = 3
	listMagic  = 0x676d696d
)

// kernelAndModules is what the decompressor unpacks: the kernel as it is laid out in
// memory, a header, and each module with its own header.
func kernelAndModules(files Files, modules []string, prefix string) ([]byte, error) {
	kernel, err := kernelImage(files)
	if err != nil {
		return nil, fmt.Errorf("kernel.img: %w", err)
	}
	all, err := withDependencies(files, modules)
	if err != nil {
		return nil, err
	}
	const header = 12
	list := make([]byte, header)
	for _, name := range all {
		module, err := files(name + ".mod")
		if err != nil {
			return nil, err
		}
		list = appendObject(list, kindELF, module)
	}
	list = appendObject(list, kindPrefix, append([]byte(prefix), 0))
	le.PutUint32(list[0:], listMagic)
	le.PutUint32(list[4:], header)
	le.PutUint32(list[8:], uint32(len(list)))
	return append(kernel, list...), nil
}

func appendObject(list []byte, kind uint32, data []byte) []byte {
	padding := -len(data) & 3
	list = le.AppendUint32(list, kind)
	list = le.AppendUint32(list, uint32(8+len(data)+padding))
	return append(append(list, data...), make([]byte, padding)...)
}

// kernelImage lays the kernel's sections out as in memory, up to those that begin empty.
// GRUB looks for its modules after that.
func kernelImage(files Files) ([]byte, error) {
	b, err := files("kernel.img")
	if err != nil {
		return nil, err
	}
	f, err := elf.NewFile(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	const base, limit = 0x9000, 1 << 20
	if f.Machine != elf.EM_386 || f.Type != elf.ET_EXEC || f.Entry != base {
		return nil, errors.New("is no kernel of GRUB for a PC's BIOS")
	}
	var image []byte
	for _, s := range f.Sections {
		if s.Flags&elf.SHF_ALLOC == 0 {
			continue
		}
		at := int(s.Addr) - base
		if at < len(image) || at > limit {
			return nil, fmt.Errorf("its section %s is out of place", s.Name)
		}
		if s.Type == elf.SHT_NOBITS {
			break
		}
		image = append(image, make([]byte, at-len(image))...)
		data, err := s.Data()
		if err != nil {
			return nil, err
		}
		image = append(image, data...)
	}
	return image, nil
}

// withDependencies sorts modules so that each follows those it needs, according to
// moddep.lst, whose lines are "name: name name".
func withDependencies(files Files, modules []string) ([]string, error) {
	b, err := files("moddep.lst")
	if err != nil {
		return nil, err
	}
	needs := map[string][]string{}
	for line := range strings.Lines(string(b)) {
		name, list, _ := strings.Cut(line, ":")
		needs[name] = strings.Fields(list)
	}
	var all []string
	var add func(name string) error
	add = func(name string) error {
		if slices.Contains(all, name) {
			return nil
		}
		list, known := needs[name]
		if !known {
			return fmt.Errorf("moddep.lst knows no module %s", name)
		}
		delete(needs, name) // a cycle ends as an unknown module
		for _, n := range slices.Backward(list) {
			if err := add(n); err != nil {
				return err
			}
		}
		all = append(all, name)
		return nil
	}
	for _, name := range modules {
		if err := add(name); err != nil {
			return nil, err
		}
	}
	return all, nil
}
