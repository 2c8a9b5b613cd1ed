//go:build linux

// Standin takes k3s' place in tests where k3s itself cannot be had. It is no Kubernetes and says so
// wherever it can. What it does is real: it reads config.yaml strictly by the real flags' names,
// requires the address and the interface that k3s would require, serves TLS on 6443, checks tokens,
// joins through the address it was given, knows its nodes, tells systemd when it is ready, answers
// the few kubectl commands and API requests of firstboot, and has an etcd that says whether it
// votes. Nodes can be cordoned, although there are no pods. A witness has no API until it has found
// that of a server.
//
// It fails on purpose where /etc/rancher/k3s/standin-fail says how: "start" (exits at once),
// "ready" (never becomes ready), "flag" (complains about a flag as k3s does), "crash" (exits when
// it has become ready, as k3s does when it loses its lease), "hang" (accepts requests and answers
// none), "slow" (answers after four seconds, as k3s did on an etcd whose disk was busy), "quorum"
// (the API answers that etcd does not).
package main

import (
	"errors"
	"fmt"
	"log"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/going-mobile/imagebuilder/firstboot/k3sflags"
)

// schema is the newest schema of the store that it reads; it upgrades the store to that at start.
// go build -ldflags "-X main.schema=2" makes a version whose store an older one does not read.
var schema = "1"

const banner = "THIS IS A STAND-IN FOR K3S, FOR TESTS ONLY. IT RUNS NO CONTAINERS."

// root is the file system's root; tests set another one.
var root = os.Getenv("STANDIN_ROOT")

func at(name string) string { return filepath.Join("/", root, name) }

func main() {
	log.SetFlags(0)
	if err := run(os.Args); err != nil {
		log.Fatalf("level=fatal msg=%q", err.Error())
	}
}

func run(argv []string) error {
	args := argv[1:]
	if filepath.Base(argv[0]) == "kubectl" {
		return kubectl(args)
	}
	if len(args) == 0 {
		return errors.New("usage: k3s server|agent|kubectl|etcd-snapshot|--version")
	}
	switch args[0] {
	case "server", "agent":
		log.Print(banner)
		if len(args) > 1 {
			return fmt.Errorf("the stand-in takes its settings from config.yaml alone, not %q", args[1:])
		}
		return serve(args[0])
	case "kubectl":
		return kubectl(args[1:])
	case "etcd-snapshot":
		return snapshot(args[1:])
	case "--version", "-v":
		fmt.Println("k3s version v0.0.0+standin\n" + banner)
		return nil
	}
	return fmt.Errorf("no command %q", args[0])
}

// settings is config.yaml, with every value as a list of strings.
type settings map[string][]string

func (s settings) one(name string) string {
	if len(s[name]) == 0 {
		return ""
	}
	return s[name][0]
}

func (s settings) on(name string) bool { return s.one(name) == "true" }

// loadSettings reads config.yaml for a role. Real k3s skips a server's unknown keys with a warning;
// here they are errors, since they are mistakes.
func loadSettings(role string) (settings, error) {
	data, err := os.ReadFile(at("/etc/rancher/k3s/config.yaml"))
	if err != nil {
		return nil, err
	}
	var raw map[string]any
	if err := yaml.Unmarshal(data, &raw); err != nil {
		return nil, fmt.Errorf("config.yaml: %w", err)
	}
	known := k3sflags.Of(role == "agent")
	s := settings{}
	for name, value := range raw {
		if !slices.Contains(known, name) {
			return nil, fmt.Errorf("flag provided but not defined: -%s", name)
		}
		list, isList := value.([]any)
		if !isList {
			list = []any{value}
		}
		if isList && !k3sflags.Repeatable(name) {
			return nil, fmt.Errorf("flag -%s takes one value, not a list", name)
		}
		for _, v := range list {
			s[name] = append(s[name], fmt.Sprint(v))
		}
	}
	return s, s.check(role)
}

// check requires of the machine what k3s requires.
func (s settings) check(role string) error {
	if role == "agent" && s.one("server") == "" {
		return errors.New("--server is required")
	}
	if s.on("cluster-init") && s.one("server") != "" {
		return errors.New("cannot set cluster-init and server flags together")
	}
	ip := s.one("node-ip")
	if net.ParseIP(ip) == nil {
		return fmt.Errorf("invalid node-ip: %q", ip)
	}
	name := s.one("flannel-iface")
	iface, err := net.InterfaceByName(name)
	if err != nil {
		return fmt.Errorf("unable to find interface %s: %w", name, err)
	}
	addrs, err := iface.Addrs()
	if err != nil {
		return err
	}
	for _, a := range addrs {
		if own, _, err := net.ParseCIDR(a.String()); err == nil && own.String() == ip {
			return nil
		}
	}
	return fmt.Errorf("interface %s does not have the address %s", name, ip)
}

// secretOf reads the value of a flag, or the file that the flag NAME-file names.
func (s settings) secretOf(name string) (string, error) {
	file := s.one(name + "-file")
	if file == "" {
		return s.one(name), nil
	}
	fi, err := os.Stat(at(file))
	if err != nil {
		return "", err
	}
	if fi.Mode().Perm()&0o077 != 0 {
		return "", fmt.Errorf("%s can be read by others", file)
	}
	b, err := os.ReadFile(at(file))
	return strings.TrimSpace(string(b)), err
}

func failure() string {
	b, err := os.ReadFile(at("/etc/rancher/k3s/standin-fail"))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}
