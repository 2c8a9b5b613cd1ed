package component_test

import (
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/image/component"
)

// TestALockMayNotPassOffAnotherProgram: whoever edits a lock can name any bytes
// as k3s v1.36.4. A lock is trusted, so it is told and not refused, unless
// asked for.
func TestALockMayNotPassOffAnotherProgram(t *testing.T) {
	c, err := component.Find("k3s")
	if err != nil {
		t.Fatal(err)
	}
	known := c.Releases[0]
	address := "https://github.com/k3s-io/k3s/releases/download/" + strings.ReplaceAll(known.Version, "+", "%2B") + "/k3s"
	evil := program(amd64, "evil")
	u := serve(t, map[string][]byte{"/k3s": evil})
	for _, tc := range []struct {
		name string
		pin  component.Pin
		want string
	}{
		{"as it was", component.Pin{Version: known.Version, Source: component.Deferred, URL: address, SHA256: known.SHA256["amd64"]}, ""},
		{"other bytes", component.Pin{Version: known.Version, Source: component.FromRelease, URL: u.URL + "/k3s", SHA256: sum(evil)}, "sha256 " + sum(evil)},
		{"other bytes, deferred", component.Pin{Version: known.Version, Source: component.Deferred, URL: address, SHA256: sum(evil)}, "sha256 " + sum(evil)},
		{"another address", component.Pin{Version: known.Version, Source: component.Deferred, URL: u.URL + "/k3s", SHA256: known.SHA256["amd64"]}, u.URL + "/k3s"},
		{"a version of the user's", component.Pin{Version: "custom-0123456789ab", Source: component.FromRelease, URL: u.URL + "/k3s", SHA256: sum(evil)}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			opt := component.Options{Pins: map[string]component.Pin{"k3s": tc.pin}}
			r, err := resolve(t, cache(t), "k3s", "amd64", opt)
			if err != nil || (tc.want == "") != (r.Warning == "") || !strings.Contains(r.Warning, tc.want) {
				t.Fatalf("warning %q, %v; want %q", r.Warning, err, tc.want)
			}
			if tc.want == "" {
				return
			}
			opt.Strict = true
			if _, err := resolve(t, cache(t), "k3s", "amd64", opt); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("strict: %v", err)
			}
		})
	}
}

// TestVersionsWithADefectAreTold: flannel.1 goes away with tailscale0.
func TestVersionsWithADefectAreTold(t *testing.T) {
	k3s := program(amd64, "k3s")
	for version, bad := range map[string]bool{
		"v1.32.13+k3s1": true, "v1.33.12+k3s1": true, "v1.33.13+k3s1": false, "v1.35.2+k3s1": true, "v1.35.5+k3s2": true, "v1.35.6+k3s1": false,
		"v1.36.1+k3s1": true, "v1.36.2+k3s1": false, "v1.36.10+k3s1": false, "v1.37.0+k3s1": false, "v2.0.0": false,
	} {
		dir := "github.com/k3s-io/k3s/releases/download/" + strings.ReplaceAll(version, "+", "%2B")
		publish(t, map[string][]byte{dir + "/k3s": k3s, dir + "/sha256sum-amd64.txt": []byte(sum(k3s) + "  k3s\n")}, nil)
		opt := component.Options{Overrides: map[string]string{"k3s": version}}
		if c, err := component.Find("k3s"); err != nil || version == c.Releases[0].Version {
			t.Fatal("the default has a known defect", err)
		}
		r, err := resolve(t, cache(t), "k3s", "amd64", opt)
		if err != nil || strings.Contains(r.Warning, "k3s-io/k3s#12436") != bad {
			t.Errorf("%s: warning %q, %v", version, r.Warning, err)
		}
		opt.Strict = true
		if _, err := resolve(t, cache(t), "k3s", "amd64", opt); (err != nil) != bad {
			t.Errorf("%s, strict: %v", version, err)
		}
	}
}
