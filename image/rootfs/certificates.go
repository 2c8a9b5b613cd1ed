package rootfs

import (
	"encoding/pem"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/going-mobile/imagebuilder/image/tree"
)

const (
	certsFrom   = "usr/share/ca-certificates"
	certsLocal  = "usr/local/share/ca-certificates"
	certsList   = "etc/ca-certificates.conf"
	certsTo     = "etc/ssl/certs"
	certsBundle = certsTo + "/ca-certificates.crt"
)

// certificatesConf is the header of the list that update-ca-certificates(8) reads.
const certificatesConf = `# The trusted certificates, as files below /usr/share/ca-certificates. With "!"
# before its name one is not trusted; update-ca-certificates(8) reads this file.
`

// certificate is the certificate of one trusted authority.
type certificate struct {
	path string // of the .crt file in the tree
	text string
}

// certificates does what ca-certificates' postinst and update-ca-certificates do. It writes
//
//   - the list of the shipped authorities, all enabled, unless an overlay brings the list;
//   - a link per authority;
//   - the bundle: the listed authorities in the order of the list, then the local ones;
//   - links by the hash of the subject, by which OpenSSL looks an authority up.
func certificates(s *state) error {
	if err := s.defaultDir(certsLocal, 0o755); err != nil {
		return err
	}
	shipped, err := s.certificatesIn(certsFrom)
	if err != nil {
		return err
	}
	local, err := s.certificatesIn(certsLocal)
	if err != nil {
		return err
	}
	if s.exists(certsList) {
		shipped, err = s.trusted(shipped)
	} else {
		err = s.listCertificates(shipped)
	}
	if err != nil {
		return err
	}
	certs := append(shipped, local...)
	return firstError(s.certificateBundle(certs), s.certificateLinks(certs))
}

// listCertificates writes a list that trusts all of certs.
func (s *state) listCertificates(certs []certificate) error {
	conf := certificatesConf
	for _, c := range certs {
		conf += strings.TrimPrefix(c.path, certsFrom+"/") + "\n"
	}
	return s.file(certsList, 0o644, conf)
}

// trusted returns the shipped certificates that the list trusts, which may be an overlay's.
// A name without a certificate is an error, also after "!": if a name to distrust is
// misspelt, the certificate would stay trusted.
func (s *state) trusted(shipped []certificate) ([]certificate, error) {
	conf, err := s.text(certsList)
	if err != nil {
		return nil, err
	}
	var trusted []certificate
	distrusted := ""
	for line := range strings.Lines(conf) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, not := strings.CutPrefix(line, "!")
		i := slices.IndexFunc(shipped, func(c certificate) bool { return c.path == certsFrom+"/"+name })
		switch {
		case i < 0:
			return nil, fmt.Errorf("/%s lists %s, which is not there below /%s", certsList, name, certsFrom)
		case not:
			distrusted = name
		default:
			trusted = append(trusted, shipped[i])
		}
	}
	if distrusted != "" && trusted == nil { // update-ca-certificates would trust none
		return nil, fmt.Errorf("/%s only says that %s is not trusted: it must also list those that are", certsList, distrusted)
	}
	return trusted, nil
}

// CheckTrust refuses a root from which an authority's file was pruned but whose bundle
// still contains it: the authority would stay trusted.
func CheckTrust(finished, pruned *tree.Tree) error {
	if pruned.Get(certsBundle) == nil {
		return nil
	}
	for _, n := range finished.Children(certsTo) {
		crt := strings.TrimPrefix(n.Link, "/")
		if strings.HasSuffix(crt, ".crt") && finished.Get(crt) != nil && pruned.Get(crt) == nil {
			return fmt.Errorf("prune: /%s goes, and stays trusted: it is in /%s; distrust it by an /%s without it, in an overlay", crt, certsBundle, certsList)
		}
	}
	return nil
}

// certificatesIn lists the .crt files below dir as sort(1) does in the C locale: by the
// whole path, so that subdirectories do not sort apart.
func (s *state) certificatesIn(dir string) ([]certificate, error) {
	var certs []certificate
	for _, n := range s.below(dir) {
		if !strings.HasSuffix(n.Path, ".crt") || n.Mode.IsDir() {
			continue
		}
		text, err := s.text(n.Path)
		if err != nil {
			return nil, err
		}
		certs = append(certs, certificate{n.Path, text})
	}
	slices.SortFunc(certs, func(a, b certificate) int { return strings.Compare(a.path, b.path) })
	return certs, nil
}

// certificateBundle writes all certificates into one file, each ended by a
// line break.
func (s *state) certificateBundle(certs []certificate) error {
	var b strings.Builder
	for _, c := range certs {
		b.WriteString(c.text)
		if !strings.HasSuffix(c.text, "\n") {
			b.WriteByte('\n')
		}
	}
	return s.file(certsBundle, 0o644, b.String())
}

// certificateLinks makes NAME.pem and HASH.N for every certificate.
func (s *state) certificateLinks(certs []certificate) error {
	files := map[string]string{} // NAME.pem → text
	for _, c := range certs {
		name := pemName(c.path)
		if err := s.link(certsTo+"/"+name, "/"+c.path); err != nil {
			return err
		}
		files[name] = c.text
	}
	names := make([]string, 0, len(files))
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	return s.hashLinks(names, files)
}

// hashLinks links every file under the hash of its subject. Certificates with the same
// subject are numbered from 0 in the order of openssl-rehash(1): by file name.
func (s *state) hashLinks(names []string, files map[string]string) error {
	next := map[string]int{}
	seen := map[string]bool{}
	for _, name := range names {
		der, err := firstCertificate(files[name])
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if seen[string(der)] {
			continue // openssl rehash skips a second copy
		}
		seen[string(der)] = true
		hash, err := subjectHash(der)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := s.link(fmt.Sprintf("%s/%s.%d", certsTo, hash, next[hash]), name); err != nil {
			return err
		}
		next[hash]++
	}
	return nil
}

// pemName is the name of a certificate's link, without characters that need quoting in a
// shell.
func pemName(crt string) string {
	name := strings.TrimSuffix(path.Base(crt), ".crt")
	return strings.NewReplacer(" ", "_", "(", "=", ")", "=", ",", "_").Replace(name) + ".pem"
}

func firstCertificate(text string) ([]byte, error) {
	for rest := []byte(text); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return nil, fmt.Errorf("no PEM certificate in the file")
		}
		if block.Type == "CERTIFICATE" {
			return block.Bytes, nil
		}
	}
}
