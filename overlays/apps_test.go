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
	has := func(probe string) bool { return p.Kind == "CronJob" || in(c, probe) != nil }
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

// TestApplicationsHoldTogether: what one object says of another by name is there.
func TestApplicationsHoldTogether(t *testing.T) {
	all := applications(t)
	there := map[string]objects.Object{} // KIND NAMESPACE/NAME
	for _, o := range all {
		key := fmt.Sprintf("%s %s/%s", o.Kind, o.Namespace, o.Name)
		if _, twice := there[key]; twice {
			t.Errorf("%s is there twice", key)
		}
		there[key] = o
	}
	want := func(who, kind, namespace, name string) objects.Object {
		t.Helper()
		o, ok := there[fmt.Sprintf("%s %s/%s", kind, namespace, name)]
		if !ok {
			t.Errorf("%s wants %s %s in %s, which is not there", who, kind, name, namespace)
		}
		return o
	}
	claims := map[string]bool{}
	for _, p := range pods(t, all) {
		if labels, selector := in(p.template, "metadata", "labels"), in(p.Value, "spec", "selector", "matchLabels"); p.Kind != "CronJob" && !cmp.Equal(labels, selector) {
			t.Errorf("%s selects %v, its pods have %v", p, selector, labels)
		}
		var mounts []string
		for _, v := range list(p.template, "spec", "volumes") {
			mounts = append(mounts, word(v, "name"))
			if claim := word(v, "persistentVolumeClaim", "claimName"); claim != "" {
				want(p.String(), "PersistentVolumeClaim", p.Namespace, claim)
				claims[p.Namespace+"/"+claim] = true
			}
			if name := word(v, "configMap", "name"); name != "" {
				want(p.String(), "ConfigMap", p.Namespace, name)
			}
		}
		for _, c := range p.containers() {
			for _, m := range list(c, "volumeMounts") {
				if !slices.Contains(mounts, word(m, "name")) {
					t.Errorf("%s mounts %s, which it does not have", p, word(m, "name"))
				}
			}
		}
		if service := word(p.Value, "spec", "serviceName"); service != "" {
			want(p.String(), "Service", p.Namespace, service)
		}
	}
	for _, o := range all {
		who := fmt.Sprintf("%s %s/%s", o.Kind, o.Namespace, o.Name)
		if o.Kind != "Namespace" {
			want(who, "Namespace", "", o.Namespace)
		}
		switch o.Kind {
		case "Secret":
			t.Errorf("%s: no secret belongs into Git", who)
		case "Namespace":
			want(who, "NetworkPolicy", o.Name, "default-deny")
			want(who, "NetworkPolicy", o.Name, "dns")
			if level := word(o.Value, "metadata", "labels", "pod-security.kubernetes.io/enforce"); level != "restricted" {
				t.Errorf("%s lets pods be %q", who, level)
			}
		case "PersistentVolumeClaim":
			if word(o.Value, "spec", "storageClassName") != "longhorn" || !cmp.Equal(list(o.Value, "spec", "accessModes"), []any{"ReadWriteOnce"}) {
				t.Errorf("%s is none of Longhorn's for one node at a time", who)
			}
			if !claims[o.Namespace+"/"+o.Name] {
				t.Errorf("%s is used by nobody", who)
			}
		case "Ingress":
			for _, rule := range list(o.Value, "spec", "rules") {
				for _, p := range list(rule, "http", "paths") {
					service := want(who, "Service", o.Namespace, word(p, "backend", "service", "name"))
					if word(p, "backend", "service", "port", "name") != word(service.Value, "spec", "ports", 0, "name") {
						t.Errorf("%s leads to a port that %s has not", who, service.Name)
					}
				}
			}
			if word(o.Value, "spec", "ingressClassName") != "traefik" {
				t.Errorf("%s is not traefik's", who)
			}
		}
		if kept := word(o.Value, "metadata", "annotations", "argocd.argoproj.io/sync-options"); (o.Kind == "Namespace" || o.Kind == "PersistentVolumeClaim") && kept != "Prune=false,Delete=false" {
			t.Errorf("Argo CD takes %s away with its file", who)
		}
	}
}

// TestServicesFindTheirPods, by labels, ports by name, and a policy that lets
// somebody come in there.
func TestServicesFindTheirPods(t *testing.T) {
	all := applications(t)
	for _, s := range all {
		if s.Kind != "Service" {
			continue
		}
		name := word(s.Value, "spec", "ports", 0, "targetPort")
		found := selected(pods(t, all), s.Namespace, in(s.Value, "spec", "selector"))
		if len(found) != 1 || word(found[0].containers()[0], "ports", 0, "name") != name {
			t.Errorf("service %s/%s finds %v, port %q", s.Namespace, s.Name, found, name)
			continue
		}
		// By its number: names of ports in policies are what controllers differ in.
		port := in(found[0].containers()[0], "ports", 0, "containerPort")
		opens := func(o objects.Object) bool {
			return o.Kind == "NetworkPolicy" && o.Namespace == s.Namespace && cmp.Equal(in(o.Value, "spec", "podSelector", "matchLabels"), in(s.Value, "spec", "selector")) &&
				len(list(o.Value, "spec", "ingress", 0, "from")) == 1 && in(o.Value, "spec", "ingress", 0, "ports", 0, "port") == port
		}
		if !slices.ContainsFunc(all, opens) {
			t.Errorf("nobody may come to service %s/%s", s.Namespace, s.Name)
		}
	}
}

func selected(all []pod, namespace string, labels any) (found []pod) {
	for _, p := range all {
		if p.Namespace == namespace && cmp.Equal(in(p.template, "metadata", "labels"), labels) {
			found = append(found, p)
		}
	}
	return found
}

// TestOnlyTheApplicationReachesItsDatabase, and the job that dumps it; nothing but
// traefik comes from another namespace, and nobody goes out to a private network.
func TestOnlyTheApplicationReachesItsDatabase(t *testing.T) {
	databases := 0
	for _, o := range applications(t) {
		if o.Kind != "NetworkPolicy" {
			continue
		}
		for _, from := range list(o.Value, "spec", "ingress", 0, "from") {
			switch {
			case o.Name == "db":
				databases++
				if in(from, "namespaceSelector") != nil || !cmp.Equal(list(from, "podSelector", "matchExpressions", 0, "values"), []any{o.Namespace, "dump"}) {
					t.Errorf("%s/db lets in %v", o.Namespace, from)
				}
			case word(from, "namespaceSelector", "matchLabels", "kubernetes.io/metadata.name") != "kube-system" || word(from, "podSelector", "matchLabels", "app.kubernetes.io/name") != "traefik":
				t.Errorf("%s/%s lets in %v", o.Namespace, o.Name, from)
			}
		}
		for _, to := range list(o.Value, "spec", "egress", 0, "to") {
			if block := in(to, "ipBlock"); block != nil && !cmp.Equal(list(block, "except"), []any{"10.0.0.0/8", "100.64.0.0/10", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16"}) {
				t.Errorf("%s/%s lets pods reach the networks of the sites, the tailnet or the cluster: %v", o.Namespace, o.Name, block)
			}
		}
		if o.Name == "to-db" {
			databases++
			clients, to := in(o.Value, "spec", "podSelector", "matchExpressions", 0, "values"), in(o.Value, "spec", "egress", 0)
			if !cmp.Equal(clients, any([]any{o.Namespace, "dump"})) || word(to, "to", 0, "podSelector", "matchLabels", "app.kubernetes.io/name") != "db" || in(to, "ports", 0, "port") != 5432 {
				t.Errorf("%s/to-db lets %v reach %v", o.Namespace, clients, to)
			}
		}
		if dns := in(o.Value, "spec", "egress", 0); o.Name == "dns" && (word(dns, "to", 0, "podSelector", "matchLabels", "k8s-app") != "kube-dns" || len(list(dns, "ports")) != 2 || len(in(o.Value, "spec", "podSelector").(mapping)) > 0) {
			t.Errorf("%s/dns lets pods reach %v", o.Namespace, dns)
		}
		if o.Name == "default-deny" && (len(in(o.Value, "spec", "podSelector").(mapping)) > 0 || !cmp.Equal(list(o.Value, "spec", "policyTypes"), []any{"Ingress", "Egress"}) || in(o.Value, "spec", "ingress") != nil || in(o.Value, "spec", "egress") != nil) {
			t.Errorf("%s/default-deny lets something through", o.Namespace)
		}
	}
	if databases != 4 { // each from two sides
		t.Errorf("%d policies are of databases", databases)
	}
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

// scriptsOf are the texts that "sh -c" gets, by workload and container.
func scriptsOf(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, p := range pods(t, applications(t)) {
		for _, c := range p.containers() {
			if cmp.Equal(list(c, "command"), []any{"sh", "-c"}) {
				found[p.Namespace+"/"+p.Name+"/"+word(c, "name")] = word(c, "args", 0)
			}
		}
	}
	if len(found) != 3 {
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
