//go:build linux

package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
)

// kubectl implements "get --raw PATH", "get nodes -o json", "get node NAME -o json", "delete node
// NAME" and "create --raw PATH -f -", against the server in a kubeconfig.
func kubectl(args []string) error {
	f := flag.NewFlagSet("kubectl", flag.ContinueOnError)
	conf := f.String("kubeconfig", "/etc/rancher/k3s/k3s.yaml", "")
	f.String("request-timeout", "0", "")
	if err := f.Parse(args); err != nil {
		return err
	}
	method, path := "GET", ""
	var object any
	switch a := f.Args(); {
	case len(a) == 3 && a[0] == "get" && a[1] == "--raw":
		path = a[2]
	case len(a) == 5 && a[0] == "get" && a[1] == "node" && a[3] == "-o" && a[4] == "json":
		path = "/api/v1/nodes/" + a[2]
	case len(a) == 4 && a[0] == "get" && a[1] == "nodes" && a[2] == "-o" && a[3] == "json":
		path = "/api/v1/nodes"
	case len(a) == 3 && a[0] == "delete" && a[1] == "node":
		method, path = "DELETE", "/api/v1/nodes/"+a[2]
	case len(a) == 5 && a[0] == "create" && a[1] == "--raw" && a[3] == "-f" && a[4] == "-":
		method, path = "POST", a[2]
		if err := json.NewDecoder(os.Stdin).Decode(&object); err != nil {
			return err
		}
	default:
		return fmt.Errorf("the stand-in's kubectl does not know %q", a)
	}
	server, trusted, err := readKubeconfig(*conf)
	if err != nil {
		return err
	}
	var answer []byte
	if err := callWith(context.Background(), trusted, method, server+path, "", object, &answer); err != nil {
		return err
	}
	_, err = os.Stdout.Write(answer)
	return err
}
