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

// slowDisk is an etcd's disk that makes its cluster slow: etcd wants a tenth of it
// (etcd.io, "What does the etcd warning 'failed to send out heartbeat on time'
// mean?"), which no SD card reaches.
const slowDisk = 100 * time.Millisecond

// etcd reads what this machine's etcd has measured since it started: the way to its
// peers, which must be shorter than a heartbeat, and its disk.
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

// metrics are samples by name and labels, in Prometheus' text format.
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

// cutLast parts a sample from its name: labels may have blanks in them.
func cutLast(line string) (name, value string, ok bool) {
	at := strings.LastIndexByte(line, ' ')
	if at < 0 {
		return "", "", false
	}
	return line[:at], line[at+1:], true
}

// mean is the largest mean of a histogram among its labels, and that label's value.
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
