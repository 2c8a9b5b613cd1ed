//go:build linux

package host_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"tailscale.com/client/tailscale/apitype"
	"tailscale.com/ipn/ipnstate"
	"tailscale.com/tailcfg"
	"tailscale.com/types/views"

	"github.com/going-mobile/imagebuilder/firstboot"
	"github.com/going-mobile/imagebuilder/firstboot/host"
	"github.com/going-mobile/imagebuilder/firstboot/tpm"
)

// daemon is a tailscaled that knows one peer, and answers pings by a list.
func daemon(t *testing.T, pings []ipnstate.PingResult) (d *host.Tailnet, asked *int) {
	t.Helper()
	dir, err := os.MkdirTemp("", "ts") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	asked = new(int)
	mux := http.NewServeMux()
	answer := func(path string, value func(*http.Request) any) {
		mux.HandleFunc("/localapi/v0/"+path, func(w http.ResponseWriter, r *http.Request) {
			v := value(r)
			if v == nil {
				http.Error(w, "no match for IP:port", http.StatusNotFound)
				return
			}
			_ = json.NewEncoder(w).Encode(v)
		})
	}
	tags := views.SliceOf([]string{"tag:k3s-control"})
	answer("status", func(*http.Request) any {
		return &ipnstate.Status{Self: &ipnstate.PeerStatus{ID: "1", DNSName: "vps.tailnet.internal.", Tags: &tags}}
	})
	answer("whois", func(r *http.Request) any {
		if r.FormValue("addr") != "100.64.0.7" {
			return nil
		}
		return &apitype.WhoIsResponse{Node: &tailcfg.Node{StableID: "7", Name: "cabin-pi.tailnet.internal.", Tags: []string{"tag:k3s-server"}}, UserProfile: &tailcfg.UserProfile{}}
	})
	answer("ping", func(*http.Request) any {
		p := pings[min(*asked, len(pings)-1)]
		*asked++
		return p
	})
	s := &httptest.Server{Listener: l, Config: &http.Server{Handler: mux}}
	s.Start()
	t.Cleanup(s.Close)
	return &host.Tailnet{Socket: l.Addr().String()}, asked
}

// TestWho: who the tailnet says both ends are, and an error for strangers.
func TestWho(t *testing.T) {
	d, _ := daemon(t, nil)
	peer, self, err := d.Who(t.Context(), netip.MustParseAddr("100.64.0.7"))
	if got := fmt.Sprint(peer, self, err); got != "{{cabin-pi 7} [tag:k3s-server] 0} {{vps 1} [tag:k3s-control] 0} <nil>" {
		t.Error(got)
	}
	if peer, _, err := d.Who(t.Context(), netip.MustParseAddr("10.42.0.9")); err == nil || peer.Node != "" {
		t.Errorf("a pod is %v, %v", peer, err)
	}
}

// TestWhere: a direct path is a place; a relay of any kind is not.
func TestWhere(t *testing.T) {
	derp, relay := ipnstate.PingResult{DERPRegionID: 999}, ipnstate.PingResult{PeerRelay: "198.51.100.9:40000:vni:5"}
	direct := ipnstate.PingResult{Endpoint: "203.0.113.7:41641"}
	peer := netip.MustParseAddr("100.64.0.7")
	d, asked := daemon(t, []ipnstate.PingResult{derp, {Err: "timeout", Endpoint: "192.0.2.1:1"}, direct})
	if got := d.Where(t.Context(), peer); got != netip.MustParseAddr("203.0.113.7") || *asked != 3 {
		t.Errorf("%v after %d pings", got, *asked)
	}
	d, asked = daemon(t, []ipnstate.PingResult{derp, relay})
	if got := d.Where(t.Context(), peer); got.IsValid() || *asked < 5 {
		t.Errorf("%v after %d pings", got, *asked)
	}
}

// TestStaysSealed: the reason why a TPM does not open a share reaches the screen, and no other
// error is taken for such a reason.
func TestStaysSealed(t *testing.T) {
	for from, to := range map[error]error{tpm.ErrNone: firstboot.ErrNoTPM, tpm.ErrOther: firstboot.ErrOtherTPM, tpm.ErrChanged: firstboot.ErrTPMChanged, io.EOF: io.EOF, nil: nil} {
		if err := host.StaysSealed(from); err != to {
			t.Errorf("%v becomes %v", from, err)
		}
	}
	h := host.New(t.TempDir(), nil)
	if _, err := h.TPM.Seal([]byte("share")); err != firstboot.ErrNoTPM {
		t.Error(err)
	}
	if _, err := h.TPM.Unseal(nil); err != firstboot.ErrNoTPM {
		t.Error(err)
	}
}
