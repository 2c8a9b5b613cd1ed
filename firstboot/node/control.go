package node

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net/netip"
	"net/url"
	"path"
	"strconv"
	"strings"

	"github.com/going-mobile/imagebuilder/firstboot/secret"
)

// ControlServer says how the node runs the tailnet's Headscale, which serves
// headscale.url. Without Cert it asks Let's Encrypt for a certificate, on ports
// 80 and 443.
type ControlServer struct {
	// ACME is the ACME directory of a certificate authority to ask instead of Let's Encrypt. The
	// certificate that the directory itself is trusted by belongs in headscale.ca.
	ACME string `yaml:"acme,omitempty"`
	// Email is passed to the authority; it may be empty.
	Email string `yaml:"email,omitempty"`
	// Cert is a certificate in PEM form, followed by the intermediate certificates. Key is its
	// private key.
	Cert string        `yaml:"cert,omitempty"`
	Key  secret.String `yaml:"key,omitempty"`
	// Backup says where copies of Headscale's database and keys are kept. A machine that has
	// neither restores them from there.
	Backup Backup `yaml:"backup,omitempty"`
	// Names are applications' names, which the tailnet resolves besides those of the nodes.
	Names Names `yaml:"names,omitempty"`
}

// Backup says where copies go every hour.
type Backup struct {
	// Path is a directory below /var; default contract.HeadscaleBackup.
	Path string `yaml:"path,omitempty"`
	// S3 is a bucket for further copies. They are not encrypted.
	S3 *S3 `yaml:"s3,omitempty"`
}

// S3 is a bucket of S3, or of a service that speaks its protocol.
type S3 struct {
	// Endpoint is an address like https://s3.eu-central-1.amazonaws.com.
	Endpoint  string        `yaml:"endpoint"`
	Region    string        `yaml:"region"`
	Bucket    string        `yaml:"bucket"`
	Prefix    string        `yaml:"prefix,omitempty"` // prefix of object names, such as "headscale/"
	AccessKey string        `yaml:"accessKey"`
	SecretKey secret.String `yaml:"secretKey,omitempty"`
}

func (s *ControlServer) seal() *ControlServer {
	out := *s
	out.Key = ""
	if s.Backup.S3 != nil {
		bucket := *s.Backup.S3
		bucket.SecretKey = ""
		out.Backup.S3 = &bucket
	}
	return &out
}

// ControlPort is the port of headscale.url; 0 if the URL is invalid.
func (c *Config) ControlPort() int {
	u, err := url.Parse(c.Headscale.URL)
	if err != nil {
		return 0
	}
	if port, err := strconv.Atoi(u.Port()); err == nil {
		return port
	}
	return Services[u.Scheme].Port
}

// ControlHost is the host name or address in headscale.url; "" if the URL is invalid.
func (c *Config) ControlHost() string {
	u, err := url.Parse(c.Headscale.URL)
	if err != nil {
		return ""
	}
	return u.Hostname()
}

func (v *validator) control(c *Config) {
	s := c.Control
	switch {
	case s == nil && c.Role == Control:
		v.refuse("control", "is missing; what Headscale needs on this node, or {} for a certificate of Let's Encrypt")
		return
	case s == nil:
		return
	case c.Role != Control && c.Role != Witness:
		v.refuse("control", "is for a node with role control or witness: whoever runs Headscale is open to the world")
	}
	if u, err := url.Parse(c.Headscale.URL); err == nil && u.Scheme != "https" {
		v.refuse("headscale.url", "a Headscale of ours serves https alone")
	}
	v.backup(c)
	v.names(c)
	if s.Cert != "" {
		v.certificate(c)
		return
	}
	v.acme(c)
}

// acme refuses a headscale.url for which no authority can be asked: autocert, which Headscale uses,
// refuses names of one label (x/crypto 0.53).
func (v *validator) acme(c *Config) {
	s, host := c.Control, c.ControlHost()
	if _, err := netip.ParseAddr(host); err == nil {
		v.refuse("control.cert", "is missing; Let's Encrypt wants a name in headscale.url, not an address")
	} else if !strings.Contains(strings.Trim(host, "."), ".") {
		v.refuse("control.cert", "is missing; no authority is asked for a name without a dot, as in headscale.url")
	}
	if c.ControlPort() == Services["http"].Port {
		v.refuse("control.cert", "is missing; port 80, which headscale.url has, is where an authority would ask")
	}
	if u, err := url.Parse(s.ACME); s.ACME != "" && (err != nil || u.Scheme != "https" || u.Host == "") {
		v.refuse("control.acme", "want the address of an ACME directory, like https://ca.example.net/acme/acme/directory")
	}
	if !s.Key.Empty() {
		v.refuse("control.key", "is without a certificate (control: cert:)")
	}
}

// certificate requires a certificate that clients of headscale.url will accept. Its validity period
// is not checked here: that depends on the clock.
func (v *validator) certificate(c *Config) {
	s := c.Control
	if s.ACME != "" {
		v.refuse("control.acme", "is for a node without a certificate of its own (control: cert:)")
	}
	if err := checkCA(s.Cert); err != nil {
		v.want("control.cert", err)
		return
	}
	block, _ := pem.Decode([]byte(s.Cert))
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err == nil {
		err = leaf.VerifyHostname(c.ControlHost())
	}
	v.want("control.cert", err)
	if s.Key.Empty() {
		if !c.Sealed {
			v.refuse("control.key", "is missing; the key of the certificate")
		}
		return
	}
	if _, err := tls.X509KeyPair([]byte(s.Cert), []byte(s.Key.Reveal())); err != nil {
		v.refuse("control.key", "is not the key of the certificate, or not in PEM form")
	}
}

func (v *validator) backup(c *Config) {
	b := c.Control.Backup
	if b.Path != "" && (path.Clean(b.Path) != b.Path || !strings.HasPrefix(b.Path, "/var/")) {
		v.refuse("control.backup.path", "want a directory below /var, where what is written stays")
	}
	if b.S3 == nil {
		return
	}
	problems := b.S3.Problems()
	if c.Sealed {
		delete(problems, "secretKey")
	}
	for field, why := range problems {
		v.refuse("control.backup.s3."+field, "%s", why)
	}
}

// Problems returns what is wrong with the bucket, by field.
func (s *S3) Problems() map[string]string {
	all := map[string]string{}
	for field, value := range map[string]string{"region": s.Region, "bucket": s.Bucket, "accessKey": s.AccessKey, "secretKey": s.SecretKey.Reveal()} {
		switch {
		case value == "":
			all[field] = "is missing"
		case field != "secretKey" && strings.ContainsAny(value, "@/ "): // Longhorn writes BUCKET@REGION/PREFIX
			all[field] = "has a blank, @ or / in it, which none has"
		}
	}
	if u, err := url.Parse(s.Endpoint); err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		all["endpoint"] = "want an address like https://s3.eu-central-1.amazonaws.com"
	}
	return all
}
