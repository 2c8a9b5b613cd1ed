package deb

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"strings"

	"github.com/going-mobile/imagebuilder/firstboot/deb822"
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

// What deb-control(5) and Debian policy 5.6 allow in the three fields that identify a
// package: they become part of messages, keys and file names.
var (
	nameForm    = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]+$`)
	versionForm = regexp.MustCompile(`^[A-Za-z0-9.+:~-]+$`)
	archForm    = regexp.MustCompile(`^[a-z0-9][a-z0-9-]*$`)
)

// identify sets name, version and architecture of p from its control paragraph.
func (p *Package) identify() error {
	control, err := deb822.Parse(strings.TrimSpace(p.Control))
	if err != nil {
		return fmt.Errorf("control: %w", err)
	}
	for _, f := range []struct {
		name string
		dst  *string
		form *regexp.Regexp
	}{
		{"Package", &p.Name, nameForm},
		{"Version", &p.Version, versionForm},
		{"Architecture", &p.Architecture, archForm},
	} {
		v, ok := control[strings.ToLower(f.name)]
		if !ok {
			return fmt.Errorf("control: no field %s", f.name)
		}
		if !f.form.MatchString(v) {
			return fmt.Errorf("control: bad %s %q", f.name, v)
		}
		*f.dst = v
	}
	return nil
}
