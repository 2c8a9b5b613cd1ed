//go:build vm && linux

package vmtest

import "testing"

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
		written := node.idles()
		node.scrap()

		b.ReportMetric(0, "ns/op")
		b.ReportMetric(up.Seconds(), "s-multi-user")
		b.ReportMetric(joined.Seconds(), "s-joined")
		b.ReportMetric(joined.Seconds()/up.Seconds(), "joined/multi-user")
		b.ReportMetric(float64(written)/1e6*720, "MB-written/idle-day")
	}
}
