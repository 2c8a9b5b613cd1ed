package doctor

import (
	"bufio"
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/node"
)

// slowDisk is the time for a write from which on etcd's disk makes its cluster slow. etcd
// wants a tenth of that (etcd.io, "What does the etcd warning 'failed to send out
// heartbeat on time' mean?"), which no SD card reaches.
const slowDisk = 100 * time.Millisecond

// etcd judges what this machine's etcd has measured since it started: the round trip to
// its peers, which must take less than half a heartbeat, and its disk.
func (p *patient) etcd(ctx context.Context) {
	const group = "etcd"
	text, err := p.Net.Etcd(ctx, "/metrics")
	if err != nil {
		p.add(group, "tells what it measured", Unknown, err.Error())
		return
	}
	m := parseMetrics(text)
	trip, far := m.mean("etcd_network_peer_round_trip_time_seconds")
	limit := node.EtcdHeartbeat * time.Millisecond / 2
	p.expect(trip < limit, Warning, group, "peers are near", fmt.Sprintf("a round trip to %s takes %v, of a heartbeat of %d ms", far, trip.Round(time.Millisecond), node.EtcdHeartbeat))
	fsync, _ := m.mean("etcd_disk_wal_fsync_duration_seconds")
	p.expect(fsync < slowDisk, Warning, group, "its disk is quick", fmt.Sprintf("a write takes %v until it is safe: give the node a dataDisk", fsync.Round(time.Millisecond)))
}

// metrics are samples by name and labels, from Prometheus' text format.
type metrics map[string]float64

func parseMetrics(text []byte) metrics {
	m := metrics{}
	lines := bufio.NewScanner(strings.NewReader(string(text)))
	for lines.Scan() {
		name, value, ok := cutLast(lines.Text())
		if v, err := strconv.ParseFloat(value, 64); ok && err == nil && !strings.HasPrefix(name, "#") {
			m[name] = v
		}
	}
	return m
}

// cutLast separates a sample's name from its value at the last blank: labels may have
// blanks.
func cutLast(line string) (name, value string, ok bool) {
	at := strings.LastIndexByte(line, ' ')
	if at < 0 {
		return "", "", false
	}
	return line[:at], line[at+1:], true
}

// mean returns a histogram's mean for the label where that is largest, and the label's
// value.
func (m metrics) mean(name string) (longest time.Duration, whose string) {
	for sample, sum := range m {
		labels, ok := strings.CutPrefix(sample, name+"_sum")
		count := m[name+"_count"+labels]
		if !ok || count == 0 {
			continue
		}
		if d := time.Duration(sum / count * float64(time.Second)); d > longest {
			_, whose, _ = strings.Cut(strings.Trim(labels, "{}"), "=")
			longest, whose = d, strings.Trim(whose, `"`)
		}
	}
	return longest, whose
}
