//go:build vm && linux

package vmtest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/slot"
)

// sabotage is one way in which an update is bad.
type sabotage struct {
	name string
	// word is what the overlay saboteur does in the system on trial.
	word string
	// spoil is done to the new slot before it is tried: a script.
	spoil string
	// cut switches the machine off this long after the trial has started.
	cut time.Duration
}

// What is run against the slot on trial: a script that finds its root, and files.
const (
	newRoot   = `root=$(lsblk --noheadings --list --output PATH /dev/$(jq -r .disk /run/imagebuilder/boot.json) | sed -n '4p'); `
	newKernel = "/boot/firmware/b/vmlinuz"
	newInit   = "/boot/firmware/b/initrd.img"
)

var sabotages = []sabotage{
	{name: "kernel panic", word: "panic"},
	{name: "PID 1 stands still", word: "freeze"},
	{name: "a start that hangs", word: "hang"},
	{name: "emergency mode", word: "emergency"},
	{name: "restarts again and again", word: "reboot"},
	{name: "a unit that fails", word: "fails"},
	{name: "k3s says nothing", word: "k3s-silent"},
	{name: "k3s dies", word: "k3s-dies"},
	{name: "tailscaled dies", word: "tailscaled"},
	{name: "no network", word: "network"},
	{name: "a firewall that cuts the tailnet", word: "firewall"},
	{name: "nobody can log in", word: "ssh"},
	{name: "the clock is wrong", word: "clock"},
	{name: "a wrong node.yaml", word: "node.yaml"},
	{name: "what it is, lost", word: "identity"},
	{name: "it panics after it has joined", word: "oops"},
	{name: "a bit of the root has flipped", spoil: newRoot + `at=$((40 << 20)); byte=$(od -An -tu1 -j $at -N 1 $root); printf "\\$(printf %o $((byte ^ 1)))" | dd of=$root bs=1 seek=$at conv=notrunc,fsync status=none`},
	{name: "no root", spoil: newRoot + "dd if=/dev/zero of=$root bs=1M count=1 conv=notrunc,fsync status=none"},
	{name: "half a kernel", spoil: "truncate --size 4M " + newKernel},
	{name: "an initramfs of zeros", spoil: "dd if=/dev/zero of=" + newInit + " bs=64k count=4 conv=notrunc status=none"},
	{name: "power cut, early in the trial", word: "fails", cut: 15 * time.Second},
	{name: "power cut, late in the trial", word: "fails", cut: 50 * time.Second},
}

// TestSabotagedUpdates: an update that is bad in one of many ways is abandoned by itself, and the
// node's data is what it was. Each one is tried once, not three times: TestABadUpdateIsUndone shows
// that the tries are counted. The same image without sabotage is kept, GOOD times.
func TestSabotagedUpdates(t *testing.T) {
	const board = "generic-amd64"
	home := newUpdater(t)
	m, before := home.server(board)
	bad := newer(t, board, "bad", "quick", "saboteur")
	update := home.update("bad", bad, "--base", image(t, board))
	for _, s := range sabotages {
		t.Run(s.name, func(t *testing.T) {
			m.t = t
			m.sabotaged(s, update)
			if after := m.sh(all); after != before {
				t.Errorf("after the trial:\n%s\nbefore:\n%s", after, before)
			}
		})
	}
	t.Run("power cuts while it is written", func(t *testing.T) {
		m.t = t
		same := home.update("same", next(t, board, "same", k3s(t, loadBoard(t, board).Arch), "quick"), "--base", image(t, board))
		for range 5 {
			m.cutWhileWritten(same)
		}
	})
	t.Run("none", func(t *testing.T) {
		m.t = t
		m.sh("rm -f /var/lib/saboteur")
		m.keepsGoodOnes(home, image(t, board), newer(t, board, "good", "quick"), bad)
	})
}

// sabotaged lets the node try an update once.
func (m *machine) sabotaged(s sabotage, update string) {
	m.t.Helper()
	m.takes(update)
	m.onlyOnce()
	if s.spoil != "" {
		m.sh("%s", s.spoil)
	}
	m.sh("echo '%s' > /var/lib/saboteur", s.word)
	m.powerOff()
	m.powerOn()
	began := time.Now()
	if s.cut > 0 {
		time.Sleep(s.cut)
		m.Kill()
		m.powerOn()
	}
	ctx, cancel := context.WithTimeout(m.t.Context(), 2*stepLimit)
	defer cancel()
	if _, err := m.WaitSerial(ctx, "init: slot a on "); err != nil {
		m.t.Fatal(err)
	}
	m.t.Logf("back after %v", time.Since(began).Round(time.Second))
	m.joinsIn("a")
	if state := m.sh("firstboot status --json | jq -r '.good, .slot'"); state != "a\na" {
		m.t.Errorf("good and running: %q", state)
	}
}

// onlyOnce takes two of the three tries from a trial that has not begun.
func (m *machine) onlyOnce() {
	m.t.Helper()
	left := func(tries int) string {
		return "/" + contract.BootDir + "/" + slot.EFIName{Generation: 2, Slot: "b", Entry: true, Counted: true, Left: tries}.Path()
	}
	m.sh("mv %s %s", left(3), left(1))
}

// cutWhileWritten switches the node off somewhere in an update. The slot that runs then is
// complete, whichever it is; at the end that is slot a again.
func (m *machine) cutWhileWritten(update string) {
	m.t.Helper()
	after := time.Duration(rand.Int64N(int64(40 * time.Second)))
	ctx, cancel := context.WithTimeout(m.t.Context(), after)
	defer cancel()
	out, err := m.Run(ctx, "curl --silent --show-error --fail "+update+" | firstboot update - 2>&1")
	m.Kill()
	m.t.Logf("cut after %v: %q, %v", after.Round(time.Millisecond), out, err)
	m.powerOn()
	m.seeJoined()
	if m.status().Slot == "b" { // it was done in time, and is good
		m.blessed()
		m.sh("firstboot update --rollback")
		m.powerOff()
		m.powerOn()
		m.joinsIn("a")
		m.blessed()
	}
}

// keepsGoodOnes updates the node GOOD times, alternating between two images and from slot to slot.
func (m *machine) keepsGoodOnes(home *updater, runs string, images ...string) {
	m.t.Helper()
	n, err := strconv.Atoi(os.Getenv("GOOD"))
	if err != nil {
		n = 2
	}
	for i := range n {
		img, in := images[i%2], []string{"b", "a"}[i%2]
		m.takes(home.update(fmt.Sprintf("good-%d", i), img, "--base", runs))
		m.powerOff()
		m.powerOn()
		m.joinsIn(in)
		m.blessed()
		if good := m.sh("firstboot status --json | jq -r .good"); good != in {
			m.t.Errorf("update %d: slot %s is good", i, good)
		}
		runs = img
	}
}

// blessed waits until what runs is good.
func (m *machine) blessed() {
	m.t.Helper()
	m.sh("timeout 600 sh -c 'until systemctl is-active --quiet firstboot-bless.service; do sleep 1; done'")
}
