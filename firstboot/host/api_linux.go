package host

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/going-mobile/imagebuilder/firstboot"
)

// apiTime bounds one request to the API. An API server gives up on its own store after two seconds,
// and a healthy one answers within one.
const apiTime = 10 * time.Second

// kubeconfig is the part of a kubeconfig that k3s writes: one cluster and one user, with
// certificates as file names (kubelet.kubeconfig) or embedded (k3s.yaml).
type kubeconfig struct {
	Clusters []struct {
		Cluster struct {
			Server string
			CA     string `yaml:"certificate-authority"`
			CAData string `yaml:"certificate-authority-data"`
		}
	}
	Users []struct {
		User struct {
			Cert     string `yaml:"client-certificate"`
			CertData string `yaml:"client-certificate-data"`
			Key      string `yaml:"client-key"`
			KeyData  string `yaml:"client-key-data"`
		}
	}
}

// API and Patch speak HTTP themselves. kubectl is k3s: to unpack and start its 80 MB costs a Pi
// seconds, and these requests are made twice a minute.
func (n network) API(ctx context.Context, conf, path string) ([]byte, error) {
	return n.call(ctx, conf, http.MethodGet, path, "", nil)
}

func (n network) Patch(ctx context.Context, conf, path string, merge []byte) error {
	_, err := n.call(ctx, conf, http.MethodPatch, path, "application/merge-patch+json", merge)
	return err
}

// Apply sends JSON, of which YAML is a superset (kubernetes.io, "Server-Side Apply").
func (n network) Apply(ctx context.Context, conf, path string, object []byte) error {
	_, err := n.call(ctx, conf, http.MethodPatch, path+"?fieldManager=imagebuilder&force=true", "application/apply-patch+yaml", object)
	return err
}

func (n network) call(ctx context.Context, conf, method, path, kind string, object []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, apiTime)
	defer cancel()
	data, err := n.content(conf)
	if err != nil {
		return nil, err
	}
	var c kubeconfig
	if err := yaml.Unmarshal(data, &c); err != nil {
		return nil, fmt.Errorf("%s: %w", conf, err)
	}
	if len(c.Clusters) == 0 || len(c.Users) == 0 {
		return nil, fmt.Errorf("%s names no cluster", conf)
	}
	trusted, err := n.identity(c)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", conf, err)
	}
	return ask(ctx, trusted, method, c.Clusters[0].Cluster.Server+path, kind, object)
}

func ask(ctx context.Context, conf *tls.Config, method, address, kind string, object []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, address, bytes.NewReader(object))
	if err != nil {
		return nil, err
	}
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: conf, DisableKeepAlives: true}}
	resp, err := client.Do(req)
	var where *url.Error
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return nil, fmt.Errorf("no answer within %v", apiTime)
	case errors.As(err, &where): // the address is the same every time
		return nil, where.Err
	case err != nil:
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return nil, err
	}
	answer := fmt.Errorf("%s: %s", resp.Status, failed(string(body)))
	switch resp.StatusCode {
	case http.StatusOK, http.StatusCreated: // Created answers an apply of an object that did not exist
		return body, nil
	case http.StatusNotFound:
		return nil, absent{answer}
	}
	return nil, answer
}

// absent is firstboot.ErrNoObject with the API server's own words.
type absent struct{ error }

func (absent) Is(target error) bool { return target == firstboot.ErrNoObject }

// failed returns the failed checks in the list that /readyz answers (k8s.io/apiserver, healthz), or
// the message of the API's Status object.
func failed(body string) string {
	var status struct{ Message string }
	if json.Unmarshal([]byte(body), &status) == nil && status.Message != "" {
		return status.Message
	}
	lines := strings.Split(strings.TrimSpace(body), "\n")
	var bad []string
	for _, l := range lines {
		if what, ok := strings.CutPrefix(l, "[-]"); ok {
			bad = append(bad, what)
		}
	}
	if len(bad) > 0 {
		return strings.Join(bad, ", ")
	}
	return lines[0]
}

// identity returns the authority that a kubeconfig trusts and the client certificate that it
// presents.
func (n network) identity(c kubeconfig) (*tls.Config, error) {
	cluster, user := c.Clusters[0].Cluster, c.Users[0].User
	ca, err := n.held(cluster.CAData, cluster.CA)
	if err != nil {
		return nil, err
	}
	conf := &tls.Config{RootCAs: x509.NewCertPool()}
	if !conf.RootCAs.AppendCertsFromPEM(ca) {
		return nil, errors.New("no certificate authority")
	}
	cert, err := n.held(user.CertData, user.Cert)
	if err != nil {
		return nil, err
	}
	key, err := n.held(user.KeyData, user.Key)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(cert, key)
	conf.Certificates = []tls.Certificate{pair}
	return conf, err
}

// held returns data embedded in a kubeconfig, or else the content of the file that it names.
func (n network) held(data, name string) ([]byte, error) {
	if data != "" {
		return base64.StdEncoding.DecodeString(data)
	}
	return n.content(name)
}

func (n network) content(name string) ([]byte, error) {
	f, err := n.files.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var b bytes.Buffer
	_, err = b.ReadFrom(io.LimitReader(f, 1<<20))
	return b.Bytes(), err
}
