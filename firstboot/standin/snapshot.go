//go:build linux

package main

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"
)

// snapshot implements "k3s etcd-snapshot save" and "prune" for what this server knows, with the
// flags that updates use (docs.k3s.io, "k3s etcd-snapshot"). Like k3s it requires a running server.
func snapshot(args []string) error {
	if len(args) == 0 || args[0] != "save" && args[0] != "prune" {
		return fmt.Errorf("the stand-in's etcd-snapshot does not know %q", args)
	}
	f := flag.NewFlagSet("etcd-snapshot", flag.ContinueOnError)
	name := f.String("name", "on-demand", "")
	keep := f.Int("snapshot-retention", 5, "")
	if err := f.Parse(args[1:]); err != nil {
		return err
	}
	s, err := loadSettings("server")
	if err != nil {
		return err
	}
	db := at(filepath.Join(cmp.Or(s.one("data-dir"), "/var/lib/rancher/k3s"), "server/db"))
	if args[0] == "prune" {
		return pruneSnapshots(filepath.Join(db, "snapshots"), *name, *keep)
	}
	data, err := os.ReadFile(filepath.Join(db, "etcd/standin.json"))
	if err != nil {
		return fmt.Errorf("no server runs here: %w", err)
	}
	if err := os.MkdirAll(filepath.Join(db, "snapshots"), 0o700); err != nil {
		return err
	}
	file := filepath.Join(db, "snapshots", *name+"-"+s.one("node-name")+"-"+strconv.FormatInt(time.Now().Unix(), 10))
	fmt.Println("Snapshot " + filepath.Base(file) + " saved.")
	return os.WriteFile(file, data, 0o600)
}

// pruneSnapshots keeps the newest snapshots of a name.
func pruneSnapshots(dir, name string, keep int) error {
	all, err := filepath.Glob(filepath.Join(dir, name+"-*"))
	if err != nil {
		return err
	}
	slices.Sort(all) // sorts by time, since all are of this node
	for _, old := range all[:max(0, len(all)-keep)] {
		if err := os.Remove(old); err != nil {
			return err
		}
	}
	return nil
}
