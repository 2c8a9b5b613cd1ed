package manifest

import (
	"fmt"
	"path"
	"strings"
)

// PURL returns the package URL of type deb, with the suite as qualifier distro.
func (p Package) PURL() string {
	purl := fmt.Sprintf("pkg:deb/debian/%s@%s?arch=%s", purlEscape(p.Name), purlEscape(p.Version), p.Arch)
	if p.Suite != "" {
		purl += "&distro=" + purlEscape(p.Suite)
	}
	return purl
}

// PURL returns the package URL of type generic.
func (c Component) PURL() string {
	purl := fmt.Sprintf("pkg:generic/%s@%s", purlEscape(c.Name), purlEscape(c.Version))
	if c.URL != "" {
		purl += "?download_url=" + purlEscape(c.URL)
	}
	return purl
}

// PURL returns the package URL of type oci.
func (c Container) PURL(arch string) string {
	repository, tag := c.Name[:strings.LastIndex(c.Name, ":")], c.Name[strings.LastIndex(c.Name, ":")+1:]
	return fmt.Sprintf("pkg:oci/%s@%s?arch=%s&repository_url=%s&tag=%s",
		purlEscape(path.Base(repository)), purlEscape(c.Digest), arch, purlEscape(repository), purlEscape(tag))
}

// SHA256 is the digest in hex, without its prefix.
func (c Container) SHA256() string { return strings.TrimPrefix(c.Digest, "sha256:") }

// purlEscape percent-encodes everything except what ECMA-427 leaves unencoded in names,
// versions and qualifiers: letters, digits, four punctuation marks and the colon.
func purlEscape(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte(".-_~:", c) >= 0:
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}
