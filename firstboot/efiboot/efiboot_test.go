package efiboot

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// store is a firmware's.
type store struct {
	vars   map[string][]byte
	writes int
	fault  func() error
}

func newStore() *store {
	return &store{vars: map[string][]byte{}, fault: func() error { return nil }}
}

func (s *store) Names() ([]string, error) { return slices.Collect(maps.Keys(s.vars)), s.fault() }

func (s *store) Read(name string) ([]byte, error) {
	if err := s.fault(); err != nil {
		return nil, err
	}
	data, ok := s.vars[name]
	if !ok {
		return nil, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
	}
	return data, nil
}

func (s *store) Write(name string, data []byte) error {
	if err := s.fault(); err != nil {
		return err
	}
	s.writes++
	s.vars[name] = slices.Clone(data)
	return nil
}

var disk = Loader{Title: "imagebuilder box", Partition: 1, GUID: "00112233-4455-6677-8899-aabbccddeeff", First: 0x2000, Sectors: 0x80000, File: `\EFI\BOOT\BOOTX64.EFI`}

// TestEntry compares with what "efibootmgr -v" and firmware make of one: attributes,
// length of the path, title, HD(1,GPT,…), File(…), end.
func TestEntry(t *testing.T) {
	got, err := disk.encode()
	if err != nil {
		t.Fatal(err)
	}
	wide := func(s string) string { return hex.EncodeToString(text(s)) }
	want := "01000000" + "5e00" + wide("imagebuilder box") +
		"04012a00" + "01000000" + "0020000000000000" + "0000080000000000" + "33221100554477668899aabbccddeeff" + "0202" +
		"04043000" + wide(`\EFI\BOOT\BOOTX64.EFI`) + "7fff0400"
	if hex.EncodeToString(got) != want {
		t.Errorf("got  %x\nwant %s", got, want)
	}
	if titleOf(got) != disk.Title {
		t.Errorf("its title is %q", titleOf(got))
	}
	for n := range got[:beforeIt+2*len(disk.Title)] {
		if title := titleOf(got[:n]); title != "" {
			t.Errorf("%d bytes have the title %q", n, title)
		}
	}
	if _, err := (Loader{GUID: "1234"}).encode(); err == nil {
		t.Error("nonsense is a GUID")
	}
}

func TestStart(t *testing.T) {
	s := newStore()
	s.vars["Boot0000"], s.vars["Boot0002"], s.vars["BootOrder"] = []byte("an entry of somebody else's"), []byte{1}, []byte{2, 0, 0, 0}
	s.vars["Boot00"], s.vars["BootCurrent"] = []byte{9}, []byte{2, 0}
	err := Start(s, disk)
	entry, _ := disk.encode()
	if err != nil || string(s.vars["BootOrder"]) != "\x01\x00\x02\x00\x00\x00" || string(s.vars["BootNext"]) != "\x01\x00" || string(s.vars["Boot0001"]) != string(entry) {
		t.Errorf("%v %q", err, s.vars)
	}
	s.writes = 0
	if err := Start(s, disk); err != nil || s.writes != 0 {
		t.Errorf("again: %v, %d writes", err, s.writes)
	}
	delete(s.vars, "BootNext") // as firmware does
	if err := Start(s, disk); err != nil || s.writes != 1 {
		t.Errorf("after a start: %v, %d writes", err, s.writes)
	}
	s.vars["BootOrder"] = []byte{2, 0, 1, 0, 0, 0}
	moved := disk
	moved.GUID = strings.Repeat("0", 8) + disk.GUID[8:]
	if err := Start(s, moved); err != nil || string(s.vars["BootOrder"]) != "\x01\x00\x02\x00\x00\x00" || len(s.vars) != 7 {
		t.Errorf("another disk of this title: %v %q", err, s.vars)
	}
	if s := newStore(); true {
		if err := Start(s, disk); err != nil || string(s.vars["BootOrder"]) != "\x00\x00" {
			t.Errorf("a firmware without any: %v %q", err, s.vars)
		}
	}
}

// TestUnreadable: an entry that firmware cannot read back still counts as taken.
func TestUnreadable(t *testing.T) {
	s := unreadable{newStore()}
	s.vars["Boot0000"], s.vars["Boot0001"] = []byte("an entry of somebody else's"), nil
	if err := Start(s, disk); err != nil || string(s.vars["BootNext"]) != "\x02\x00" || s.vars["Boot0001"] != nil {
		t.Errorf("%v %q", err, s.vars)
	}
}

// unreadable is a firmware that cannot read empty variables.
type unreadable struct{ *store }

func (u unreadable) Read(name string) ([]byte, error) {
	if data, ok := u.vars[name]; ok && data == nil {
		return nil, fmt.Errorf("%s: %w", name, syscall.EIO)
	}
	return u.store.Read(name)
}

// TestEveryAccessFailsInTurn: the error is returned, and the next attempt ends as the first would
// have.
func TestEveryAccessFailsInTurn(t *testing.T) {
	whole := newStore()
	if err := Start(whole, disk); err != nil {
		t.Fatal(err)
	}
	broken, failed := errors.New("EIO"), 0
	for at := 0; ; at++ {
		s, calls := newStore(), 0
		s.fault = func() error {
			if calls++; calls == at+1 {
				return broken
			}
			return nil
		}
		if err := Start(s, disk); calls <= at {
			break
		} else if !errors.Is(err, broken) {
			t.Fatalf("access %d: %v", at, err)
		}
		failed++
		if err := Start(s, disk); err != nil || !maps.EqualFunc(s.vars, whole.vars, slices.Equal) {
			t.Errorf("after access %d failed: %v %q", at, err, s.vars)
		}
	}
	if failed < 7 {
		t.Errorf("%d accesses", failed)
	}
}
