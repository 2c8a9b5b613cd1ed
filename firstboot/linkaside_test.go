package firstboot_test

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot"
)

// spare is a way out over wlan0, which the kernel takes only without eth0's.
type spare struct {
	silent bool
	refuse string    // the program that fails
	on     time.Time // when systemd switches eth0 on
}

var onActive = regexp.MustCompile(`^systemd-run --quiet --collect --on-active=(\d+) ip link set dev eth0 up$`)

// runWiFi is ip, ping and systemd-run where there are two ways out.
func (w *world) runWiFi(cmd string, answer *string, err *error) bool {
	s := w.out.wifi
	program, _, _ := strings.Cut(cmd, " ")
	switch {
	case program == s.refuse:
		*err = errors.New("exit status 1")
	case cmd == "ip -j -4 route show default":
		*answer = `[{"dst":"default","gateway":"192.168.7.1","dev":"wlan0","protocol":"dhcp","metric":2048,"flags":[]},{"dst":"default","gateway":"192.168.1.1","dev":"eth0","flags":[]}]`
		if !w.links[0].Carrier {
			*answer = `[{"dst":"default","gateway":"192.168.7.1","dev":"wlan0","protocol":"dhcp","metric":2048,"flags":[]}]`
		}
	case cmd == "ip -j neigh show dev wlan0":
		*answer = `[{"dst":"192.168.7.1","state":["REACHABLE"]}]`
		if s.silent {
			*answer = `[{"dst":"192.168.7.1","state":["FAILED"]}]`
		}
	case onActive.MatchString(cmd):
		seconds, _ := strconv.Atoi(onActive.FindStringSubmatch(cmd)[1])
		s.on = w.now.Add(time.Duration(seconds) * time.Second)
		w.note("off for " + fmt.Sprint(time.Duration(seconds)*time.Second))
	case cmd == "ip link set dev eth0 down" && !s.on.IsZero():
		w.links[0].Carrier = false
	case cmd == "ip link set dev eth0 up" && !s.on.IsZero():
		w.plug("on")
	default:
		return false
	}
	return true
}

func (w *world) plug(how string) {
	w.note(how)
	w.links[0].Carrier, w.out.wifi.on = true, time.Time{}
	w.cured("off")
}

// besideWiFi is a joined node with two ways out, of which the first is silent.
func besideWiFi(t *testing.T) *watched {
	o := outside(t)
	o.links = append(o.links, firstboot.Link{Name: "wlan0", Carrier: true})
	o.out.silent, o.out.wifi = true, &spare{}
	o.tick = func() {
		if on := o.out.wifi.on; !on.IsZero() && !o.now.Before(on) {
			o.plug("on by systemd")
		}
	}
	return o
}

// TestADeadCableBesideWiFi: the kernel sends everything through the cable, so
// that Wi-Fi which works is no use until the port is off.
func TestADeadCableBesideWiFi(t *testing.T) {
	o := besideWiFi(t)
	o.after(5*time.Minute+4*time.Minute, func() {
		o.sees("while it is off", "The router (192.168.1.1) does not answer on eth0; that port is off until 12:1", "link-aside", yellow)
	})
	o.goOn(21 * time.Minute)
	o.expect("2m0s off for 5m0s, 7m0s on by systemd, 10m0s off for 10m0s, 20m0s on by systemd")
	o.out.silent = false
	o.goOn(90 * time.Minute)
	o.out.silent = true
	o.out.did = nil
	o.goOn(4 * time.Minute)
	if len(o.out.did) != 1 || !strings.HasSuffix(o.out.did[0], "off for 5m0s") {
		t.Errorf("after a calm hour it did %q", o.out.did)
	}
	o.mute = true
	o.goOn(2 * time.Minute)
	if p := o.status.Problem; p == nil || p.Code != "k3s-silent" {
		t.Error(o.status.Line())
	}
}

// TestAPortThatIsCuredByAPause is left alone then.
func TestAPortThatIsCuredByAPause(t *testing.T) {
	o := besideWiFi(t)
	o.out.cure = "off"
	o.goOn(30 * time.Minute)
	o.expect("2m0s off for 5m0s, 7m0s on by systemd")
	o.sees("mended", green)
}

// TestWiFiThatFailsToo gets the cable back at once: it may be well again.
func TestWiFiThatFailsToo(t *testing.T) {
	for name, fail := range map[string]func(*watched){
		"silent": func(o *watched) { o.out.wifi.silent = true },
		"gone":   func(o *watched) { o.links[1].Carrier = false },
	} {
		o := besideWiFi(t)
		o.after(5*time.Minute+4*time.Minute, func() { fail(o) })
		o.goOn(5*time.Minute + 30*time.Second)
		if did := strings.Join(o.out.did, ", "); !regexp.MustCompile(`^2m0s off for 5m0s, [45]m0s on$`).MatchString(did) {
			t.Errorf("%s: it did %q", name, did)
		}
	}
}

// TestNoPortIsOffForEver: without systemd's order it stays on.
func TestNoPortIsOffForEver(t *testing.T) {
	o := besideWiFi(t)
	o.out.wifi.refuse = "systemd-run"
	o.goOn(10 * time.Minute)
	if o.expect(""); !o.links[0].Carrier || o.status.Problem == nil || o.status.Problem.Code != "unexpected" {
		t.Error(o.status.Line())
	}
}

// TestWiFiBesideALivePort: neither a second way that is silent nor one behind a
// first that answers changes anything.
func TestWiFiBesideALivePort(t *testing.T) {
	for _, silent := range []bool{false, true} {
		o := besideWiFi(t)
		o.out.silent, o.out.wifi.silent = false, silent
		o.goOn(30 * time.Minute)
		o.expect("")
		o.sees("well", green)
	}
}

// TestAVLAN has no chip of its own: its port has.
func TestAVLAN(t *testing.T) {
	o := outside(t)
	o.links = append(o.links, firstboot.Link{Name: "vlan5", Carrier: true})
	o.put("/sys/class/net/vlan5/lower_eth0/address", "")
	o.out.silent, o.out.cure, o.out.dev = true, "eee", "vlan5"
	o.goOn(12 * time.Minute)
	o.expect("2m0s bounce, 6m0s eee off, 6m0s bounce")
	o.sees("mended", green)
}
