package secret_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"github.com/going-mobile/imagebuilder/firstboot/secret"
)

func TestNothingPrintsIt(t *testing.T) {
	s := secret.String("hskey-auth-hunter2")
	holder := struct {
		Key  secret.String
		List []secret.String
		Map  map[string]secret.String
		Ptr  *secret.String
	}{s, []secret.String{s}, map[string]secret.String{"k": s}, &s}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T", "%10.3s", "% x"} {
		fmt.Fprintf(&out, verb+"\n", s)
		fmt.Fprintf(&out, verb+"\n", holder)
	}
	j, err := json.Marshal(holder)
	if err != nil {
		t.Fatal(err)
	}
	out.Write(j)
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "key", s, "holder", holder)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "key", s, "holder", holder)
	fmt.Fprint(&out, errors.Join(fmt.Errorf("key %s", s)))
	for _, bad := range []string{"hunter2", fmt.Sprintf("%x", "hunter2"), fmt.Sprintf("%X", "hunter2"), fmt.Sprintf("% x", "hunter2")} {
		if strings.Contains(out.String(), bad) {
			t.Errorf("the secret shows in:\n%s", out.String())
		}
	}
}

func TestYAMLCarriesIt(t *testing.T) {
	in := map[string]secret.String{"key": "a: b #c"}
	b, err := yaml.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	var back map[string]secret.String
	if err := yaml.Unmarshal(b, &back); err != nil || back["key"] != in["key"] {
		t.Errorf("%s → %q, %v", b, back["key"].Reveal(), err)
	}
}

func TestFingerprint(t *testing.T) {
	if secret.String("").Fingerprint() != "" || secret.String("a").Fingerprint() == secret.String("b").Fingerprint() {
		t.Error("fingerprints do not tell secrets apart")
	}
}
