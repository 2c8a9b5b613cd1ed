//go:build linux

package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// hello is what a node tells a server about itself; welcome is the server's answer.
type hello struct {
	Name, IP, Role, Password string
	Labels                   map[string]string
	Taints, Args             []string
}

type welcome struct {
	Cluster    string
	Credential string
	Nodes      map[string]*member
	Passwords  map[string]string
}

type member struct {
	hello
	Seen time.Time
	// Going is when it was deleted: a voter stays until etcd has removed it.
	Going time.Time
	// Metadata has the patched labels and annotations. Cordoned says that no new pods are to be
	// scheduled.
	Metadata metadata
	Cordoned bool
}

type metadata struct{ Labels, Annotations map[string]string }

// refusal is an answer that does not change when asked again.
type refusal struct{ message string }

func (r *refusal) Error() string { return r.message }

// cluster is what a server knows about the cluster; it survives a restart.
type cluster struct {
	mu         sync.Mutex
	file       string
	ID         string
	Schema     string
	Credential string
	Nodes      map[string]*member
	// Passwords stand for the Secrets NAME.node-password.k3s of kube-system.
	Passwords map[string]string
	Objects   applied

	token, agentToken string
	noAPI             bool
	ca                []byte
	clients           *x509.CertPool // authorities of administrators that the API accepts
}

func random() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails; crypto/rand
	return hex.EncodeToString(b)
}

// startServer creates or reopens the cluster, and serves it.
func (n *self) startServer(ctx context.Context) error {
	if n.token == "" {
		return errors.New("the stand-in makes up no token: set token-file")
	}
	agentToken, err := n.secretOf("agent-token")
	if err != nil {
		return err
	}
	c := &cluster{file: at(filepath.Join(n.data, "server/db/etcd/standin.json")), Nodes: map[string]*member{}, Passwords: map[string]string{}, Objects: applied{}, token: n.token, agentToken: agentToken, noAPI: n.on("disable-apiserver")}
	b, err := os.ReadFile(c.file)
	switch {
	case err == nil:
		if err := json.Unmarshal(b, c); err != nil {
			return fmt.Errorf("%s: %w", c.file, err)
		}
		if c.Schema > schema { // etcd 3.6 refuses a store of 3.7 in the same way
			return fmt.Errorf("the store has schema %s, this program knows %s", c.Schema, schema)
		}
	case n.one("server") == "":
		c.ID = random()
		if c.Credential, err = issue(&x509.Certificate{Subject: pkix.Name{CommonName: "stand-in", Organization: []string{"system:masters"}}}); err != nil {
			return err
		}
		log.Printf("level=info msg=\"created cluster %s\" cluster-init=%v", c.ID, n.on("cluster-init"))
	}
	c.Schema = schema
	if err := c.save(); err != nil {
		return err
	}
	n.cluster = c
	if !c.noAPI {
		go n.deploy(ctx)
	}
	return n.listen(ctx)
}

func (n *self) listen(ctx context.Context) error {
	cert, err := n.certificate()
	if err != nil {
		return err
	}
	if n.cluster.ca, n.cluster.clients, err = n.authorities(); err != nil {
		return err
	}
	l, err := tls.Listen("tcp", ":"+n.port(), &tls.Config{Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequestClientCert})
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: troubled(n.cluster.handler()), ErrorLog: log.New(io.Discard, "", 0), ReadHeaderTimeout: 10 * time.Second}
	etcd, err := net.Listen("tcp", n.metrics())
	if err != nil {
		return err
	}
	metrics := &http.Server{Handler: troubled(http.HandlerFunc(n.cluster.votes)), ReadHeaderTimeout: 10 * time.Second}
	go func() {
		<-ctx.Done()
		srv.Close()
		metrics.Close()
	}()
	go func() { _ = srv.Serve(l) }()
	go func() { _ = metrics.Serve(etcd) }()
	return nil
}

// votes serves /readyz of etcd's metrics listener.
func (c *cluster) votes(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path != "/readyz":
		http.NotFound(w, r)
	case !c.member():
		http.Error(w, "[+]serializable_read ok\n[-]linearizable_read failed: etcdserver: no leader\n", http.StatusServiceUnavailable)
	default:
		fmt.Fprintln(w, "ok")
	}
}

// troubled makes a handler answer late, or not at all, while the failure file asks for that.
func troubled(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for failure() == "hang" && r.Context().Err() == nil {
			time.Sleep(50 * time.Millisecond)
		}
		if failure() == "slow" {
			time.Sleep(4 * time.Second)
		}
		h.ServeHTTP(w, r)
	})
}

func (c *cluster) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /cacerts", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(c.ca) })
	mux.HandleFunc("GET /ping", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "pong") })
	mux.HandleFunc("POST /v1-standin/join", c.join)
	mux.HandleFunc("GET /readyz", c.api(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") }))
	mux.HandleFunc("GET /api/v1/nodes/{name}", c.api(c.node))
	mux.HandleFunc("PATCH /api/v1/nodes/{name}", c.api(c.patch))
	mux.HandleFunc("DELETE /api/v1/nodes/{name}", c.api(c.remove))
	mux.HandleFunc("GET /api/v1/nodes", c.api(c.nodes))
	mux.HandleFunc("GET /api/v1/pods", c.api(noPods))
	mux.HandleFunc("GET /api/v1/persistentvolumes", c.api(c.volumes))
	mux.HandleFunc("PATCH /api/v1/persistentvolumes/{name}", c.api(c.claimed))
	mux.HandleFunc("PATCH /api/v1/namespaces/{namespace}", c.api(c.apply))
	mux.HandleFunc("PATCH /api/v1/namespaces/{namespace}/secrets/{name}", c.api(c.apply))
	mux.HandleFunc("PATCH "+longhornPath, c.api(c.changed))
	mux.HandleFunc("DELETE "+longhornPath, c.api(c.deleted))
	mux.HandleFunc("GET "+longhornPath, c.api(c.found))
	mux.HandleFunc("GET "+strings.TrimSuffix(longhornPath, "/{name}"), c.api(c.listed))
	mux.HandleFunc("GET /api/v1/namespaces/{namespace}/{plural}/{name}", c.api(c.found))
	mux.HandleFunc("GET /v1-standin/objects", c.api(c.object))
	mux.HandleFunc("POST /v1-standin/objects", c.api(c.made))
	mux.HandleFunc("GET "+passwordPath, c.api(c.password))
	mux.HandleFunc("DELETE "+passwordPath, c.api(c.forgetPassword))
	return mux
}

func bearer(r *http.Request) string {
	return strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
}

// holds reports whether a request came with the cluster's own certificate, or with an
// administrator's certificate that the cluster's client authority signed, as with the API server's
// --client-ca-file.
func (c *cluster) holds(r *http.Request) bool {
	if c.clients != nil && administrator(r.TLS.PeerCertificates, c.clients) {
		return true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	own, err := tls.X509KeyPair([]byte(c.Credential), []byte(c.Credential))
	return err == nil && len(r.TLS.PeerCertificates) > 0 && bytes.Equal(r.TLS.PeerCertificates[0].Raw, own.Certificate[0])
}

// api serves holders of the credential, as an API server would. A server with etcd only has no API.
func (c *cluster) api(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		switch {
		case c.noAPI:
			http.Error(w, "apiserver disabled", http.StatusServiceUnavailable)
		case failure() == "quorum":
			http.Error(w, "[-]etcd failed: etcdserver: request timed out", http.StatusInternalServerError)
		case !c.holds(r):
			http.Error(w, "401 Unauthorized", http.StatusUnauthorized)
		default:
			h(w, r)
		}
	}
}

// join checks the token as k3s does: the servers' opens everything, the
// agents' only agents.
func (c *cluster) join(w http.ResponseWriter, r *http.Request) {
	var h hello
	if err := json.NewDecoder(io.LimitReader(r.Body, 1<<20)).Decode(&h); err != nil || h.Name == "" {
		http.Error(w, "bad request", http.StatusBadRequest)
		return
	}
	token := bearer(r)
	agent := h.Role == "agent" && c.agentToken != "" && token == c.agentToken
	if token != c.token && !agent {
		http.Error(w, "not authorized", http.StatusUnauthorized)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ID == "" {
		http.Error(w, "not a member of a cluster yet", http.StatusServiceUnavailable)
		return
	}
	c.sweep()
	if have, known := c.Passwords[h.Name]; known && have != h.Password {
		http.Error(w, "Node password rejected, duplicate hostname or contents of '/etc/rancher/node/password' may not match server node-passwd entry", http.StatusForbidden)
		return
	}
	c.greet(h)
	if err := c.saveLocked(); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	_ = json.NewEncoder(w).Encode(welcome{c.ID, c.Credential, c.Nodes, c.Passwords})
}

// greet records a node that joins, and keeps what was patched.
func (c *cluster) greet(h hello) {
	m := &member{hello: h, Seen: time.Now()}
	if have := c.Nodes[h.Name]; have != nil {
		m.Metadata, m.Cordoned, m.Going = have.Metadata, have.Cordoned, have.Going
	}
	c.Nodes[h.Name], c.Passwords[h.Name] = m, h.Password
}

// member reports whether this server belongs to a cluster.
func (c *cluster) member() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ID != ""
}

// adopt takes over what the server that this one has joined knows.
func (c *cluster) adopt(w welcome) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ID != "" && c.ID != w.Cluster {
		return &refusal{"this server belongs to cluster " + c.ID + ", the one it should join to " + w.Cluster}
	}
	c.ID, c.Credential = w.Cluster, w.Credential
	for name, m := range w.Nodes {
		if have := c.Nodes[name]; have == nil || have.Seen.Before(m.Seen) {
			c.Nodes[name] = m
			delete(c.Passwords, name) // if it was removed there, it must not be "" here: nothing would match it
			if password, known := w.Passwords[name]; known {
				c.Passwords[name] = password
			}
		}
	}
	return c.saveLocked()
}

func (c *cluster) save() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.saveLocked()
}

func (c *cluster) saveLocked() error {
	b, err := json.Marshal(map[string]any{"ID": c.ID, "Schema": c.Schema, "Credential": c.Credential, "Nodes": c.Nodes, "Passwords": c.Passwords, "Objects": c.Objects})
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(c.file), 0o700); err != nil {
		return err
	}
	tmp := c.file + ".tmp"
	if err := os.WriteFile(tmp, b, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, c.file)
}

// call sends a request to a server whose certificate is not known yet.
func call(ctx context.Context, method, url, token string, in, out any) error {
	return callWith(ctx, &tls.Config{InsecureSkipVerify: true}, method, url, token, in, out)
}

func callWith(ctx context.Context, conf *tls.Config, method, url, token string, in, out any) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	b, err := json.Marshal(in)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(b))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: conf, DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, 4<<20))
	if err != nil {
		return err
	}
	switch {
	case resp.StatusCode == http.StatusUnauthorized, resp.StatusCode == http.StatusForbidden:
		return &refusal{strings.TrimSpace(string(data))}
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("%s: %s", resp.Status, strings.TrimSpace(string(data)))
	}
	if raw, ok := out.(*[]byte); ok {
		*raw = data
		return nil
	}
	return json.Unmarshal(data, out)
}
