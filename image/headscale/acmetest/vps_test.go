//go:build linux

package acmetest

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot"
	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/host"
	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/image/headscale/headscaletest"
	"github.com/going-mobile/imagebuilder/overlays"
)

// vps is the machine that runs Headscale: a directory that all steps of firstboot
// write to, and the server with the settings that they write.
type vps struct {
	*world
	root   string // of its files
	cfg    node.Config
	server *exec.Cmd
	log    string
}

// newVPS is a machine that finds the authority's address in its node.yaml.
func (w *world) newVPS(url, directory, ca string) *vps {
	w.t.Helper()
	root, err := os.MkdirTemp("", "vps") // a short path: a unix socket's may have 107 bytes, unix(7)
	if err != nil {
		w.t.Fatal(err)
	}
	v := &vps{world: w, root: root, log: filepath.Join(root, "headscale.log"), cfg: node.Config{
		Version: node.Version, Node: "vps", Site: "cloud", Role: node.Control, Headscale: node.Headscale{URL: url, CA: ca},
		Control: &node.ControlServer{ACME: directory, Email: "owner@example.net"},
	}}
	w.t.Cleanup(func() {
		v.stop()
		if w.t.Failed() {
			w.t.Logf("headscale's last words:\n%s", last(v.log, 4000))
		}
		os.RemoveAll(root)
	})
	v.file("boot/firmware/imagebuilder.json", "{}")
	v.file("usr/lib/systemd/system/headscale.service", "")
	v.file("usr/share/zoneinfo/Etc/UTC", "")
	v.file("etc/machine-id", "")
	v.file(wall, w.overlay("firewall/files/"+wall))
	v.file("run/headscale/x", "")
	v.file("headscale.log", "")
	if err := os.MkdirAll(filepath.Join(root, contract.HeadscaleData), 0o700); err != nil { // StateDirectoryMode= of its unit
		w.t.Fatal(err)
	}
	v.personalise()
	return v
}

func (v *vps) file(name, text string) {
	v.t.Helper()
	name = filepath.Join(v.root, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(text), 0o644)); err != nil {
		v.t.Fatal(err)
	}
}

func (v *vps) personalise() {
	v.t.Helper()
	text, err := node.Marshal(&v.cfg)
	if err != nil {
		v.t.Fatal(err)
	}
	v.file("boot/firmware/node.yaml", string(text))
}

// host is the real host, except for systemd and tailscaled, which the test does not have.
func (v *vps) host() firstboot.Host {
	h := host.New(v.root, nil)
	h.System, h.Units, h.Tailnet, h.Clock, h.Programs = named{}, units{v: v}, stranger{}, steady{h.Clock}, silent{}
	return h
}

// until runs firstboot until its status has a problem with this code, and returns the
// problem.
func (v *vps) until(code string) *firstboot.Problem {
	v.t.Helper()
	ctx, cancel := context.WithTimeout(v.t.Context(), 4*time.Minute)
	defer cancel()
	var seen []string
	var found *firstboot.Problem
	_ = firstboot.Run(ctx, v.host(), firstboot.Options{}, func(s firstboot.Status) {
		if s.Problem == nil {
			return
		}
		if words := s.Problem.Code + ": " + s.Problem.Error(); !slices.Contains(seen, words) {
			seen = append(seen, words)
		}
		if s.Problem.Code == code {
			found = s.Problem
			cancel()
		}
	})
	if found == nil {
		v.t.Fatalf("never %s, but %s", code, strings.Join(seen, "\n"))
	}
	return found
}

// passes runs one step of firstboot.
func (v *vps) passes(step string) {
	v.t.Helper()
	if err := firstboot.Run(v.t.Context(), v.host(), firstboot.Options{Only: []string{step}}, func(firstboot.Status) {}); err != nil {
		v.t.Fatal(err)
	}
}

// serve starts the server as its unit does, with firstboot's settings; only the paths
// differ.
func (v *vps) serve() {
	v.t.Helper()
	text, err := os.ReadFile(filepath.Join(v.root, "etc/headscale/config.yaml"))
	if err != nil {
		v.t.Fatal(err)
	}
	settings := strings.NewReplacer("/var/lib/headscale", v.root+contract.HeadscaleData, "/run/headscale", v.root+"/run/headscale").Replace(string(text))
	v.file("headscale.yaml", settings)
	log, err := os.OpenFile(v.log, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		v.t.Fatal(err)
	}
	defer log.Close()
	v.server = exec.Command(headscaletest.Build(v.t), "-c", filepath.Join(v.root, "headscale.yaml"), "serve")
	v.server.Env = append(os.Environ(), "SSL_CERT_DIR="+v.trusts())
	v.server.Stdout, v.server.Stderr = log, log
	v.server.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := v.server.Start(); err != nil {
		v.t.Fatal(err)
	}
	v.await("headscale", func() error {
		if text, err := os.ReadFile(v.log); err != nil || !strings.Contains(string(text), "listening and serving HTTP on") {
			return errors.New("does not serve")
		}
		return nil
	})
}

// trusts are the directories of CA certificates in the server's unit.
func (v *vps) trusts() string {
	v.t.Helper()
	_, rest, ok := strings.Cut(v.overlay("headscale/files/usr/lib/systemd/system/headscale.service"), "\nEnvironment=SSL_CERT_DIR=")
	places, _, _ := strings.Cut(rest, "\n")
	if !ok || !strings.Contains(places, "/etc/imagebuilder/") {
		v.t.Fatalf("the unit trusts %q", places)
	}
	return strings.ReplaceAll(places, "/etc/imagebuilder/", v.root+"/etc/imagebuilder/")
}

// overlay reads a file of an overlay as it is in an image.
func (w *world) overlay(name string) string {
	w.t.Helper()
	text, err := fs.ReadFile(overlays.FS, name)
	if err != nil {
		w.t.Fatal(err)
	}
	return string(text)
}

func (v *vps) stop() {
	if v.server != nil {
		_ = v.server.Process.Kill()
		_ = v.server.Wait()
		v.server = nil
	}
}

// wall loads the node's firewall, with the ports that firstboot opens.
func (v *vps) wall() {
	v.t.Helper()
	v.sh("nft -f %[1]s/%[2]s; nft -f %[1]s/etc/imagebuilder/firewall.nft", v.root, wall)
}

// wall is the image's own rules.
const wall = "usr/lib/imagebuilder/firewall.nft"

type named struct{ firstboot.System }

func (named) Hostname() (string, error) { return "vps", nil }
func (named) SetHostname(string) error  { return nil }

// units is a systemd whose units all run; the journal is the server's log.
type units struct {
	firstboot.Units
	v *vps
}

func (units) Active(context.Context, string) (bool, error) { return true, nil }
func (units) Ready(context.Context, string) (bool, error)  { return true, nil }
func (units) Restart(context.Context, string) error        { return nil }

func (u units) Log(_ context.Context, _ string, n int) (string, error) {
	text, err := os.ReadFile(u.v.log)
	all := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(all[max(0, len(all)-n):], "\n"), err
}

type stranger struct{ firstboot.Tailnet }

func (stranger) Status(context.Context) (firstboot.TailnetStatus, error) {
	return firstboot.TailnetStatus{State: "NeedsLogin"}, nil
}

type steady struct{ firstboot.Clock }

func (steady) Synced() (bool, error) { return true, nil }

type silent struct{ firstboot.Programs }

func (silent) Run(context.Context, ...string) (string, error) { return "", nil }
