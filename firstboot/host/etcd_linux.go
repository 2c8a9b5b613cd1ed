package host

import (
	"context"
	"net/http"
)

// etcdReady is where k3s lets its etcd answer on loopback (pkg/etcd,
// listenMetricsURLs). Unlike /health beside it, /readyz is not well while the
// member only learns (etcd 3.6, etcdhttp).
var etcdReady = "http://127.0.0.1:2381/readyz"

// Etcd asks this machine's etcd whether it votes.
func (n network) Etcd(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, apiTime)
	defer cancel()
	_, err := ask(ctx, nil, http.MethodGet, etcdReady, "", nil)
	return err
}
