package qcow2

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// opened reads a whole disk out of a file, and compares it with what is wanted.
func opened(t *testing.T, name string, want io.ReaderAt) error {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	r, err := NewReader(f, fi.Size())
	if err != nil {
		return err
	}
	got, whole := make([]byte, 1<<20), make([]byte, 1<<20)
	for off := int64(0); off < r.Size(); off += int64(len(got)) {
		n, err := r.ReadAt(got, off)
		if err != nil && err != io.EOF {
			return err
		}
		if m, _ := want.ReadAt(whole, off); m != n || !bytes.Equal(got[:n], whole[:n]) {
			return fmt.Errorf("another disk from byte %d on", off)
		}
	}
	return nil
}

// TestReading: what Write writes and what QEMU makes of the same disk are read as
// that disk.
func TestReading(t *testing.T) {
	for name, c := range disks {
		raw, dir := sparse(t, c.size, c.at...), t.TempDir()
		var own bytes.Buffer
		if err := Write(&own, raw, c.size); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "own"), own.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		kinds := map[string][]string{"plain": {}}
		if c.size < 1<<24 {
			kinds = map[string][]string{"lazy": {"-o", "lazy_refcounts=on"}, "filled": {"-o", "preallocation=full"}, "full of zeros": {"-S", "0"}, "small counts": {"-o", "refcount_bits=1"}}
		}
		for kind, options := range kinds {
			qemuImg(t, append(append([]string{"convert", "-f", "raw", "-O", "qcow2"}, options...), raw.Name(), filepath.Join(dir, kind))...)
		}
		for _, kind := range append(slices.Collect(maps.Keys(kinds)), "own") {
			if err := opened(t, filepath.Join(dir, kind), raw); err != nil {
				t.Errorf("%s, %s: %v", name, kind, err)
			}
		}
	}
}

// TestReadingHereAndThere: any part of a disk is as in the whole, and its end is one.
func TestReadingHereAndThere(t *testing.T) {
	size := int64(5*cluster + sector)
	raw := sparse(t, size, 100, 3*cluster-50, size-900)
	var b bytes.Buffer
	if err := Write(&b, raw, size); err != nil {
		t.Fatal(err)
	}
	r, err := NewReader(bytes.NewReader(b.Bytes()), int64(b.Len()))
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		off, n := random.Int64N(size+2000), random.IntN(3*cluster)
		got, want := bytes.Repeat([]byte{7}, n), make([]byte, n)
		gotN, gotErr := r.ReadAt(got, off)
		wantN, wantErr := raw.ReadAt(want, off)
		if n == 0 {
			wantErr = nil // os.File and io.ReaderAt differ there
		}
		if gotN != wantN || !errors.Is(gotErr, wantErr) || !bytes.Equal(got[:gotN], want[:wantN]) {
			t.Fatalf("%d bytes at %d: %d, %v; want %d, %v", n, off, gotN, gotErr, wantN, wantErr)
		}
	}
	if _, err := r.ReadAt(make([]byte, 1), -1); err == nil {
		t.Error("there is something before a disk")
	}
}

// TestQEMUsOtherImages are refused by name.
func TestQEMUsOtherImages(t *testing.T) {
	raw := sparse(t, 1<<20, 0, 300_000)
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	made := func(name string, args ...string) string {
		qemuImg(t, append(args, file(name))...)
		return file(name)
	}
	with := func(args ...string) []string {
		return append(append([]string{"convert", "-f", "raw", "-O", "qcow2"}, args...), raw.Name())
	}
	plain := made("plain", with()...)
	qemuImg(t, "create", "-f", "qcow2", "-b", plain, "-F", "qcow2", file("backed"))
	qemuImg(t, "convert", "-O", "qcow2", plain, file("snapped"))
	qemuImg(t, "snapshot", "-c", "before", file("snapped"))
	for name, c := range map[string]struct{ file, want string }{
		"older":         {made("older", with("-o", "compat=0.10")...), "is of version 2; want 3"},
		"packed":        {made("packed", with("-c")...), "has compressed clusters; unpack it"},
		"packed anew":   {made("zstd", with("-c", "-o", "compression_type=zstd")...), "is compressed in its own way"},
		"large":         {made("large", with("-o", "cluster_size=128k")...), "has clusters of 2^17 bytes; want 2^16"},
		"extended":      {made("extended", with("-o", "extended_l2=on")...), "has extended tables"},
		"data outside":  {made("outside", with("-o", "data_file="+file("data"))...), "keeps its data in another file"},
		"backed":        {file("backed"), "has a backing file"},
		"snapped":       {file("snapped"), "has snapshots"},
		"a raw image":   {raw.Name(), "is no image of this format"},
		"an encrypted":  {made("encrypted", with("--object", "secret,id=s,data=abc", "-o", "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10")...), "is encrypted"},
		"an empty file": {os.DevNull, "is no image of this format"},
	} {
		if err := opened(t, c.file, raw); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v; want %q", name, err, c.want)
		}
	}
}

// TestDamagedImages say so, wherever the damage is; bytes of the disk itself are
// for a digest to judge.
func TestDamagedImages(t *testing.T) {
	const size = 4 * cluster
	var b bytes.Buffer
	if err := Write(&b, sparse(t, size, 0, 3*cluster), size); err != nil {
		t.Fatal(err)
	}
	// The file is header, refcounts in two clusters, L1, L2, and two clusters of data.
	const l1, l2 = 3 * cluster, 4 * cluster
	word := func(at int, to uint64) func([]byte) []byte {
		return func(b []byte) []byte { binary.BigEndian.PutUint64(b[at:], to); return b }
	}
	short := func(n int) func([]byte) []byte { return func(b []byte) []byte { return b[:len(b)-n] } }
	for name, c := range map[string]struct {
		damage func([]byte) []byte
		want   string // "" for what is good
	}{
		"nothing":                      {short(0), ""},
		"zeros by a flag":              {word(l2+8, 1), ""},
		"its last cluster":             {short(1), "is damaged or cut short"},
		"its tables":                   {short(b.Len() - l1 - 4), "is damaged or cut short"},
		"its L2":                       {short(b.Len() - l2 - 100), "is damaged or cut short"},
		"most of it":                   {short(b.Len() - 50), "is cut short in its header"},
		"a disk of nothing":            {word(24, 0), "0 bytes are no disk"},
		"a disk of half a sector":      {word(24, 100), "100 bytes are no disk"},
		"a disk larger than all":       {word(24, 1<<63), "are no disk"},
		"more disk than tables":        {word(24, 2*perTable*cluster), "its first table is shorter than its disk"},
		"no first table":               {word(40, 0), "should be at byte 0"},
		"a first table in a cluster":   {word(40, l1+512), "is damaged or cut short"},
		"a first table after the end":  {word(40, 1<<40), "is damaged or cut short"},
		"a table that is nowhere":      {word(l1, copied|1<<40), "is damaged or cut short"},
		"a table with an unknown bit":  {word(l1, 1<<60|l2), "leads nowhere"},
		"a table of zeros":             {word(l1, 1|l2), "leads nowhere"},
		"a cluster that is nowhere":    {word(l2, copied|99*cluster), "is damaged or cut short"},
		"a cluster in a cluster":       {word(l2, copied|l2+1024), "is damaged or cut short"},
		"a cluster with a foreign bit": {word(l2, 2|l2), "leads nowhere"},
		"a feature to come":            {word(72, 1<<7), "a feature that this program does not know"},
		"not closed, and damaged":      {word(72, 3), "was not closed (qemu-img check -r all), is marked as damaged"},
	} {
		file := c.damage(bytes.Clone(b.Bytes()))
		r, err := NewReader(bytes.NewReader(file), int64(len(file)))
		if err == nil {
			_, err = io.ReadAll(io.NewSectionReader(r, 0, r.Size()))
		}
		switch {
		case c.want == "" && err != nil, c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v, want %q", name, err, c.want)
		case errors.Is(err, io.ErrUnexpectedEOF):
			t.Errorf("%s: io.ReadFull's word for a good end", name)
		}
	}
}

// FuzzReader: any header and tables are refused or read, in bounds, and what is
// read is the same in parts as in one piece.
func FuzzReader(f *testing.F) {
	const size = 3 * cluster
	var b bytes.Buffer
	if err := Write(&b, bytes.NewReader(bytes.Repeat([]byte("disk"), size/4)), size); err != nil {
		f.Fatal(err)
	}
	file := b.Bytes()
	f.Add(file[:headerLength], file[3*cluster:][:8], file[4*cluster:][:3*8])
	f.Fuzz(func(t *testing.T, header, l1, l2 []byte) {
		changed := bytes.Clone(file)
		copy(changed[:cluster], header)
		copy(changed[3*cluster:][:cluster], l1)
		copy(changed[4*cluster:][:cluster], l2)
		r, err := NewReader(bytes.NewReader(changed), int64(len(changed)))
		if err != nil {
			return
		}
		disk := make([]byte, min(r.Size(), size))
		if _, err := r.ReadAt(disk, 0); err != nil {
			return
		}
		part := make([]byte, 1000)
		for off := 0; off < len(disk); off += 30_001 {
			n, err := r.ReadAt(part, int64(off))
			if n < len(part) && int64(off+n) != r.Size() || !bytes.HasPrefix(disk[off:], part[:min(n, len(disk)-off)]) {
				t.Fatalf("at %d: %d bytes, %v", off, n, err)
			}
		}
	})
}
