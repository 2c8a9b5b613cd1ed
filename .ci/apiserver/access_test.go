package apiserver_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd"

	"github.com/going-mobile/imagebuilder/image/clusterca"
	"github.com/going-mobile/imagebuilder/image/kubeconfig"
)

// who asks the API whom it takes a client for.
func who(c *client) (user string, groups []string, err error) {
	code, answer, err := c.do(context.Background(), "POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", "application/json",
		[]byte(`{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}`))
	if err != nil {
		return "", nil, err
	}
	if code != http.StatusCreated {
		return "", nil, fmt.Errorf("%d %s", code, message(answer))
	}
	var review struct {
		Status struct {
			UserInfo struct {
				Username string
				Groups   []string
			}
		}
	}
	err = json.Unmarshal(answer, &review)
	return review.Status.UserInfo.Username, review.Status.UserInfo.Groups, err
}

// TestTheOwnersKubeconfigOpensTheCluster in every context that it has, but only
// at the servers whose names their certificates have.
func TestTheOwnersKubeconfigOpensTheCluster(t *testing.T) {
	text, err := ownersKubeconfig(first.home)
	if err != nil {
		t.Fatal(err)
	}
	file, err := clientcmd.Load(text)
	if err != nil {
		t.Fatal(err)
	}
	if len(file.Contexts) != len(first.fleet.Servers()) {
		t.Errorf("%d contexts for the servers %v", len(file.Contexts), first.fleet.Servers())
	}
	for name := range file.Contexts {
		c, err := newClient(text, name, first.port)
		if err != nil {
			t.Fatal(err)
		}
		user, groups, err := who(c)
		if other := !strings.Contains(c.address, "//"+first.config.Node+":"); other {
			if err == nil || !strings.Contains(err.Error(), "certificate is valid for") {
				t.Errorf("%s: another server's certificate is taken for its own: %v", name, err)
			}
			continue
		}
		if err != nil || user != "owner" || !slices.Contains(groups, "system:masters") {
			t.Errorf("%s: %q of %v, %v", name, user, groups, err)
		}
	}
}

// TestOthersAreRefused: who has a certificate by another authority, or an old one;
// and an owner does not take another cluster for theirs. What another authority
// of the cluster signed is taken: k3s wants the chain up to the root in the
// file of those that vouch for clients, and a server has the keys of all.
func TestOthersAreRefused(t *testing.T) {
	own, err := first.fleet.Identity()
	if err != nil {
		t.Fatal(err)
	}
	other, err := clusterca.New(first.fleet.Cluster.Name, time.Now(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	swapped := clusterca.Files{"client-ca.crt": own["server-ca.crt"], "client-ca.key": own["server-ca.key"]}
	for _, c := range []struct {
		name  string
		by    clusterca.Files
		trust []byte
		now   time.Time
		want  string
	}{
		{"the owner", own, own.ServerCA(), time.Now(), ""},
		{"another authority of the same name", other.Servers, own.ServerCA(), time.Now(), "401 Unauthorized"},
		{"the authority of servers", swapped, own.ServerCA(), time.Now(), ""},
		{"a certificate of last year", own, own.ServerCA(), time.Now().AddDate(-1, 0, 0), "401 Unauthorized"},
		{"another cluster's trust", own, other.Servers.ServerCA(), time.Now(), "certificate signed by unknown authority"},
	} {
		admin, err := c.by.Admin("owner", c.now, time.Hour, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		text, err := kubeconfig.New(kubeconfig.Access{Cluster: "x", CA: c.trust, Admin: admin, Servers: []kubeconfig.Server{{Name: "a", Address: "https://127.0.0.1:6443"}}})
		if err != nil {
			t.Fatal(err)
		}
		strange, err := newClient(text, "", first.port)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := who(strange); (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

// TestServiceAccountsHaveTokens that the cluster's own key signs and checks.
func TestServiceAccountsHaveTokens(t *testing.T) {
	code, answer, err := first.do(context.Background(), "POST", "/api/v1/namespaces/"+sampleSpace+"/serviceaccounts/default/token", "application/json",
		[]byte(`{"apiVersion":"authentication.k8s.io/v1","kind":"TokenRequest","spec":{}}`))
	var token struct{ Status struct{ Token string } }
	if err != nil || code != http.StatusCreated || json.Unmarshal(answer, &token) != nil {
		t.Fatalf("%d %s %v", code, answer, err)
	}
	text, err := ownersKubeconfig(first.home)
	if err != nil {
		t.Fatal(err)
	}
	for change, want := range map[string]string{"": "system:serviceaccount:" + sampleSpace + ":default", "x": ""} {
		file, err := clientcmd.Load(text)
		if err != nil {
			t.Fatal(err)
		}
		for _, u := range file.AuthInfos {
			u.ClientCertificateData, u.ClientKeyData, u.Token = nil, nil, change+token.Status.Token
		}
		with, err := clientcmd.Write(*file)
		if err != nil {
			t.Fatal(err)
		}
		pod, err := newClient(with, "", first.port)
		if err != nil {
			t.Fatal(err)
		}
		if user, _, err := who(pod); user != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", change, user, err)
		}
	}
}
