//go:build vm && linux

package vmtest

import (
	"cmp"
	"os"
	"testing"
	"time"
)

// BenchmarkFirstBoot compares how long a new node takes from power-on to
// "joined" with how long the same image takes to multi-user when nobody
// personalised it: a first boot with nothing to join. One run is enough:
// -benchtime 1x.
func BenchmarkFirstBoot(b *testing.B) {
	const boardName = "generic-amd64"
	tn, img := newTailnet(b), image(b, boardName)
	for range b.N {
		plain := newMachine(b, boardName, img)
		plain.flash()
		plain.powerOn()
		up := plain.see(multiUser)
		plain.scrap()

		node := newMachine(b, boardName, img)
		cfg := tn.first("home-pi")
		cfg.Files = nil // the relay's; one node alone needs none
		node.personalise(cfg)
		node.powerOn()
		joined := node.seeJoined()
		node.scrap()

		b.ReportMetric(0, "ns/op")
		b.ReportMetric(up.Seconds(), "s-multi-user")
		b.ReportMetric(joined.Seconds(), "s-joined")
		b.ReportMetric(joined.Seconds()/up.Seconds(), "joined/multi-user")
	}
}

// settled is when a new node has written its report and the journal of its first
// boot.
const settled = 6 * time.Minute

// BenchmarkIdle reports what QEMU's disk gets in a day from a joined node on which nothing happens,
// and which programs wrote it. IDLE is how long it measures (a duration; default 10m, since the
// journal is flushed every five minutes).
func BenchmarkIdle(b *testing.B) {
	const boardName = "generic-amd64"
	idle, err := time.ParseDuration(cmp.Or(os.Getenv("IDLE"), "10m"))
	if err != nil {
		b.Fatal(err)
	}
	tn, img := newTailnet(b), image(b, boardName)
	for range b.N {
		node := newMachine(b, boardName, img)
		node.personalise(tn.first("home-pi"))
		node.powerOn()
		node.seeJoined()
		time.Sleep(settled)
		before, wrote := node.written()["disk"], node.sh(writers)
		time.Sleep(idle)
		day := (node.written()["disk"] - before) * float64(24*time.Hour) / float64(idle)
		b.Logf("bytes written by each process, before and after %v:\n%s\n--\n%s\nand lines of the journal since:\n%s", idle, wrote, node.sh(writers), node.sh(talkers, int(idle.Seconds())))
		node.scrap()
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(day, "MB-written/idle-day")
	}
}

// talkers counts each program's lines in the journal of the last seconds.
const talkers = `journalctl -q --no-pager -o short --since=-%d | awk '{sub(/\[.*/, "", $5); print $5}' | sort | uniq -c | sort -rn | head -n 8`

// writers lists which processes caused writes: proc_pid_io(5).
const writers = `cd /proc; for p in [0-9]*; do n=$(awk '/^write_bytes/{print $2}' $p/io 2>/dev/null); [ "${n:-0}" = 0 ] || echo "$n $(cat $p/comm)"; done | sort -rn | head -n 12`
