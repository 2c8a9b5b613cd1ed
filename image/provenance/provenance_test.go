package provenance_test

import (
	"bytes"
	"encoding/json"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/image/manifest"
	"github.com/going-mobile/imagebuilder/image/provenance"
)

var (
	sum   = strings.Repeat("0123456789abcdef", 4)
	image = provenance.File("x.img", sum)
)

func example() *manifest.Manifest {
	return &manifest.Manifest{
		Version: 1, Builder: "v1.2.3", Image: manifest.Image{Board: "rpi4", Version: "7", SHA256: sum},
		Overlays: []manifest.Overlay{{Name: "base", DirHash: sum}},
		Packages: []manifest.Package{{Name: "bash", Version: "5.2", Arch: "arm64", SHA256: sum}},
		Components: []manifest.Component{
			{Name: "k3s", Version: "v1", URL: "https://example.org/k3s?a&b", SHA256: sum, Deferred: true},
			{Name: "tailscale", Version: "v2", SHA256: sum, BuiltFrom: "tailscale.com@v2", Toolchain: "go1.26"},
			{Name: "late", Version: "v3"},
		},
	}
}

func encode(t *testing.T) []byte {
	t.Helper()
	data, err := provenance.Encode(example(), provenance.File("x.img.lock.json", sum), image, provenance.File("x.img.zst", sum))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// failer is a test, or counts.
type failer interface{ Errorf(string, ...any) }

type counter int

func (c *counter) Errorf(string, ...any) { *c++ }

// object is what a specification lists: every field with its check; required
// ones end in "!".
type object map[string]func(t failer, at string, v any)

func (o object) check(t failer, at string, v any) {
	m, ok := v.(map[string]any)
	if !ok {
		t.Errorf("%s: %T is no object", at, v)
		return
	}
	for name, value := range m {
		check := o[name]
		if check == nil {
			check = o[name+"!"]
		}
		if check == nil {
			t.Errorf("%s has a field %q that the specification does not know", at, name)
			continue
		}
		check(t, at+"."+name, value)
	}
	for name := range o {
		if name, required := strings.CutSuffix(name, "!"); required && m[name] == nil {
			t.Errorf("%s lacks %q", at, name)
		}
	}
}

func text(t failer, at string, v any) {
	if s, ok := v.(string); !ok || s == "" {
		t.Errorf("%s: %v is no text", at, v)
	}
}

func uri(t failer, at string, v any) {
	s, _ := v.(string)
	if u, err := url.Parse(s); err != nil || u.Scheme == "" || strings.ContainsAny(s, " <>\"") {
		t.Errorf("%s: %v is no URI: %v", at, v, err)
	}
}

func exactly(want string) func(failer, string, any) {
	return func(t failer, at string, v any) {
		if v != want {
			t.Errorf("%s: got %v, want %s", at, v, want)
		}
	}
}

func list(check func(failer, string, any)) func(failer, string, any) {
	return func(t failer, at string, v any) {
		all, ok := v.([]any)
		if !ok || len(all) == 0 {
			t.Errorf("%s: %v is no list of something", at, v)
		}
		for _, e := range all {
			check(t, at, e)
		}
	}
}

func texts(t failer, at string, v any) {
	for key, value := range v.(map[string]any) {
		text(t, at+"."+key, value)
	}
}

func digests(t failer, at string, v any) {
	set, _ := v.(map[string]any)
	if len(set) == 0 {
		t.Errorf("%s: %v has no digest", at, v)
	}
	for name, value := range set {
		if !slices.Contains([]string{"sha256", "dirHash"}, name) || !regexp.MustCompile(`^[0-9a-f]{64}$`).MatchString(value.(string)) {
			t.Errorf("%s.%s: %v", at, name, value)
		}
	}
}

// resource is spec/v1/resource_descriptor.md.
func resource(t failer, at string, v any) {
	object{"name": text, "uri": uri, "digest": digests, "content": text, "downloadLocation": uri, "mediaType": text, "annotations": texts}.check(t, at, v)
	if m := v.(map[string]any); m["uri"] == nil && m["digest"] == nil && m["content"] == nil {
		t.Errorf("%s: one of uri, digest and content must be there", at)
	}
}

// subject is a resource with a digest (spec/v1/statement.md).
func subject(t failer, at string, v any) {
	resource(t, at, v)
	if v.(map[string]any)["digest"] == nil {
		t.Errorf("%s has no digest", at)
	}
}

// statement is in-toto's Statement v1 with SLSA's Provenance v1 in it, as
// their specifications list the fields.
var statement = object{
	"_type!": exactly("https://in-toto.io/Statement/v1"), "subject!": list(subject), "predicateType!": exactly("https://slsa.dev/provenance/v1"),
	"predicate!": object{
		"buildDefinition!": object{
			"buildType!": uri, "internalParameters": object{}.check, "resolvedDependencies": list(resource),
			"externalParameters!": object{"board!": text, "version!": text, "lock!": subject}.check, // ours to choose
		}.check,
		"runDetails!": object{
			"builder!":   object{"id!": uri, "version": texts, "builderDependencies": list(resource)}.check,
			"byproducts": list(resource), "metadata": object{"invocationId": text, "startedOn": text, "finishedOn": text}.check,
		}.check,
	}.check,
}

func TestTheStatementFollowsItsSpecifications(t *testing.T) {
	data := encode(t)
	var v any
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	statement.check(t, "statement", v)
	for _, field := range []string{`"_type"`, `"subject"`, `"buildType"`, `"id"`, `"lock"`} { // or the check checks nothing
		var damaged any
		json.Unmarshal(bytes.Replace(data, []byte(field), []byte(`"x"`), 1), &damaged)
		var found counter
		if statement.check(&found, "", damaged); found == 0 {
			t.Errorf("a statement without %s passes", field)
		}
	}
}

func TestEveryInputIsNamedWithItsDigest(t *testing.T) {
	data := encode(t)
	var s provenance.Statement
	if err := json.Unmarshal(data, &s); err != nil {
		t.Fatal(err)
	}
	digest := map[string]string{"sha256": sum}
	want := []provenance.Resource{
		{Name: "overlays/base", Digest: map[string]string{"dirHash": sum}},
		{Name: "bash", URI: "pkg:deb/debian/bash@5.2?arch=arm64", Digest: digest},
		{Name: "k3s", URI: "pkg:generic/k3s@v1?download_url=https:%2F%2Fexample.org%2Fk3s%3Fa%26b", Digest: digest,
			Annotations: map[string]string{"deferred": "fetched by the node at first boot"}},
		{Name: "tailscale", URI: "pkg:generic/tailscale@v2", Digest: digest, Annotations: map[string]string{"builtFrom": "tailscale.com@v2", "toolchain": "go1.26"}},
		{Name: "late", URI: "pkg:generic/late@v3"},
	}
	if got := s.Predicate.BuildDefinition.ResolvedDependencies; !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v", got)
	}
	if got, err := provenance.Subjects("x", data); err != nil || len(got) != 2 || !reflect.DeepEqual(got[0], image) {
		t.Errorf("%+v, %v", got, err)
	}
	if !bytes.Equal(data, encode(t)) {
		t.Error("two statements of the same inputs differ")
	}
}

func TestOnlyStatementsOfBuildsHaveSubjects(t *testing.T) {
	for _, text := range []string{`{`, `{}`, `{"_type": "https://in-toto.io/Statement/v1", "predicateType": "https://spdx.dev/Document"}`,
		`{"_type": "https://in-toto.io/Statement/v1", "predicateType": "https://slsa.dev/provenance/v1"}`} {
		if s, err := provenance.Subjects("x", []byte(text)); err == nil || !strings.HasPrefix(err.Error(), "x: ") {
			t.Errorf("%s: %v, %v", text, s, err)
		}
	}
}

func FuzzSubjects(f *testing.F) {
	f.Add([]byte(`{"_type": "https://in-toto.io/Statement/v1", "predicateType": "https://slsa.dev/provenance/v1", "subject": [{"digest": {"sha256": "00"}}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if s, err := provenance.Subjects("x", data); (len(s) == 0) == (err == nil) {
			t.Errorf("%v, %v", s, err)
		}
	})
}
