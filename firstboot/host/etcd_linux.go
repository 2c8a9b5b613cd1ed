package host

import (
	"context"
	"net/http"
)

// etcd is the loopback address at which k3s serves its etcd's metrics (pkg/etcd,
// listenMetricsURLs).
var etcd = "http://127.0.0.1:2381"

// Etcd sends a request to this machine's etcd.
func (n network) Etcd(ctx context.Context, path string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, apiTime)
	defer cancel()
	return ask(ctx, nil, http.MethodGet, etcd+path, "", nil)
}
