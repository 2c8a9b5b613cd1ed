// Package apiserver_test lets a real kube-apiserver judge what this project makes
// for one: manifests, the kubeconfig, the cluster's authorities, secrets. Kubernetes' other programs
// judge what a node gives them. It is a module of its own, so that Kubernetes stays out of the
// product's.
//
// Server and etcd run in this process, on the loopback. There are no controllers
// and no nodes: what is judged is the API, not what becomes of an object in it.
// Run it with `make test-apiserver`; it needs bin/imagebuilder.
package apiserver_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"testing"
	"time"
)

// first is the server that creates the cluster of the example fleet. There is one
// a process: Kubernetes' features, metrics and capabilities are global.
var first *server

func TestMain(m *testing.M) {
	if os.Getenv(kubeletVar) != "" {
		beKubelet()
		return
	}
	flag.Parse()
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	dir, err := os.MkdirTemp("", "apiserver-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Minute)
	defer cancel()
	if first, err = start(ctx, dir); err != nil {
		return 0, err
	}
	code = m.Run()
	return code, first.stop()
}
