package host

import (
	"context"
	"net/http"
)

// etcd is where k3s lets its etcd answer on loopback (pkg/etcd, listenMetricsURLs).
var etcd = "http://127.0.0.1:2381"

// Etcd asks this machine's etcd.
func (n network) Etcd(ctx context.Context, path string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, apiTime)
	defer cancel()
	return ask(ctx, nil, http.MethodGet, etcd+path, "", nil)
}
