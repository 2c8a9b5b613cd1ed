//go:build vm && linux

package vmtest

import (
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot"
)

// TestTroubles breaks the cluster of a joined node: k3s hangs, answers as late as a real one whose
// disk was busy, crashes again and again, and once between two checks. Screen, card and programs
// report it, and become green again by themselves. A node to which nothing happens writes nothing
// meanwhile.
func TestTroubles(t *testing.T) {
	tn := newTailnet(t)
	m := newMachine(t, "generic-amd64", image(t, "generic-amd64"))
	m.personalise(tn.first("home-pi"))
	m.powerOn()
	m.seeJoined()
	if os.Getenv("K3S") == "" { // only the stand-in can be told to fail
		m.told("hang", "The cluster does not answer as it should: no answer within 10s", "k3s-silent")
		m.told("slow", "The cluster answers late, after", "k3s-slow")
		m.told("crash", "The cluster program", "k3s-failed k3s-starting k3s-restarted k3s-silent")
	}
	m.follows("joined", "JOINED - everything is fine", "Checked")
	m.sh("kill -9 $(systemctl show -P MainPID k3s)")
	m.until("told of the crash", func(firstboot.Status) bool {
		return strings.Contains(m.sh("journalctl -b -u firstboot -o cat --no-pager | tail -5"), "problem=k3s-")
	})
	m.follows("joined", "JOINED - everything is fine")
	m.idles()
	tn.Stop()
	m.rests()
}

// told makes the stand-in fail and then recover.
func (m *machine) told(how, words, codes string) {
	m.t.Helper()
	m.follows("joined", "JOINED - everything is fine", "Checked")
	m.sh("echo %s > /etc/rancher/k3s/standin-fail", how)
	s := m.follows(how, "WAITING - the node keeps trying by itself", words)
	if s.Problem == nil || !strings.Contains(codes, s.Problem.Code) {
		m.t.Errorf("%s: %s", how, s.Line())
	}
	m.screenshot("k3s-" + how)
	m.sh("rm /etc/rancher/k3s/standin-fail")
}

// follows waits until the card says some words, and returns what programs read
// then. It takes a minute at most, which firstboot's own tests hold it to;
// emulation on a busy machine may take longer.
func (m *machine) follows(what string, words ...string) firstboot.Status {
	m.t.Helper()
	began := time.Now()
	for {
		text := strings.Join(strings.Fields(m.sh("cat /boot/firmware/STATUS.TXT; firstboot status")), " ")
		missing := 0
		for _, w := range words {
			if strings.Count(text, w) < 2 { // on the card, and as of now
				missing++
			}
		}
		took := time.Since(began).Round(time.Second)
		switch {
		case missing == 0:
			m.t.Logf("%s: told after %v", what, took)
			return m.status()
		case took > 3*time.Minute:
			m.t.Fatalf("%s: not told after %v: %s", what, took, text)
		}
		time.Sleep(time.Second)
	}
}

// idles watches two minutes of a joined node in which nothing happens: STATUS.TXT
// stays as it is.
func (m *machine) idles() {
	m.t.Helper()
	written := func() int {
		n, err := strconv.Atoi(m.sh("awk '{print $7}' /sys/block/vda/stat")) // in sectors; Documentation/block/stat.rst
		if err != nil {
			m.t.Fatal(err)
		}
		return n * 512
	}
	const told = "stat -c %%Y /boot/firmware/STATUS.TXT"
	time.Sleep(time.Minute) // the boot's last writes
	before, card, cpu := written(), m.sh(told), m.sh("systemctl show -P CPUUsageNSec firstboot")
	time.Sleep(2 * time.Minute)
	n := written() - before
	m.t.Logf("two minutes of a joined node: %d bytes written; CPU ns of firstboot: %s, then %s", n, cpu, m.sh("systemctl show -P CPUUsageNSec firstboot"))
	if m.sh(told) != card {
		m.t.Errorf("STATUS.TXT was written though nothing happened")
	}
}

// rests counts what tailscaled logs while its server is down.
func (m *machine) rests() {
	m.t.Helper()
	const count = "journalctl -b -u tailscaled -o cat --no-pager | wc -l"
	before := m.sh(count)
	time.Sleep(2 * time.Minute)
	m.t.Logf("two minutes without Headscale: %s lines of tailscaled, then %s", before, m.sh(count))
	if debug := m.sh("journalctl -b -u tailscaled -o cat --no-pager | grep -c '\\[v1' || true"); debug != "0" {
		m.t.Errorf("%s lines for debugging in the journal", debug)
	}
}
