//go:build linux

package doctor_test

import (
	"slices"
	"testing"

	"github.com/going-mobile/imagebuilder/firstboot/doctor"
)

// TestApplications: where Headscale runs, each name says where it leads, and one
// that leads nowhere is no failure of the node.
func TestApplications(t *testing.T) {
	const (
		config = `version: 1
node: vps
site: cloud
role: control
headscale: {url: "https://headscale.example.net"}
control: {names: {hosts: [code.apps.example.net, cloud.apps.example.net], nodes: [home-box]}}
`
		records = `[{"name":"code.apps.example.net","type":"A","value":"100.64.0.3"},{"name":"code.apps.example.net","type":"AAAA","value":"fd7a:115c:a1e0::3"}]`
		file    = "var/lib/headscale/names.json"
	)
	find := func(records string, runs bool) (out []doctor.Finding) {
		root, h := healthy(t)
		h.Units.(units).up["headscale.service"], h.Net = runs, way{}
		write(t, root, "boot/firmware/imagebuilder.json", "{}")
		write(t, root, "boot/firmware/node.yaml", config)
		if records != "" {
			write(t, root, file, records)
		}
		all := doctor.Examine(t.Context(), h)
		if !doctor.Fit(all) {
			t.Error(doctor.Table(all))
		}
		return slices.DeleteFunc(all, func(f doctor.Finding) bool { return f.Group != "Names" })
	}
	want := []doctor.Finding{
		{Group: "Names", Check: "code.apps.example.net", Verdict: doctor.OK, Detail: "100.64.0.3, fd7a:115c:a1e0::3"},
		{Group: "Names", Check: "cloud.apps.example.net", Verdict: doctor.Warning, Detail: "leads nowhere: none of the nodes for it has joined"},
	}
	if got := find(records, true); !slices.Equal(got, want) {
		t.Errorf("%+v", got)
	}
	for _, spoilt := range []string{"", "[{"} {
		if got := find(spoilt, true); len(got) != 1 || got[0].Verdict != doctor.Warning {
			t.Errorf("%q: %+v", spoilt, got)
		}
	}
	if got := find(records, false); len(got) > 0 {
		t.Errorf("without Headscale: %+v", got)
	}
}
