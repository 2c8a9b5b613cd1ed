package lab

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// switchedOn starts a machine of a lab whose QEMU is a program that only waits, and
// returns its process as the next lab finds it.
func switchedOn(t *testing.T, l *Lab) (*machine, Process) {
	t.Helper()
	bin := t.TempDir()
	for _, name := range []string{"qemu-system-x86_64", "qemu-system-aarch64"} {
		if err := os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\nread line\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", bin)
	m := l.machines[l.Plan.Machines[0].Node]
	b := *m.config.Board
	b.BIOS, m.config.BIOS, m.config.Accel, m.config.Board = true, true, "tcg", &b // needs no firmware
	m.config.Dir = filepath.Join(t.TempDir(), "shed, first floor")
	if err := os.Mkdir(m.config.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(m.config.Dir, "disk.img"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := l.powerOn(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	s, err := readState(l.dir)
	if err != nil {
		t.Fatal(err)
	}
	return m, s.Processes[m.Node]
}

// TestLeftRunning: Remove ends a machine that still runs after its lab was killed, but not a
// process that only has its PID.
func TestLeftRunning(t *testing.T) {
	l := rehearsed(t)
	m, p := switchedOn(t, l)
	if !p.runs() {
		t.Fatalf("%+v is not found again", p)
	}
	for name, other := range map[string]Process{
		"it started at another time": {p.PID, p.Start + "0", p.Disk},
		"it has another disk":        {p.PID, p.Start, p.Disk + "x"},
		"its disk is not known":      {p.PID, p.Start, ""},
		"it has ended":               {1 << 30, p.Start, p.Disk},
	} {
		dir := t.TempDir()
		if err := (State{Processes: map[string]Process{"a": other}}).write(dir); err != nil {
			t.Fatal(err)
		}
		if err := Remove(dir); err != nil || m.running().Ended() {
			t.Errorf("%s: it is ended, %v", name, err)
		}
	}
	if err := Remove(l.dir); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); !m.running().Ended(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it runs on")
		}
	}
}
