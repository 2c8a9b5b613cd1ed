package deb

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"strings"
)

// readControl reads control.tar: plain files without directories.
func readControl(r io.Reader, lim limits) (map[string]string, error) {
	files := map[string]string{}
	var total int64
	for t := tar.NewReader(r); ; {
		h, err := t.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		name, err := controlName(h)
		if err != nil {
			return nil, err
		}
		if name == "." {
			continue
		}
		if _, ok := files[name]; ok {
			return nil, fmt.Errorf("%s occurs twice", name)
		}
		if total += h.Size; total > lim.control || h.Size > lim.control {
			return nil, fmt.Errorf("control files of more than %d bytes", lim.control)
		}
		b, err := io.ReadAll(t)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		files[name] = string(b)
	}
	if _, ok := files["control"]; !ok {
		return nil, errors.New("no control file")
	}
	return files, drainZeros(r)
}

func controlName(h *tar.Header) (string, error) {
	name, err := cleanPath(h.Name)
	if err != nil {
		return "", err
	}
	if name == "." && h.Typeflag == tar.TypeDir {
		return name, nil
	}
	if h.Typeflag != tar.TypeReg || path.Base(name) != name {
		return "", fmt.Errorf("%q is not a plain file beside control", h.Name)
	}
	return name, nil
}

// What deb-control(5) and Debian policy 5.6 allow in the three fields that
// name a package: they become part of messages, keys and file names.
var (
	nameForm    = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]+$`)
	versionForm = regexp.MustCompile(`^[A-Za-z0-9.+:~-]+$`)
	archForm    = regexp.MustCompile(`^[a-z0-9][a-z0-9-]*$`)
)

// identify fills in who p is from its control paragraph.
func (p *Package) identify() error {
	for _, f := range []struct {
		name string
		dst  *string
		form *regexp.Regexp
	}{
		{"Package", &p.Name, nameForm},
		{"Version", &p.Version, versionForm},
		{"Architecture", &p.Architecture, archForm},
	} {
		v, err := field(p.Control, f.name)
		if err != nil {
			return err
		}
		if !f.form.MatchString(v) {
			return fmt.Errorf("control: bad %s %q", f.name, v)
		}
		*f.dst = v
	}
	return nil
}

// field returns the one-line value of a field of the first paragraph. Names
// of fields are not case-sensitive, deb-control(5).
func field(paragraph, name string) (string, error) {
	found, value := false, ""
	for line := range strings.Lines(strings.TrimLeft(paragraph, "\n")) {
		if strings.TrimSpace(line) == "" {
			break
		}
		k, v, ok := strings.Cut(line, ":")
		if !ok || !strings.EqualFold(k, name) {
			continue
		}
		if found {
			return "", fmt.Errorf("control: field %s occurs twice", name)
		}
		found, value = true, strings.TrimSpace(v)
	}
	if !found {
		return "", fmt.Errorf("control: no field %s", name)
	}
	return value, nil
}
