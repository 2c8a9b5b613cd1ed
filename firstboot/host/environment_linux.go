package host

import (
	"bufio"
	"os"
	"strings"
)

// LikeUnits gives this program the proxy and the certificate authority that node.yaml names, as the
// units have them: a login shell has neither. A variable that is already set stays. It must run
// early: net/http and crypto/x509 read these variables once, at first use.
func LikeUnits(root string) {
	way := Files{Root: root}.proxyVariables()
	way["SSL_CERT_DIR"] = "/etc/ssl/certs:/etc/imagebuilder/ca"
	for name, value := range way {
		if os.Getenv(name) == "" {
			_ = os.Setenv(name, value)
		}
	}
}

// proxyVariables returns the variables that the identity step wrote for all programs
// (systemd.exec(5), EnvironmentFile=); none where there is no proxy.
func (f Files) proxyVariables() map[string]string {
	set := map[string]string{}
	r, err := f.Open("/etc/imagebuilder/proxy.env")
	if err != nil {
		return set
	}
	defer r.Close()
	for lines := bufio.NewScanner(r); lines.Scan(); {
		if name, value, ok := strings.Cut(lines.Text(), "="); ok && !strings.HasPrefix(name, "#") {
			set[name] = strings.Trim(value, `"`)
		}
	}
	return set
}
