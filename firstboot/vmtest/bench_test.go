//go:build vm && linux

package vmtest

import "testing"

// BenchmarkFirstBoot compares the first boot of a node up to "joined" with the
// first boot of the same image, which nobody personalised, up to multi-user.
// One run is enough: -benchtime 1x.
func BenchmarkFirstBoot(b *testing.B) {
	const boardName = "generic-amd64"
	tn, img := newTailnet(b), image(b, boardName)
	for range b.N {
		plain := newMachine(b, boardName, img)
		plain.flash()
		plain.powerOn()
		up := plain.see(multiUser)
		plain.Kill()

		m := newMachine(b, boardName, img)
		m.personalise(tn.first("home-pi"))
		m.powerOn()
		joined := m.seeJoined()
		m.Kill()
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(up.Seconds(), "s-multi-user")
		b.ReportMetric(joined.Seconds(), "s-joined")
		b.ReportMetric(joined.Seconds()/up.Seconds(), "joined/multi-user")
	}
}
