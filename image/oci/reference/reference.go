// Package reference parses names of container images as people write them, and completes
// them: containerd finds an image only by its full name.
//
// It refuses a name with neither tag nor digest, which would mean ":latest" and so another
// image at any time. It does not access a registry.
package reference

import (
	"bytes"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
)

// Reference is one container image.
type Reference struct {
	// Name is complete and has a tag: docker.io/library/nginx:1.29. If the image was given
	// by digest alone, the tag is sha256- and the first twelve digits: k3s (1.36) stops at
	// a name without a tag, with the archive half imported.
	Name string
	// Digest is "sha256:" and 64 hex digits, or "" if only a tag is known.
	Digest string
}

// The grammar of distribution/reference, by which containerd parses names. Package name is
// less strict.
var (
	pathPattern   = regexp.MustCompile(`^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$`)
	tagPattern    = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$`)
	digestPattern = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
)

const (
	maxName = 255
	// docker is containerd's name of the registry that package name calls by its host,
	// index.docker.io.
	docker = "docker.io"
)

// Parse reads NAME:TAG, NAME@sha256:HEX or NAME:TAG@sha256:HEX.
func Parse(s string) (Reference, error) {
	short, digest, given := strings.Cut(s, "@")
	if given {
		if err := CheckDigest(digest); err != nil {
			return Reference{}, fmt.Errorf("%q: %w", s, err)
		}
	}
	if i := strings.LastIndex(short, ":"); i <= strings.LastIndex(short, "/") {
		if !given {
			return Reference{}, fmt.Errorf("%q has neither tag nor digest: write %[2]s:TAG, or %[2]s@sha256:HEX", s, strings.ToLower(short)) // names have no capitals
		}
		short += ":sha256-" + digest[len("sha256:"):][:12]
	}
	tag, err := name.NewTag(short)
	if err != nil {
		return Reference{}, fmt.Errorf("%q is no name of a container image, such as docker.io/library/nginx:1.29: %w", s, err)
	}
	r := Reference{Digest: digest}
	registry := tag.RegistryStr()
	if registry == name.DefaultRegistry {
		registry = docker
	}
	r.Name = registry + "/" + tag.RepositoryStr() + ":" + tag.TagStr()
	if !pathPattern.MatchString(tag.RepositoryStr()) || !tagPattern.MatchString(tag.TagStr()) || len(r.Name) > maxName {
		return Reference{}, fmt.Errorf("%q is no name of a container image that containerd takes, such as docker.io/library/nginx:1.29", s)
	}
	return r, nil
}

// CheckDigest refuses what cannot follow the @ of a name.
func CheckDigest(s string) error {
	if !digestPattern.MatchString(s) {
		return fmt.Errorf("%q is no digest: sha256: and 64 digits of lower-case hex", s)
	}
	return nil
}

// String returns the form that Parse reads.
func (r Reference) String() string {
	if r.Digest == "" {
		return r.Name
	}
	return r.Name + "@" + r.Digest
}

// Tag is the part of the name after the last colon.
func (r Reference) Tag() string { return r.Name[strings.LastIndex(r.Name, ":")+1:] }

// Warning describes the problem with the tag "latest", and its remedy; both are "" for any
// other tag. Kubernetes (1.36) uses imagePullPolicy: Always for that tag unless a pod says
// otherwise, even if a digest follows.
func (r Reference) Warning() (summary, remedy string) {
	if r.Tag() != "latest" {
		return "", ""
	}
	return r.Name + " may be another image at every build, and its pods ask the registry although it is carried (imagePullPolicy: Always is usual for that tag).",
		"Pin another tag, or a digest without a tag."
}

// Registry is containerd's name of the registry.
func (r Reference) Registry() string { return r.Name[:strings.Index(r.Name, "/")] }

// Repository returns the repository of the image.
func (r Reference) Repository() (name.Repository, error) {
	return name.NewRepository(strings.TrimSuffix(r.Name, ":"+r.Tag()))
}

// Problem returns the index of the first entry for which Join refuses a list, and the
// reason. The error is nil if there is none.
func Problem(list []string) (int, error) {
	all := set{}
	for i, s := range list {
		if err := all.add(s); err != nil {
			return i, err
		}
	}
	return 0, nil
}

// List parses a file with one reference per line; file is for errors. Empty lines, and
// everything after a #, are ignored.
func List(file string, data []byte) ([]string, error) {
	var list []string
	all, n := set{}, 0
	for line := range bytes.Lines(data) {
		n++
		text, _, _ := strings.Cut(string(line), "#")
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		if err := all.add(text); err != nil {
			return nil, fmt.Errorf("%s, line %d: %w", file, n, err)
		}
		list = append(list, text)
	}
	return list, nil
}

// Join returns a sorted list without duplicates. An image that occurs with its digest in
// one place and without it in another is one image. Two digests of one name are an error.
func Join(list []string) ([]Reference, error) {
	all := set{}
	for _, s := range list {
		if err := all.add(s); err != nil {
			return nil, err
		}
	}
	out := slices.Collect(maps.Values(all))
	slices.SortFunc(out, func(a, b Reference) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// set holds images by name.
type set map[string]Reference

func (all set) add(s string) error {
	r, err := Parse(s)
	if err != nil {
		return err
	}
	have := all[r.Name]
	switch {
	case r.Digest == "":
		r.Digest = have.Digest
	case have.Digest != "" && have.Digest != r.Digest:
		return fmt.Errorf("%s is wanted as %s and as %s: one name is one image", r.Name, have.Digest, r.Digest)
	}
	all[r.Name] = r
	return nil
}
