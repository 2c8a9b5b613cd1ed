package overlays_test

import (
	"fmt"
	"io/fs"
	"maps"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/going-mobile/imagebuilder/image/objects"
	"github.com/going-mobile/imagebuilder/image/overlay"
	"github.com/going-mobile/imagebuilder/overlays"
)

// applications are all objects of apps/gitops.
func applications(t *testing.T) (all []objects.Object) {
	t.Helper()
	check(t, fs.WalkDir(overlays.FS, "apps/gitops", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if path.Ext(name) != ".yaml" {
			t.Errorf("%s is no manifest, which Argo CD would leave out", name)
		}
		data, err := fs.ReadFile(overlays.FS, name)
		check(t, err)
		found, err := objects.Parse(name, data)
		check(t, err)
		all = append(all, found...)
		return nil
	}))
	if len(all) < 30 {
		t.Fatalf("only %d objects", len(all))
	}
	return all
}

type mapping = map[string]any

// in follows keys, and numbers into lists; nil where there is nothing.
func in(v any, keys ...any) any {
	for _, k := range keys {
		switch k := k.(type) {
		case string:
			m, _ := v.(mapping)
			v = m[k]
		case int:
			l, _ := v.([]any)
			if k >= len(l) {
				return nil
			}
			v = l[k]
		}
	}
	return v
}

func list(v any, keys ...any) []any {
	l, _ := in(v, keys...).([]any)
	return l
}

func word(v any, keys ...any) string {
	s, _ := in(v, keys...).(string)
	return s
}

// pod is what a workload makes.
type pod struct {
	objects.Object
	template any // with metadata and spec
}

func (p pod) String() string { return fmt.Sprintf("%s %s/%s", p.Kind, p.Namespace, p.Name) }

func pods(t *testing.T, all []objects.Object) (found []pod) {
	t.Helper()
	for _, o := range all {
		switch o.Kind {
		case "Deployment", "StatefulSet":
			found = append(found, pod{o, in(o.Value, "spec", "template")})
		case "CronJob":
			found = append(found, pod{o, in(o.Value, "spec", "jobTemplate", "spec", "template")})
		case "DaemonSet", "Job", "Pod":
			t.Errorf("%s %s: these tests do not know how to look into it", o.Kind, o.Name)
		}
	}
	if len(found) != 7 {
		t.Fatalf("%d workloads", len(found))
	}
	return found
}

func (p pod) containers() []any {
	return slices.Concat(list(p.template, "spec", "initContainers"), list(p.template, "spec", "containers"))
}

// TestApplicationsAreCareful holds every container to the house's rules.
func TestApplicationsAreCareful(t *testing.T) {
	for _, p := range pods(t, applications(t)) {
		spec := in(p.template, "spec")
		for rule, holds := range map[string]bool{
			"runs as no root":                  in(spec, "securityContext", "runAsNonRoot") == true && in(spec, "securityContext", "runAsUser") != nil,
			"has RuntimeDefault's seccomp":     word(spec, "securityContext", "seccompProfile", "type") == "RuntimeDefault",
			"has no token of the API":          in(spec, "automountServiceAccountToken") == false,
			"gets no variables of services":    in(spec, "enableServiceLinks") == false,
			"takes nothing of the host":        in(spec, "hostNetwork") == nil && in(spec, "hostPID") == nil && in(spec, "hostIPC") == nil,
			"leaves a lost node after 60 s":    leavesSoon(spec),
			"changes owners of a volume once":  in(spec, "securityContext", "fsGroup") == nil || word(spec, "securityContext", "fsGroupChangePolicy") == "OnRootMismatch",
			"is alone with its volumes":        p.Kind != "Deployment" || word(p.Value, "spec", "strategy", "type") == "Recreate",
			"is one":                           p.Kind == "CronJob" || in(p.Value, "spec", "replicas") == 1,
			"is on amd64 where hakatime is":    p.Namespace != "hakatime" || p.Kind == "CronJob" || word(spec, "nodeSelector", "kubernetes.io/arch") == "amd64",
			"is beside its database":           p.Namespace == "code-server" || p.Name == "db" || besideDB(spec),
			"takes no turn while another runs": p.Kind != "CronJob" || word(p.Value, "spec", "concurrencyPolicy") == "Forbid" && in(p.Value, "spec", "jobTemplate", "spec", "activeDeadlineSeconds") != nil,
		} {
			if !holds {
				t.Errorf("not true of %s: it %s", p, rule)
			}
		}
		for _, v := range list(spec, "volumes") {
			for kind := range v.(mapping) {
				if !slices.Contains([]string{"name", "persistentVolumeClaim", "emptyDir", "configMap"}, kind) {
					t.Errorf("%s has a volume of kind %s", p, kind)
				}
			}
		}
		for _, c := range p.containers() {
			careful(t, p, c)
		}
	}
}

func careful(t *testing.T, p pod, c any) {
	t.Helper()
	first := func(other any) bool { return word(other, "name") == word(c, "name") }
	ends := p.Kind == "CronJob" || slices.ContainsFunc(list(p.template, "spec", "initContainers"), first)
	has := func(probe string) bool { return ends || in(c, probe) != nil }
	serves := len(list(c, "ports")) > 0
	for rule, holds := range map[string]bool{
		"asks for CPU and memory":     word(c, "resources", "requests", "cpu") != "" && word(c, "resources", "requests", "memory") != "",
		"has a limit of memory":       word(c, "resources", "limits", "memory") != "",
		"gains no privileges":         in(c, "securityContext", "allowPrivilegeEscalation") == false && in(c, "securityContext", "privileged") == nil,
		"has no capabilities":         cmp.Equal(in(c, "securityContext", "capabilities"), any(mapping{"drop": []any{"ALL"}})),
		"is root nowhere":             in(c, "securityContext", "runAsUser") == nil && in(c, "securityContext", "runAsNonRoot") == nil,
		"pulls what is not there":     word(c, "imagePullPolicy") == "IfNotPresent",
		"is asked whether it lives":   has("livenessProbe"),
		"is asked whether it started": has("startupProbe") || !serves,
		"is asked whether it serves":  has("readinessProbe") || !serves,
	} {
		if !holds {
			t.Errorf("not true of %s, container %s: it %s", p, word(c, "name"), rule)
		}
	}
}

func leavesSoon(spec any) bool {
	var keys []string
	for _, toleration := range list(spec, "tolerations") {
		if in(toleration, "tolerationSeconds") == 60 && word(toleration, "effect") == "NoExecute" {
			keys = append(keys, word(toleration, "key"))
		}
	}
	return cmp.Equal(keys, []string{"node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"})
}

func besideDB(spec any) bool {
	near := in(spec, "affinity", "podAffinity", "requiredDuringSchedulingIgnoredDuringExecution", 0)
	return word(near, "topologyKey") == "kubernetes.io/hostname" && word(near, "labelSelector", "matchLabels", "app.kubernetes.io/name") == "db"
}

// TestTheImagesOfTheApplications are those that the overlay brings, all of them and
// no other, by full names.
func TestTheImagesOfTheApplications(t *testing.T) {
	images := map[string]bool{}
	for _, p := range pods(t, applications(t)) {
		for _, c := range p.containers() {
			images[word(c, "image")] = true
		}
	}
	o, err := overlay.Load(overlays.FS, "apps")
	check(t, err)
	if diff := cmp.Diff(o.Images, slices.Sorted(maps.Keys(images))); diff != "" {
		t.Error(diff)
	}
	readme, err := fs.ReadFile(overlays.FS, "apps/README.md")
	check(t, err)
	for _, image := range o.Images {
		if strings.HasSuffix(image, ":latest") || !strings.Contains(string(readme), "- "+image+"\n") {
			t.Errorf("%s is a moving one, or the README's list lacks it", image)
		}
	}
}

// TestTheApplicationsAskForTheirBudget: per application, with the jobs at night.
func TestTheApplicationsAskForTheirBudget(t *testing.T) {
	demands, err := objects.Demands(applications(t))
	check(t, err)
	sums := map[string]objects.Demand{}
	for _, d := range demands {
		name, _, _ := strings.Cut(d.Name, "/")
		if strings.HasSuffix(d.Name, "/dump") {
			name = "dumps"
		}
		s := sums[name]
		sums[name] = objects.Demand{CPU: s.CPU + d.CPU, Memory: s.Memory + d.Memory, Limit: s.Limit + d.Limit}
	}
	want := map[string]objects.Demand{
		"code-server": {CPU: 250, Memory: 768 << 20, Limit: 2048 << 20},
		"hakatime":    {CPU: 100, Memory: 256 << 20, Limit: 512 << 20},
		"nextcloud":   {CPU: 420, Memory: 864 << 20, Limit: 2944 << 20}, // 2.9 GiB
		"dumps":       {CPU: 40, Memory: 64 << 20, Limit: 256 << 20},
	}
	if diff := cmp.Diff(want, sums); diff != "" {
		t.Error(diff)
	}
}

// scriptsOf are the texts that "sh -c" gets, by workload and container, and probe.
func scriptsOf(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, p := range pods(t, applications(t)) {
		for _, c := range p.containers() {
			name := p.Namespace + "/" + p.Name + "/" + word(c, "name")
			if cmp.Equal(list(c, "command"), []any{"sh", "-c"}) {
				found[name] = word(c, "args", 0)
			}
			for _, probe := range []string{"livenessProbe", "readinessProbe"} {
				if exec := list(c, probe, "exec", "command"); len(exec) == 3 && exec[0] == "sh" {
					found[name+"/"+probe] = word(exec, 2)
				}
			}
		}
	}
	if len(found) != 6 {
		t.Fatalf("%d scripts", len(found))
	}
	return found
}

func TestScriptsOfTheApplicationsAreJudged(t *testing.T) {
	shellcheck := tool(t, "shellcheck")
	for name, text := range scriptsOf(t) {
		cmd := exec.Command(shellcheck, "--shell=sh", "-")
		cmd.Stdin = strings.NewReader(text)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}
