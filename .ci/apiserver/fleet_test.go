package apiserver_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/going-mobile/imagebuilder/image/fleet"
)

// builder is the program that people have.
const builder = "../../bin/imagebuilder"

// payload is what the example fleet has besides for these tests.
const (
	backup  = "    backup: {endpoint: \"https://s3.example.net\", region: eu-1, bucket: volumes, prefix: home/, accessKey: AKIA, secretKey: {file: secrets/s3.key}}\n"
	follows = "  gitops: {repo: \"ssh://git@git.example.net/home/cluster.git\", path: apps, deployKey: {file: secrets/deploy.key}, knownHosts: {file: secrets/known_hosts}}\n"
	payload = "  longhorn:\n" + backup + follows + "sites:\n"
)

// newFleet makes the example fleet in dir as its owner would, with the payload.
func newFleet(dir string) (*fleet.Fleet, error) {
	if err := imagebuilder("fleet", "init", dir, "--example", fleet.ExampleName); err != nil {
		return nil, err
	}
	for name, text := range map[string]string{"s3.key": "s3-secret", "deploy.key": "ssh-secret", "known_hosts": "git.example.net ssh-ed25519 AAAA"} {
		if err := os.WriteFile(filepath.Join(dir, fleet.SecretsDir, name), []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	name := filepath.Join(dir, fleet.FileName)
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(name, []byte(strings.Replace(string(text), "sites:\n", payload, 1)), 0o644); err != nil {
		return nil, err
	}
	return changed(dir)
}

// changed loads the fleet of a directory with some texts in place of others.
func changed(dir string, change ...string) (*fleet.Fleet, error) {
	name := filepath.Join(dir, fleet.FileName)
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	text := string(data)
	for i := 0; i < len(change); i += 2 {
		if !strings.Contains(text, change[i]) {
			return nil, fmt.Errorf("no %q in\n%s", change[i], text)
		}
		text = strings.Replace(text, change[i], change[i+1], 1)
	}
	return fleet.Load(name, []byte(text), nil)
}

func imagebuilder(args ...string) error {
	out, err := exec.Command(builder, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("imagebuilder %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}
