package kmod

import (
	"encoding/binary"
	"testing"
)

func FuzzModule(f *testing.F) {
	for _, k := range testKernel() {
		f.Add(k.build())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		i, err := parseModule(b)
		if err == nil {
			i.soft()
			i.weak()
		}
	})
}

func FuzzIndex(f *testing.F) {
	root := &trieNode{}
	for i, key := range []string{"", "ext4", "ext3", "e", "fs-ext4", "ext4"} {
		if err := root.insert(key, "value", i); err != nil {
			f.Fatal(err)
		}
	}
	b, err := root.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) { readIndex(b) })
}

// FuzzTrie inserts arbitrary keys and reads them back.
func FuzzTrie(f *testing.F) {
	f.Add("ext4\x00ext3\x00ext\x00\x00ext4\x00alias:b*")
	f.Fuzz(func(t *testing.T, text string) {
		root, want := &trieNode{}, map[string]int{}
		for i := 0; len(text) > 0; i++ {
			n := min(len(text), 1+int(text[0])%7)
			key := text[:n]
			text = text[n:]
			if root.insert(key, "v", i) == nil {
				want[key]++
			}
		}
		b, err := root.encode()
		if err != nil || binary.BigEndian.Uint32(b) != trieMagic {
			t.Fatal(err)
		}
		entries, err := readIndex(b)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if want[e.Key] != len(e.Values) {
				t.Errorf("key %q has %d values, want %d", e.Key, len(e.Values), want[e.Key])
			}
			delete(want, e.Key)
		}
		if len(want) > 0 {
			t.Errorf("lost keys %v", want)
		}
	})
}

func FuzzText(f *testing.F) {
	f.Add("pre: a b post: c", "usb:v[0-9]d-*", "kernel/fs/fuse.ko\n")
	f.Fuzz(func(t *testing.T, softdep, alias, line string) {
		i := &info{softdeps: []string{softdep}, weakdeps: []string{softdep}}
		i.soft()
		i.weak()
		normaliseAlias(alias)
		devname([]string{alias})
		builtinName(line)
		moduleName(line)
		decodeFiles([]byte(line))
	})
}
