package reference_test

import (
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/image/oci/reference"
)

const digest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// TestParse: names are spelled as containerd spells them.
func TestParse(t *testing.T) {
	for in, want := range map[string]string{
		"nginx:1.29":                            "docker.io/library/nginx:1.29",
		"team/app:v1":                           "docker.io/team/app:v1",
		"docker.io/nginx:1":                     "docker.io/library/nginx:1",
		"index.docker.io/library/nginx:1":       "docker.io/library/nginx:1",
		"ghcr.io/a/b/c:v1":                      "ghcr.io/a/b/c:v1",
		"localhost:5000/app:v1":                 "localhost:5000/app:v1",
		"team/app@" + digest:                    "docker.io/team/app:sha256-0123456789ab@" + digest,
		"team/app:v1@" + digest:                 "docker.io/team/app:v1@" + digest,
		"registry.example.net:5000/a@" + digest: "registry.example.net:5000/a:sha256-0123456789ab@" + digest,
	} {
		r, err := reference.Parse(in)
		if err != nil || r.String() != want {
			t.Errorf("%s: %s, %v; want %s", in, r, err, want)
			continue
		}
		if again, err := reference.Parse(r.String()); err != nil || again != r {
			t.Errorf("%s: read again %s, %v", r, again, err)
		}
		if _, err := r.Repository(); err != nil || !strings.HasPrefix(want, r.Registry()+"/") || r.Registry() == "" {
			t.Errorf("%s: of %q, %v", r, r.Registry(), err)
		}
	}
	for in, want := range map[string]string{
		"nginx":                            "neither tag nor digest",
		"localhost:5000/app":               "neither tag nor digest",
		"docker.io/UPPER/x":                "write docker.io/upper/x:TAG, or docker.io/upper/x@sha256:HEX",
		"":                                 "neither tag nor digest",
		"App:v1":                           "no name of a container image",
		"a:b c":                            "no name of a container image",
		"a/../b:1":                         "no name of a container image",
		"a//b:1":                           "no name of a container image",
		"a/-b:1":                           "no name of a container image that containerd takes",
		"a/b:-1":                           "no name of a container image that containerd takes",
		"a/b:.1":                           "no name of a container image that containerd takes",
		"a@sha256:abc":                     "is no digest",
		"a:1@sha512:" + digest:             "is no digest",
		"a:1@" + strings.ToUpper(digest):   "is no digest",
		strings.Repeat("a", 250) + ":1234": "no name",
	} {
		if r, err := reference.Parse(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, %v; want %q", in, r, err, want)
		}
	}
}

func TestList(t *testing.T) {
	got, err := reference.List("f", []byte("# ours\nteam/app:v1 # the app\n\n  nginx:1.29\r\n"))
	if err != nil || strings.Join(got, " ") != "team/app:v1 nginx:1.29" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := reference.List("f", []byte("a/b:1\nc\n")); err == nil || !strings.Contains(err.Error(), "f, line 2: ") {
		t.Error(err)
	}
}

// TestJoin: one name is one image.
func TestJoin(t *testing.T) {
	got, err := reference.Join([]string{"b:1", "a:1", "docker.io/library/b:1@" + digest, "b:1"})
	if err != nil || len(got) != 2 || got[0].String() != "docker.io/library/a:1" || got[1].Digest != digest {
		t.Errorf("%v, %v", got, err)
	}
	two := []string{"b:1", "a:1@" + digest, "a:1@" + strings.Replace(digest, "0", "1", 1)}
	const want = "one name is one image"
	if _, err := reference.Join(two); err == nil || !strings.Contains(err.Error(), want) {
		t.Error(err)
	}
	if i, err := reference.Problem(two); i != 2 || err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("entry %d: %v", i, err)
	}
	if _, err := reference.List("f", []byte(strings.Join(two, "\n"))); err == nil || !strings.Contains(err.Error(), "f, line 3: ") || !strings.Contains(err.Error(), want) {
		t.Error(err)
	}
	if got, err := reference.Join(nil); err != nil || len(got) != 0 {
		t.Errorf("%v, %v", got, err)
	}
}

// TestLatest is warned of, with a digest, too.
func TestLatest(t *testing.T) {
	for text, warned := range map[string]bool{"a:latest": true, "a:latest@" + digest: true, "a@" + digest: false, "a:v1": false, "latest:v1": false, "a/latest:latest-1": false} {
		r, err := reference.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if summary, remedy := r.Warning(); (summary != "") != warned || (remedy != "") != warned || warned && !strings.HasPrefix(summary, "docker.io/library/a:latest ") {
			t.Errorf("%s: %q, %q", text, summary, remedy)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("team/app:v1@" + digest)
	f.Fuzz(func(t *testing.T, s string) {
		r, err := reference.Parse(s)
		if err != nil {
			return
		}
		if again, err := reference.Parse(r.String()); err != nil || again != r {
			t.Errorf("%q is %v, and that is %v (%v)", s, r, again, err)
		}
	})
}
