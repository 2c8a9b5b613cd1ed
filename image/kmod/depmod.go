package kmod

import (
	"encoding/binary"
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/going-mobile/imagebuilder/image/tree"
)

// depmod writes the indexes of the modules in the tree: modules.dep, modules.alias,
// modules.symbols and the others that depmod of kmod 34 writes, with the same content. Only
// modules.symbols is in another order: by name, where depmod's order depends on a hash
// table. modTime is the time of the files.
func (m *Modules) depmod(modTime time.Time) error {
	b, err := m.remember(m.fingerprint("depmod"), func() ([]byte, error) {
		files, err := m.indexFiles()
		return encodeFiles(files), err
	})
	if err != nil {
		return err
	}
	files, err := decodeFiles(b)
	if err != nil {
		return err
	}
	for _, f := range files {
		n := &tree.Node{Path: path.Join(m.dir, f.name), Mode: 0o644, ModTime: modTime, Source: "depmod", Content: tree.Bytes(f.data)}
		if err := m.tree.Put(n); err != nil {
			return err
		}
	}
	return nil
}

// indexFile is one file to write.
type indexFile struct {
	name string
	data []byte
}

// indexFiles computes the content of all indexes.
func (m *Modules) indexFiles() ([]indexFile, error) {
	order, err := m.byOrder()
	if err != nil {
		return nil, err
	}
	if err := load(order); err != nil {
		return nil, err
	}
	g, err := newGraph(order)
	if err != nil {
		return nil, err
	}
	files := []indexFile{
		{"modules.dep", g.depText()},
		{"modules.alias", g.infoText("# Aliases extracted from modules themselves.\n", aliasLines)},
		{"modules.softdep", g.infoText("# Soft dependencies extracted from modules themselves.\n", softdepLines)},
		{"modules.weakdep", g.infoText("# Weak dependencies extracted from modules themselves.\n", weakdepLines)},
		{"modules.symbols", g.symbolText()},
		{"modules.devname", g.devnameText()},
	}
	for _, t := range []struct {
		name string
		fill func(*trieNode) error
	}{
		{"modules.dep.bin", g.depTrie},
		{"modules.alias.bin", g.aliasTrie},
		{"modules.symbols.bin", g.symbolTrie},
		{"modules.builtin.bin", m.builtinTrie},
		{"modules.builtin.alias.bin", m.builtinAliasTrie},
	} {
		root := &trieNode{}
		if err := t.fill(root); err != nil {
			return nil, fmt.Errorf("%s: %w", t.name, err)
		}
		data, err := root.encode()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", t.name, err)
		}
		files = append(files, indexFile{t.name, data})
	}
	return files, nil
}

// builtinTrie adds the names of the modules that are compiled in.
func (m *Modules) builtinTrie(root *trieNode) error {
	text, err := readOptional(m.tree, path.Join(m.dir, "modules.builtin"))
	if err != nil {
		return err
	}
	for line := range strings.Lines(text) {
		if name := builtinName(line); name != "" {
			if err := root.insert(name, "", 0); err != nil {
				return err
			}
		}
	}
	return nil
}

// builtinAliasTrie adds the aliases of the modules that are compiled in. The file
// modules.builtin.modinfo is a sequence of "module.key=value\0".
func (m *Modules) builtinAliasTrie(root *trieNode) error {
	text, err := readOptional(m.tree, path.Join(m.dir, "modules.builtin.modinfo"))
	if err != nil {
		return err
	}
	for line := range strings.SplitSeq(text, "\x00") {
		name, rest, _ := strings.Cut(line, ".")
		alias, ok := strings.CutPrefix(rest, "alias=")
		if !ok || name == "" || alias == "" {
			continue
		}
		if alias, ok = normaliseAlias(alias); !ok {
			continue
		}
		if err := root.insert(alias, name, 0); err != nil {
			return err
		}
	}
	return nil
}

// normaliseAlias is normalise, except that dashes in character ranges, as in "usb:v[0-9]",
// do not change. It returns false for unmatched brackets, which make an alias useless.
func normaliseAlias(alias string) (string, bool) {
	b := []byte(alias)
	inside := false
	for i, c := range b {
		switch {
		case c == ']' && !inside:
			return "", false
		case c == ']':
			inside = false
		case c == '[':
			inside = true
		case c == '-' && !inside:
			b[i] = '_'
		}
	}
	return string(b), !inside
}

// encodeFiles encodes index files for the cache: name and data, each preceded by its
// length.
func encodeFiles(files []indexFile) []byte {
	var b []byte
	for _, f := range files {
		b = append(binary.AppendUvarint(b, uint64(len(f.name))), f.name...)
		b = append(binary.AppendUvarint(b, uint64(len(f.data))), f.data...)
	}
	return b
}

func decodeFiles(b []byte) ([]indexFile, error) {
	field := func() ([]byte, bool) {
		n, k := binary.Uvarint(b)
		if k <= 0 || n > uint64(len(b)-k) {
			return nil, false
		}
		f := b[k : k+int(n)]
		b = b[k+int(n):]
		return f, true
	}
	var files []indexFile
	for len(b) > 0 {
		name, ok := field()
		data, also := field()
		if !ok || !also {
			return nil, errDamaged
		}
		files = append(files, indexFile{string(name), data})
	}
	return files, nil
}
