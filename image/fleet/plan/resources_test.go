package plan_test

import (
	"io/fs"
	"regexp"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/image/fleet"
	"github.com/going-mobile/imagebuilder/image/fleet/plan"
	"github.com/going-mobile/imagebuilder/image/objects"
	"github.com/going-mobile/imagebuilder/overlays"
)

// volumes are what manifests ask for in these tests: 140 GiB.
var volumes = []objects.Claim{{Name: "nextcloud/html", Size: 100 << 30}, {Name: "nextcloud/db", Size: 20 << 30}, {Name: "code-server/home", Size: 20 << 30}}

func resources(t *testing.T, workloads []objects.Demand, change ...string) (*plan.Resources, error) {
	t.Helper()
	text := strings.NewReplacer("role: agent", "role: agent, machine: {cpus: 4, memoryGiB: 16}", "sites:\n", "  longhorn: {}\n  gitops: {repo: 'https://git.example.net/x.git'}\nsites:\n").Replace(string(fleet.Example))
	for i := 0; i < len(change); i += 2 {
		if !strings.Contains(text, change[i]) {
			t.Fatalf("no %q in\n%s", change[i], text)
		}
		text = strings.ReplaceAll(text, change[i], change[i+1])
	}
	f, err := fleet.Load("fleet.yaml", []byte(text), nil)
	if err != nil {
		t.Fatal(err)
	}
	return plan.MakeResources(f, workloads, volumes)
}

// applications are what the manifests of the overlay apps ask for.
func applications(t *testing.T) (all []objects.Demand) {
	t.Helper()
	err := fs.WalkDir(overlays.FS, "apps/gitops", func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		data, err := fs.ReadFile(overlays.FS, name)
		if err != nil {
			return err
		}
		found, err := objects.Parse(name, data)
		if err != nil {
			return err
		}
		demands, err := objects.Demands(found)
		all = append(all, demands...)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestTheUsersHardwareIsEnough for the applications that come with imagebuilder, even if a
// site is lost: two Pis of 4 GB as servers without workloads, and two OptiPlexes of 16 GB.
func TestTheUsersHardwareIsEnough(t *testing.T) {
	apps := applications(t)
	r, err := resources(t, apps)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Rooms) != 2 || r.Rooms[0].CPU != 4000-200-480 || r.Rooms[0].Memory != (16<<30)-(500<<20)-(900<<20) {
		t.Errorf("%+v", r.Rooms)
	}
	// 300m and 410 MiB of the system, 185m and 704 MiB of Argo CD, 770m and 1888
	// MiB of applications, 40m and 64 MiB of two dumps.
	for i, lost := range []string{"", "home", "cabin"} {
		if c := r.Cases[i]; c.Lost != lost || c.Problem != "" || c.CPU != 1295 || c.Memory != 3066<<20 {
			t.Errorf("%+v", c)
		}
	}
	// Even if every pod uses all that its limits allow, one OptiPlex has enough memory.
	limits := int64(0)
	for _, d := range apps {
		if d.Limit == 0 {
			t.Errorf("%s may take all memory", d.Name)
		}
		limits += d.Limit
	}
	if left := r.Cases[1].Of.Memory - r.Cases[1].Memory; limits != 5760<<20 || limits > left {
		t.Errorf("the applications may take %d MiB, %d are left", limits>>20, left>>20)
	}
	var out strings.Builder
	if err := r.Text(&out); err != nil || !strings.Contains(out.String(), "without home") || !strings.Contains(out.String(), "140.0 GiB; of how much is not known") || strings.Contains(out.String(), "!") {
		t.Errorf("%v\n%s", err, out.String())
	}
}

// missing matches the error about machine sizes: all nodes at once, each with its line.
var missing = regexp.MustCompile(`^fleet\.yaml:\d+: field "nodes\.home-box\.machine": is missing: .*\nfleet\.yaml:\d+: field "nodes\.cabin-box\.machine": is missing: .*$`)

func TestWhatDoesNotFitIsTold(t *testing.T) {
	big := func(d objects.Demand) []objects.Demand { d.Name = "big"; return []objects.Demand{d} }
	for what, c := range map[string]struct {
		work   []objects.Demand
		change []string
		want   string
	}{
		"one pod":           {big(objects.Demand{Pods: 1, Memory: 15 << 30}), nil, "with all sites: no node has room for a pod of big"},
		"with a site lost":  {big(objects.Demand{Pods: 2, Memory: 8 << 30}), nil, "without home: 2.5 GiB of memory is missing"},
		"processors":        {big(objects.Demand{Pods: 3, CPU: 1500}), nil, "without home: 1.67 processors are missing"},
		"on every node":     {big(objects.Demand{CPU: 3400}), nil, "no node has room for a pod of big (3.40 processors"},
		"a Pi as an agent":  {nil, []string{"memoryGiB: 16", "memoryGiB: 1"}, "of memory is missing"},
		"no disk":           {nil, []string{"memoryGiB: 16", "memoryGiB: 16, diskGiB: 180"}, "at home: 14.0 GiB is missing on disks for volumes"},
		"disks":             {nil, []string{"memoryGiB: 16", "memoryGiB: 16, diskGiB: 220"}, ""},
		"one replica":       {nil, []string{"memoryGiB: 16", "memoryGiB: 16, diskGiB: 120", "longhorn: {}", "longhorn: {replicas: 1}"}, "at home: no disk holds nextcloud/html (100.0 GiB)"},
		"all at one site":   {nil, []string{"memoryGiB: 16", "memoryGiB: 16, diskGiB: 150", "longhorn: {}", "longhorn: {replicas: 1}"}, "at cabin: 35.0 GiB is missing"},
		"one site has room": {nil, []string{"memoryGiB: 16", "memoryGiB: 16, diskGiB: 120", "longhorn: {}", "longhorn: {replicas: 1}", "site: home, role: agent, machine: {cpus: 4, memoryGiB: 16, diskGiB: 120}", "site: home, role: agent, machine: {cpus: 4, memoryGiB: 16, diskGiB: 400}"}, ""},
		"one site short":    {nil, []string{"memoryGiB: 16", "memoryGiB: 16, diskGiB: 120", "site: home, role: agent, machine: {cpus: 4, memoryGiB: 16, diskGiB: 120}", "site: home, role: agent, machine: {cpus: 4, memoryGiB: 16, diskGiB: 400}"}, "at cabin: no disk holds nextcloud/html"},
		"two disks, halves": {nil, []string{"memoryGiB: 16", "memoryGiB: 16, diskGiB: 120", "longhorn: {}", "longhorn: {replicas: 1}", "site: cabin, role: agent", "site: home, role: agent"}, "at home: no disk holds nextcloud/html"},
		"two on one site":   {nil, []string{"memoryGiB: 16", "memoryGiB: 16, diskGiB: 120", "site: cabin, role: agent", "site: home, role: agent"}, "at home: no 2 disks hold nextcloud/html"},
		"one site":          {nil, []string{"memoryGiB: 16", "memoryGiB: 16, diskGiB: 190", "site: cabin, role: agent", "site: home, role: agent"}, "at home: 14.0 GiB is missing"},
		"servers that work": {big(objects.Demand{Pods: 6, Memory: 2 << 30}), []string{"role: server", "role: server, machine: {cpus: 4, memoryGiB: 4}", "    config:", "    workOnServers: true\n    config:"}, ""},
	} {
		r, err := resources(t, c.work, c.change...)
		if err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		if err := r.Text(&out); err != nil || !strings.Contains(out.String(), c.want) || (c.want == "") == strings.Contains(out.String(), "!") || r.Fits() != (c.want == "") {
			t.Errorf("%s: %v, want %q in\n%s", what, err, c.want, out.String())
		}
	}
	if _, err := resources(t, nil, ", machine: {cpus: 4, memoryGiB: 16}", ""); err == nil || !missing.MatchString(err.Error()) {
		t.Errorf("%v", err)
	}
}

// TestSnapshotsWantRoom: snapshots need room, too, that no volume's size includes. Volumes
// that fit but leave little room get a note.
func TestSnapshotsWantRoom(t *testing.T) {
	for gib, want := range map[string]string{
		"220": "note: at home: full volumes leave 14.0 GiB to their snapshots",
		"334": "", // 140 of 233.8 are less than 60 in 100
	} {
		r, err := resources(t, nil, "memoryGiB: 16", "memoryGiB: 16, diskGiB: "+gib)
		if err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		if err := r.Text(&out); err != nil || !r.Fits() || !strings.Contains(out.String(), want) || strings.Contains(out.String(), "note:") != (want != "") {
			t.Errorf("%s: %v, want %q in\n%s", gib, err, want, out.String())
		}
	}
}
