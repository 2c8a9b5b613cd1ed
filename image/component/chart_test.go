package component_test

import (
	"path"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/image/component"
	"github.com/going-mobile/imagebuilder/image/seed"
)

// TestAChartIsWhatItsRepositoryLists, by the digest that is in the index, and the
// chart that is wanted.
func TestAChartIsWhatItsRepositoryLists(t *testing.T) {
	chart := tgz(t, map[string][]byte{"longhorn/Chart.yaml": []byte("name: longhorn\nversion: 1.12.1\n")})
	other := tgz(t, map[string][]byte{"other/Chart.yaml": []byte("name: other\n")})
	const file = "github.com/longhorn/charts/releases/download/longhorn-1.12.1/longhorn-1.12.1.tgz"
	index := func(b []byte) []byte {
		return []byte("apiVersion: v1\nentries:\n  longhorn:\n  - {name: longhorn, version: 1.13.0, digest: " + sum(nil) + "}\n  - {name: longhorn, version: 1.12.1, digest: " + sum(b) + "}\n")
	}
	opt := component.Options{Overrides: map[string]string{"longhorn-chart": "1.12.1"}}
	for what, c := range map[string]struct {
		index, file []byte
		want        string
	}{
		"the chart":           {index(chart), chart, ""},
		"other bytes":         {index(chart), other, "sha256"},
		"another chart":       {index(other), other, `is the chart "other", want longhorn`},
		"no chart":            {index([]byte("\x1f\x8b no")), []byte("\x1f\x8b no"), "is no Helm chart"},
		"no such version":     {[]byte("entries: {longhorn: [{version: 1.0.0}]}"), chart, "index.yaml: has no longhorn 1.12.1"},
		"no digest":           {[]byte("entries: {longhorn: [{version: 1.12.1}]}"), chart, "has no sha256 digest of longhorn 1.12.1"},
		"no index":            {[]byte("[x"), chart, "is no index of a chart repository"},
		"an unreachable list": {nil, chart, "charts.longhorn.io/index.yaml: server returned 404"},
	} {
		files := map[string][]byte{file: c.file}
		if c.index != nil {
			files["charts.longhorn.io/index.yaml"] = c.index
		}
		publish(t, files, nil)
		r, err := resolve(t, cache(t), "longhorn-chart", "arm64", opt)
		switch {
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v, want %s", what, err, c.want)
		case c.want == "" && (err != nil || r.SHA256 != sum(chart)):
			t.Errorf("%s: %+v, %v", what, r, err)
		case c.want == "":
			if got := listing(t, r)["/usr/lib/imagebuilder/charts/longhorn-1.12.1.tgz"]; got != "file 0644 "+sum(chart)[:8] {
				t.Errorf("%s: %v", what, listing(t, r))
			}
		}
	}
}

// TestChartsAreCalledAsTheSeedCallsThem: a HelmChart names a file.
func TestChartsAreCalledAsTheSeedCallsThem(t *testing.T) {
	list, err := component.List()
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, c := range list {
		if c.Chart == "" {
			continue
		}
		files[c.Name+" "+c.Releases[0].Version] = path.Base(c.Files[0].Path)
	}
	charts := seed.Charts(seed.Input{Longhorn: &seed.Longhorn{}, GitOps: &seed.GitOps{}})
	for _, c := range charts {
		if files[c.Component+" "+c.Version] != c.File {
			t.Errorf("%+v: the components are %v", c, files)
		}
	}
	if len(files) != len(charts) {
		t.Errorf("%v", files)
	}
}
