package kube

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// api answers as Kubernetes' does, by METHOD PATH, and keeps what it was sent.
type api struct {
	answers map[string]string // "404" and the like are refusals
	sent    []string
}

func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	what := r.Method + " " + r.URL.RequestURI()
	if r.Method != http.MethodGet {
		a.sent = append(a.sent, what+" "+r.Header.Get("Content-Type")+" "+string(body))
	}
	answer := a.answers[what]
	if code := 0; len(answer) == 3 {
		_, _ = fmt.Sscan(answer, &code)
		w.WriteHeader(code)
		answer = `{"kind":"Status","message":"it says\n ` + answer + `"}`
	}
	fmt.Fprint(w, answer)
}

func (a *api) client(t *testing.T) *Client {
	s := httptest.NewTLSServer(a)
	t.Cleanup(s.Close)
	return &Client{s.Client(), Way{Server: "home-pi", Address: s.Listener.Addr().String()}}
}

const nodeList = `{"kind":"NodeList","items":[
 {"metadata":{"name":"home-pi"},"status":{"nodeInfo":{"kubeletVersion":"v1.36.4+k3s1"},"conditions":[
   {"type":"MemoryPressure","status":"False"},{"type":"Ready","status":"True","message":"kubelet is posting ready status"},{"type":"EtcdIsVoter","status":"True"}]}},
 {"metadata":{"name":"cabin-pi","annotations":{"imagebuilder/cordoned-by":"me"}},"spec":{"unschedulable":true},"status":{"conditions":[
   {"type":"Ready","status":"Unknown","message":"Kubelet stopped\n posting"},{"type":"EtcdIsVoter","status":"False","message":"member is a learner"}]}},
 {"metadata":{"name":"new"}}]}`

// TestNodes: which nodes are ready, which vote, and which are cordoned by which program.
func TestNodes(t *testing.T) {
	c := (&api{answers: map[string]string{"GET /api/v1/nodes": nodeList}}).client(t)
	all, err := c.Nodes(t.Context())
	want := "[{home-pi v1.36.4+k3s1   false } {cabin-pi  Kubelet stopped posting member is a learner true me} {new  the cluster has not heard of it  false }]"
	if got := fmt.Sprint(all); err != nil || got != want {
		t.Errorf("%s, %v\nwant %s", got, err, want)
	}
}

// TestNode: an existing node, and one that does not exist.
func TestNode(t *testing.T) {
	const path = "GET /api/v1/nodes/cabin-pi"
	for answer, want := range map[string]string{`{"metadata":{"name":"cabin-pi"},"status":{"conditions":[{"type":"Ready","status":"True"}]}}`: "&{cabin-pi    false } <nil>", "404": "<nil> <nil>", "500": "<nil> the API answers 500: it says 500"} {
		n, err := (&api{answers: map[string]string{path: answer}}).client(t).Node(t.Context(), "cabin-pi")
		if got := fmt.Sprint(n, err); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// TestCordons: only the program that cordoned a node uncordons it.
func TestCordons(t *testing.T) {
	const path = "/api/v1/nodes/cabin-pi"
	for _, c := range []struct {
		node     string
		ours     bool
		cordons  bool
		uncordon bool
	}{
		{`{"metadata":{"name":"cabin-pi"}}`, true, true, false},
		{`{"metadata":{"annotations":{"imagebuilder/cordoned-by":"me"}},"spec":{"unschedulable":true}}`, true, false, true},
		{`{"metadata":{"annotations":{"imagebuilder/cordoned-by":"you"}},"spec":{"unschedulable":true}}`, false, false, false},
		{`{"spec":{"unschedulable":true}}`, false, false, false},
	} {
		a := &api{answers: map[string]string{"GET " + path: c.node}}
		client := a.client(t)
		ours, err := client.Cordon(t.Context(), "cabin-pi", "me")
		if err != nil || ours != c.ours || (len(a.sent) > 0) != c.cordons {
			t.Errorf("%s: %v, %v, sent %q", c.node, ours, err, a.sent)
		}
		if c.cordons && a.sent[0] != "PATCH "+path+` application/merge-patch+json {"metadata":{"annotations":{"imagebuilder/cordoned-by":"me"}},"spec":{"unschedulable":true}}` {
			t.Error(a.sent[0])
		}
		a.sent = nil
		if err := client.Uncordon(t.Context(), "cabin-pi", "me"); err != nil || (len(a.sent) > 0) != c.uncordon {
			t.Errorf("%s: %v, sent %q", c.node, err, a.sent)
		}
		if c.uncordon && a.sent[0] != "PATCH "+path+` application/merge-patch+json {"metadata":{"annotations":{"imagebuilder/cordoned-by":null}},"spec":{"unschedulable":false}}` {
			t.Error(a.sent[0])
		}
	}
}

// TestPods: the pods that can move elsewhere, and which of them have no controller.
func TestPods(t *testing.T) {
	pod := func(name, metadata, phase string) string {
		return fmt.Sprintf(`{"metadata":{"namespace":"x","name":%q,"uid":"u-%s"%s},"status":{"phase":%q}}`, name, name, metadata, phase)
	}
	owned := func(kind string) string { return `,"ownerReferences":[{"kind":"` + kind + `","controller":true}]` }
	list := `{"items":[` + strings.Join([]string{
		pod("web", owned("ReplicaSet"), "Running"),
		pod("ds", owned("DaemonSet"), "Running"),
		pod("mirror", `,"annotations":{"kubernetes.io/config.mirror":"abc"}`+owned("Node"), "Running"),
		pod("job", owned("Job"), "Succeeded"),
		pod("ill", owned("Job"), "Failed"),
		pod("going", `,"deletionTimestamp":"2026-01-01T00:00:00Z"`+owned("StatefulSet"), "Running"),
		pod("alone", `,"ownerReferences":[{"kind":"Thing"}]`, "Running"),
	}, ",") + `]}`
	c := (&api{answers: map[string]string{"GET /api/v1/pods?fieldSelector=spec.nodeName%3Dcabin-pi": list}}).client(t)
	all, err := c.Pods(t.Context(), "cabin-pi")
	want := []Pod{{"x", "alone", "u-alone", false, true}, {"x", "going", "u-going", true, false}, {"x", "web", "u-web", false, false}}
	if fmt.Sprintf("%#v", all) != fmt.Sprintf("%#v", want) || err != nil {
		t.Errorf("%v, %v\nwant %v", all, err, want)
	}
}

// TestEviction: of exactly that pod; a budget's refusal is returned, and a pod that is gone
// is no error.
func TestEviction(t *testing.T) {
	const what = "POST /api/v1/namespaces/x/pods/web/eviction"
	for code, want := range map[string]int{"429": 429, "500": 500, "404": 0, "409": 0, "{}": 0} {
		a := &api{answers: map[string]string{what: code}}
		err := a.client(t).Evict(t.Context(), Pod{Namespace: "x", Name: "web", UID: "u"})
		var refused *Refusal
		if errors.As(err, &refused) != (want != 0) || want != 0 && (refused.Status != want || refused.Words != "it says "+code) {
			t.Errorf("%s: %v", code, err)
		}
		_, body, _ := strings.Cut(a.sent[0], "application/json ")
		var e map[string]any
		if json.Unmarshal([]byte(body), &e) != nil || fmt.Sprint(e) != "map[apiVersion:policy/v1 deleteOptions:map[preconditions:map[uid:u]] kind:Eviction metadata:map[name:web namespace:x]]" {
			t.Error(body)
		}
	}
}

// TestSickVolumes: attached volumes with a problem; without Longhorn, none.
func TestSickVolumes(t *testing.T) {
	const what = "GET /apis/longhorn.io/v1beta2/namespaces/longhorn-system/volumes"
	volume := func(name, state, robustness string) string {
		return fmt.Sprintf(`{"metadata":{"name":%q},"status":{"state":%q,"robustness":%q,"kubernetesStatus":{"namespace":"apps","pvcName":%[1]q}}}`, name, state, robustness)
	}
	list := `{"items":[` + strings.Join([]string{
		volume("well", "attached", "healthy"), volume("idle", "detached", "unknown"), volume("lost", "detached", "faulted"),
		volume("thin", "attached", "degraded"), volume("dark", "attached", "unknown"), `{"metadata":{"name":"pvc-1"},"status":{"robustness":"degraded"}}`,
	}, ",") + `]}`
	for answer, want := range map[string]string{list: "[{apps/lost faulted} {apps/thin degraded} {apps/dark unknown} {pvc-1 degraded}] <nil>", "404": "[] <nil>", "500": "[] the API answers 500: it says 500"} {
		c := (&api{answers: map[string]string{what: answer}}).client(t)
		all, err := c.SickVolumes(t.Context())
		if got := fmt.Sprint(all, err); got != want {
			t.Errorf("%s\nwant %s", got, want)
		}
	}
	c := (&api{answers: map[string]string{what: "no JSON"}}).client(t)
	if _, err := c.SickVolumes(t.Context()); err == nil {
		t.Error("what is no answer is taken for one")
	}
}
