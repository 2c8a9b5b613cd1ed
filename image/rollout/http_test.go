package rollout

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/image/clusterca"
	"github.com/going-mobile/imagebuilder/image/fleet"
	"github.com/going-mobile/imagebuilder/image/kube"
)

// kubernetes is an API with one node, a pod on it, and a budget.
type kubernetes struct {
	mu       sync.Mutex
	cordoned bool
	mark     string
	pod      bool
	budget   int    // how many evictions it refuses; negative is all
	asked    int    // evictions
	host     string // that was asked last
}

func (k *kubernetes) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.host = r.Host
	switch what := r.Method + " " + r.URL.Path; what {
	case "GET /readyz":
		fmt.Fprint(w, "ok")
	case "PATCH /api/v1/nodes/home-box":
		var p struct {
			Metadata struct{ Annotations map[string]*string }
			Spec     struct{ Unschedulable bool }
		}
		if err := json.NewDecoder(r.Body).Decode(&p); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		k.cordoned, k.mark = p.Spec.Unschedulable, ""
		for _, text := range p.Metadata.Annotations {
			if text != nil {
				k.mark = *text
			}
		}
	case "GET /api/v1/nodes/home-box":
		_ = json.NewEncoder(w).Encode(map[string]any{"metadata": map[string]any{"name": "home-box", "annotations": map[string]string{"imagebuilder/cordoned-by": k.mark}}, "spec": map[string]any{"unschedulable": k.cordoned}})
	case "GET /api/v1/pods":
		items := []any{}
		if k.pod {
			items = append(items, map[string]any{"metadata": map[string]any{"namespace": "longhorn-system", "name": "instance-manager-1", "uid": "7", "ownerReferences": []any{map[string]any{"kind": "InstanceManager", "controller": true}}}})
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"items": items})
	case "POST /api/v1/namespaces/longhorn-system/pods/instance-manager-1/eviction":
		k.asked++
		if k.budget < 0 || k.asked <= k.budget {
			w.WriteHeader(http.StatusTooManyRequests)
			fmt.Fprint(w, `{"kind":"Status","message":"Cannot evict pod as it would violate the pod's disruption budget."}`)
			return
		}
		k.pod = false
		w.WriteHeader(http.StatusCreated)
	default:
		http.Error(w, "unexpected "+what, http.StatusNotImplemented)
	}
}

// certificate is the certificate of all servers of the cluster, and its authority.
func certificate(t *testing.T) (tls.Certificate, clusterca.Pair) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"kubernetes"}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	pair := clusterca.Pair{Cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), Key: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})}
	both, err := tls.X509KeyPair(pair.Cert, pair.Key)
	if err != nil {
		t.Fatal(err)
	}
	return both, pair
}

// serve starts several API servers of one cluster; stop stops one of them.
func serve(t *testing.T, k *kubernetes, servers int) (w *outside, stop map[string]func()) {
	t.Helper()
	cert, pair := certificate(t)
	var ways []kube.Way
	stop = map[string]func(){}
	for range servers {
		s := httptest.NewUnstartedServer(k)
		s.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
		s.Config.ErrorLog = log.New(io.Discard, "", 0)
		s.StartTLS()
		t.Cleanup(s.Close)
		stop[s.Listener.Addr().String()] = func() { s.CloseClientConnections(); s.Close() }
		ways = append(ways, kube.Way{Server: "home-pi", Address: s.Listener.Addr().String()})
	}
	return &outside{fleet: loadFleet(t, house), open: func(ctx context.Context, _ *fleet.Fleet, _ []kube.Way) (*kube.Client, error) {
		return kube.Connect(ctx, kube.Access{CA: pair.Cert, Admin: pair}, ways)
	}}, stop
}

func emptied(t *testing.T, w World, drain time.Duration) error {
	t.Helper()
	r := &Rollout{o: Options{Drain: drain}, world: w, Say: func(string, string) {}}
	_, err := r.empty(t.Context(), Target{Name: "home-box", Role: "agent"})
	return err
}

// TestDrainOverHTTP: an eviction that a budget refuses once is retried; the node ends
// cordoned and empty.
func TestDrainOverHTTP(t *testing.T) {
	t.Parallel()
	k := &kubernetes{pod: true, budget: 1}
	w, _ := serve(t, k, 1)
	if err := emptied(t, w, time.Minute); err != nil || k.pod || !k.cordoned || k.mark != by || k.asked != 2 {
		t.Errorf("%v: %+v", err, k)
	}
	if err := w.Uncordon(t.Context(), "home-box"); err != nil || k.cordoned || k.mark != "" {
		t.Errorf("%v: %+v", err, k)
	}
}

// TestDrainLimitOverHTTP: if a budget always refuses, the node is uncordoned, and its pod
// stays.
func TestDrainLimitOverHTTP(t *testing.T) {
	t.Parallel()
	k := &kubernetes{pod: true, budget: -1}
	w, _ := serve(t, k, 1)
	err := emptied(t, w, time.Second)
	if err == nil || !strings.Contains(err.Error(), "longhorn-system/instance-manager-1 may not go: Cannot evict pod as it would violate the pod's disruption budget. It has the only replica of a volume,") {
		t.Error(err)
	}
	if !k.pod || k.cordoned || k.mark != "" {
		t.Errorf("%+v", k)
	}
}

// TestAnotherServer: if the API server that was used has gone, as when it restarts in its
// turn, another one is asked.
func TestAnotherServer(t *testing.T) {
	k := &kubernetes{}
	w, stop := serve(t, k, 2)
	if _, err := w.Pods(t.Context(), "home-box"); err != nil {
		t.Fatal(err)
	}
	first := w.api
	gone := k.host
	stop[gone]()
	if _, err := w.Pods(t.Context(), "home-box"); err == nil {
		t.Error("who has gone answers")
	}
	if _, err := w.Pods(t.Context(), "home-box"); err != nil || k.host == gone || w.api == first {
		t.Error("nobody else is asked:", err)
	}
	first = w.api
	w.opened = time.Now().Add(-adminUse - time.Second)
	if _, err := w.Pods(t.Context(), "home-box"); err != nil || w.api == first {
		t.Error("the certificate is used until it expires:", err)
	}
}

// TestForeignAuthorities: without the cluster's authorities the API cannot be opened, and
// the error says what to do instead.
func TestForeignAuthorities(t *testing.T) {
	w := Outside(loadFleet(t, house), nil, nil)
	_, err := w.Nodes(t.Context())
	if err == nil || !strings.Contains(err.Error(), "--reboot --no-drain") {
		t.Error(err)
	}
	if said := w.Ask(t.Context(), "home-pi")[0]; said.Silent != "home-pi has no address in the tailnet" {
		t.Errorf("%+v", said)
	}
	if _, err := w.Push(t.Context(), "home-pi", "x"); errors.Is(err, nil) {
		t.Error("it was pushed to nowhere")
	}
}
