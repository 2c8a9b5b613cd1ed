package apiserver_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"slices"
	"strconv"
	"strings"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// client speaks to the API as kubectl would with a kubeconfig.
type client struct {
	address string
	http    *http.Client
	kinds   map[string]resource
}

// resource is where objects of a kind are.
type resource struct {
	Name, Kind string
	Namespaced bool
}

// ownersKubeconfig is what the command prints for the fleet in home.
func ownersKubeconfig(home string) ([]byte, error) {
	cmd := exec.Command(builder, "kubeconfig", "--fleet", home+"/fleet.yaml")
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", cmd, err)
	}
	return out, nil
}

// newClient reads a kubeconfig with kubectl's own code. Host names lead to a port
// of the loopback, as there is no tailnet: certificates are judged by them all
// the same.
func newClient(kubeconfig []byte, context string, port int) (*client, error) {
	file, err := clientcmd.Load(kubeconfig)
	if err != nil {
		return nil, err
	}
	conf, err := clientcmd.NewNonInteractiveClientConfig(*file, context, &clientcmd.ConfigOverrides{}, nil).ClientConfig()
	if err != nil {
		return nil, err
	}
	conf.Dial = dialer(port)
	h, err := rest.HTTPClientFor(conf)
	return &client{address: conf.Host, http: h, kinds: map[string]resource{}}, err
}

func dialer(port int) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	}
}

// do asks, and returns the status and what was answered.
func (c *client) do(ctx context.Context, method, path, kind string, body []byte) (int, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.address+path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	return resp.StatusCode, answer, err
}

// get reads an object into out.
func (c *client) get(ctx context.Context, path string, out any) error {
	code, answer, err := c.do(ctx, "GET", path, "", nil)
	if err == nil && code != http.StatusOK {
		err = fmt.Errorf("%s: %d %s", path, code, message(answer))
	}
	if err != nil {
		return err
	}
	return json.Unmarshal(answer, out)
}

// message is what a Status says.
func message(answer []byte) string {
	var status struct{ Message string }
	if json.Unmarshal(answer, &status) != nil {
		return string(answer)
	}
	return status.Message
}

// path is where an object is, by the API's own list of its kinds.
func (c *client) path(ctx context.Context, apiVersion, kind, namespace, name string) (string, error) {
	root := "/apis/" + apiVersion
	if !strings.Contains(apiVersion, "/") {
		root = "/api/" + apiVersion
	}
	r, ok := c.kinds[apiVersion+"/"+kind]
	if !ok {
		var list struct{ Resources []resource }
		if err := c.get(ctx, root, &list); err != nil {
			return "", err
		}
		for _, r := range list.Resources {
			if !strings.Contains(r.Name, "/") { // the others are parts of one
				c.kinds[apiVersion+"/"+r.Kind] = r
			}
		}
		if r, ok = c.kinds[apiVersion+"/"+kind]; !ok {
			return "", fmt.Errorf("the API has no %s in %s", kind, apiVersion)
		}
	}
	if r.Namespaced {
		root += "/namespaces/" + namespace
	}
	return root + "/" + r.Name + "/" + name, nil
}

// refusals are how the API says no to an object, and not to whoever asks, or to
// when. What the typed part of an apply does not like is an internal error to it.
var refusals = []int{http.StatusBadRequest, http.StatusUnprocessableEntity, http.StatusInternalServerError}

// apply is a server-side apply of YAML that takes nothing unknown. Refused is an
// empty text where the API takes it.
func (c *client) apply(ctx context.Context, path string, object []byte, dryRun bool) (refused string, err error) {
	path += "?fieldManager=apiserver-test&force=true&fieldValidation=Strict"
	if dryRun {
		path += "&dryRun=All"
	}
	code, answer, err := c.do(ctx, "PATCH", path, "application/apply-patch+yaml", object)
	if err != nil || code < 300 {
		return "", err
	}
	refused = fmt.Sprintf("%d %s", code, message(answer))
	if !slices.Contains(refusals, code) {
		return "", fmt.Errorf("%s: no verdict: %s", path, refused)
	}
	return refused, nil
}
