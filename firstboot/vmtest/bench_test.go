//go:build vm && linux

package vmtest

import "testing"

// BenchmarkFirstBoot compares how long a new node takes from power-on to
// "joined" with how long that boot takes to multi-user, when firstboot's
// service has just been started. (An image that nobody personalised would be
// no measure: it makes RSA host keys for minutes.) One run is enough:
// -benchtime 1x.
func BenchmarkFirstBoot(b *testing.B) {
	const boardName = "generic-amd64"
	tn, img := newTailnet(b), image(b, boardName)
	for range b.N {
		m := newMachine(b, boardName, img)
		m.personalise(tn.first("home-pi"))
		m.powerOn()
		up, joined := m.see(multiUser), m.seeJoined()
		m.Kill()
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(up.Seconds(), "s-multi-user")
		b.ReportMetric(joined.Seconds(), "s-joined")
		b.ReportMetric(joined.Seconds()/up.Seconds(), "joined/multi-user")
	}
}
