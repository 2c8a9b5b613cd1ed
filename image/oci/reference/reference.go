// Package reference reads the names of container images as people write them,
// and spells them in full: containerd looks an image up by nothing else.
//
// It refuses a name without tag and digest, which would mean ":latest" and so
// another image every day. It asks no registry.
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
	// Name is spelled in full, with a tag: docker.io/library/nginx:1.29. One that
	// was given by digest alone has the tag sha256-, and twelve digits of it: k3s
	// (1.36) stops at a name without a tag, and leaves the archive half imported.
	Name string
	// Digest is "sha256:" and 64 hex digits, empty where only a tag is known.
	Digest string
}

// Of the grammar of distribution/reference, by which containerd reads names:
// package name is laxer.
var (
	pathPattern   = regexp.MustCompile(`^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$`)
	tagPattern    = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$`)
	digestPattern = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
)

const (
	maxName = 255
	// docker is what containerd calls the registry that package name calls by
	// its host, index.docker.io.
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
			return Reference{}, fmt.Errorf("%q has neither tag nor digest: write %[2]s:TAG, or %[2]s@sha256:HEX", s, strings.ToLower(short)) // no name has capitals
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

// CheckDigest refuses what is no digest as it stands behind a name's @.
func CheckDigest(s string) error {
	if !digestPattern.MatchString(s) {
		return fmt.Errorf("%q is no digest: sha256: and 64 digits of lower-case hex", s)
	}
	return nil
}

// String is what Parse reads.
func (r Reference) String() string {
	if r.Digest == "" {
		return r.Name
	}
	return r.Name + "@" + r.Digest
}

// Tag is what stands behind the name's last colon.
func (r Reference) Tag() string { return r.Name[strings.LastIndex(r.Name, ":")+1:] }

// Warning is what will hurt about an image whose tag is "latest", and its remedy;
// both are "" for any other. Kubernetes (1.36) has imagePullPolicy: Always for that
// tag, with a digest behind it, too, where a pod does not say otherwise.
func (r Reference) Warning() (summary, remedy string) {
	if r.Tag() != "latest" {
		return "", ""
	}
	return r.Name + " may be another image at every build, and its pods ask the registry although it is carried (imagePullPolicy: Always is usual for that tag).",
		"Pin another tag, or a digest without a tag."
}

// Registry is what containerd calls the registry.
func (r Reference) Registry() string { return r.Name[:strings.Index(r.Name, "/")] }

// Repository is where the image is.
func (r Reference) Repository() (name.Repository, error) {
	return name.NewRepository(strings.TrimSuffix(r.Name, ":"+r.Tag()))
}

// Problem returns the index of the first of a list for which Join refuses it,
// and why, or an error of nil.
func Problem(list []string) (int, error) {
	all := set{}
	for i, s := range list {
		if err := all.add(s); err != nil {
			return i, err
		}
	}
	return 0, nil
}

// List reads a file with one reference a line; file is for errors. Lines may be
// empty, and what follows a # is a comment.
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

// Join makes one sorted list of all: an image that is named with its digest at
// one place and without at another is one image. Two digests of one name are an
// error.
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

// set is images by their names.
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
