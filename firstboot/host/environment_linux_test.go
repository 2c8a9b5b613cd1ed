package host

import (
	"os"
	"path/filepath"
	"testing"
)

// TestLikeUnits: a login shell gets the proxy and the authority that units have, unless the user
// has set others.
func TestLikeUnits(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "etc/imagebuilder")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_DIR", "#x"} {
		t.Setenv(name, "")
	}
	t.Setenv("NO_PROXY", "of.mine")
	wants := func(want map[string]string) {
		t.Helper()
		for name, value := range want {
			if got := os.Getenv(name); got != value {
				t.Errorf("%s is %q, want %q", name, got, value)
			}
		}
	}
	const certs = "/etc/ssl/certs:/etc/imagebuilder/ca"
	LikeUnits(root)
	wants(map[string]string{"HTTP_PROXY": "", "HTTPS_PROXY": "", "NO_PROXY": "of.mine", "SSL_CERT_DIR": certs})
	text := "#x=y\nHTTP_PROXY=\"http://u:p=q@proxy:3128\"\nHTTPS_PROXY=\"http://proxy:3128\"\nNO_PROXY=\"localhost\"\n"
	if err := os.WriteFile(filepath.Join(dir, "proxy.env"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	LikeUnits(root)
	wants(map[string]string{"HTTP_PROXY": "http://u:p=q@proxy:3128", "HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": "of.mine", "#x": ""})
}
