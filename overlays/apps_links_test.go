package overlays_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/going-mobile/imagebuilder/image/objects"
)

// TestApplicationsHoldTogether: what one object says of another by name is there.
func TestApplicationsHoldTogether(t *testing.T) {
	all := applications(t)
	there := named(t, all)
	used := map[string]bool{}
	for _, p := range pods(t, all) {
		there.checkPod(t, p, used)
	}
	for _, o := range all {
		if o.Kind != "Namespace" {
			there.want(t, o, "Namespace", "", o.Namespace)
		}
		there.checkObject(t, o)
		if o.Kind == "PersistentVolumeClaim" && !used[o.Namespace+"/"+o.Name] {
			t.Errorf("%s is used by nobody", title(o))
		}
	}
}

// byName are objects by their titles.
type byName map[string]objects.Object

func title(o objects.Object) string {
	return strings.TrimSuffix(o.Kind+" "+o.Namespace, " ") + "/" + o.Name
}

func named(t *testing.T, all []objects.Object) byName {
	t.Helper()
	there := byName{}
	for _, o := range all {
		if _, twice := there[title(o)]; twice {
			t.Errorf("%s is there twice", title(o))
		}
		there[title(o)] = o
	}
	return there
}

func (b byName) want(t *testing.T, by objects.Object, kind, namespace, name string) objects.Object {
	t.Helper()
	o, ok := b[title(objects.Object{Kind: kind, Namespace: namespace, Name: name})]
	if !ok {
		t.Errorf("%s wants %s %s in %q, which is not there", title(by), kind, name, namespace)
	}
	return o
}

// checkPod looks for a workload's own pods, volumes and service, and notes the
// claims that it uses.
func (b byName) checkPod(t *testing.T, p pod, used map[string]bool) {
	t.Helper()
	if labels, selector := in(p.template, "metadata", "labels"), in(p.Value, "spec", "selector", "matchLabels"); p.Kind != "CronJob" && !cmp.Equal(labels, selector) {
		t.Errorf("%s selects %v, its pods have %v", p, selector, labels)
	}
	var volumes []string
	for _, v := range list(p.template, "spec", "volumes") {
		volumes = append(volumes, word(v, "name"))
		if claim := word(v, "persistentVolumeClaim", "claimName"); claim != "" {
			b.want(t, p.Object, "PersistentVolumeClaim", p.Namespace, claim)
			used[p.Namespace+"/"+claim] = true
		}
		if name := word(v, "configMap", "name"); name != "" {
			b.want(t, p.Object, "ConfigMap", p.Namespace, name)
		}
	}
	for _, c := range p.containers() {
		for _, m := range list(c, "volumeMounts") {
			if !slices.Contains(volumes, word(m, "name")) {
				t.Errorf("%s mounts %s, which it does not have", p, word(m, "name"))
			}
		}
	}
	if service := word(p.Value, "spec", "serviceName"); service != "" {
		b.want(t, p.Object, "Service", p.Namespace, service)
	}
}

// checkObject holds each kind to its rules.
func (b byName) checkObject(t *testing.T, o objects.Object) {
	t.Helper()
	kept := word(o.Value, "metadata", "annotations", "argocd.argoproj.io/sync-options") == "Prune=false,Delete=false"
	switch o.Kind {
	case "Secret":
		t.Errorf("%s: no secret belongs into Git", title(o))
	case "Namespace":
		b.want(t, o, "NetworkPolicy", o.Name, "default-deny")
		b.want(t, o, "NetworkPolicy", o.Name, "dns")
		if level := word(o.Value, "metadata", "labels", "pod-security.kubernetes.io/enforce"); level != "restricted" || !kept {
			t.Errorf("%s lets pods be %q, stays without its file: %v", title(o), level, kept)
		}
	case "PersistentVolumeClaim":
		if word(o.Value, "spec", "storageClassName") != "longhorn" || !cmp.Equal(list(o.Value, "spec", "accessModes"), []any{"ReadWriteOnce"}) || !kept {
			t.Errorf("%s is none of Longhorn's, for one node at a time, that stays without its file", title(o))
		}
	case "Ingress":
		b.checkIngress(t, o)
	}
}

func (b byName) checkIngress(t *testing.T, o objects.Object) {
	t.Helper()
	if word(o.Value, "spec", "ingressClassName") != "traefik" {
		t.Errorf("%s is not traefik's", title(o))
	}
	paths := list(o.Value, "spec", "rules", 0, "http", "paths")
	if len(list(o.Value, "spec", "rules")) != 1 || len(paths) != 1 {
		t.Fatalf("%s has more than one path: this test looks at one", title(o))
	}
	service := b.want(t, o, "Service", o.Namespace, word(paths[0], "backend", "service", "name"))
	if port := word(service.Value, "spec", "ports", 0, "name"); port == "" || word(paths[0], "backend", "service", "port", "name") != port {
		t.Errorf("%s leads to a port that %s has not", title(o), title(service))
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
		if len(found) != 1 || word(found[0].template, "spec", "containers", 0, "ports", 0, "name") != name {
			t.Errorf("service %s/%s finds %v, port %q", s.Namespace, s.Name, found, name)
			continue
		}
		// By its number: names of ports in policies are what controllers differ in.
		port := in(found[0].template, "spec", "containers", 0, "ports", 0, "containerPort")
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
	databases, internet := 0, 0
	for _, o := range applications(t) {
		if o.Kind != "NetworkPolicy" {
			continue
		}
		if o.Name == "db" || o.Name == "to-db" {
			databases++
		}
		for _, from := range list(o.Value, "spec", "ingress", 0, "from") {
			checkComesIn(t, o, from)
		}
		for _, to := range list(o.Value, "spec", "egress", 0, "to") {
			checkGoesOut(t, o, to)
			if in(to, "ipBlock") != nil {
				internet++
			}
		}
		spec, everyPod := o.Value["spec"], cmp.Equal(in(o.Value, "spec", "podSelector"), any(mapping{}))
		switch o.Name {
		case "default-deny":
			if !everyPod || !cmp.Equal(list(spec, "policyTypes"), []any{"Ingress", "Egress"}) || in(spec, "ingress") != nil || in(spec, "egress") != nil {
				t.Errorf("%s lets something through", title(o))
			}
		case "dns":
			if !everyPod || len(list(spec, "egress", 0, "ports")) != 2 {
				t.Errorf("%s: %v", title(o), spec)
			}
		case "to-db":
			clients := in(spec, "podSelector", "matchExpressions", 0, "values")
			if !cmp.Equal(clients, any([]any{o.Namespace, "dump"})) || in(spec, "egress", 0, "ports", 0, "port") != 5432 {
				t.Errorf("%s is for %v", title(o), clients)
			}
		}
	}
	if databases != 4 || internet != 3 { // each database from two sides, each application once
		t.Errorf("%d policies are of databases, %d applications reach the Internet", databases, internet)
	}
}

func checkComesIn(t *testing.T, o objects.Object, from any) {
	t.Helper()
	traefik := word(from, "namespaceSelector", "matchLabels", "kubernetes.io/metadata.name") == "kube-system" && word(from, "podSelector", "matchLabels", "app.kubernetes.io/name") == "traefik"
	clients := in(from, "namespaceSelector") == nil && cmp.Equal(list(from, "podSelector", "matchExpressions", 0, "values"), []any{o.Namespace, "dump"})
	if o.Name == "db" && !clients || o.Name != "db" && !traefik {
		t.Errorf("%s lets in %v", title(o), from)
	}
}

func checkGoesOut(t *testing.T, o objects.Object, to any) {
	t.Helper()
	good := cmp.Equal(list(to, "ipBlock", "except"), []any{"10.0.0.0/8", "100.64.0.0/10", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16"})
	switch o.Name {
	case "dns":
		good = word(to, "podSelector", "matchLabels", "k8s-app") == "kube-dns"
	case "to-db":
		good = word(to, "podSelector", "matchLabels", "app.kubernetes.io/name") == "db"
	}
	if !good {
		t.Errorf("%s lets pods reach %v", title(o), to)
	}
}
