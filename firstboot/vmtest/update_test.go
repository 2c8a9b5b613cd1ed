//go:build vm && linux

package vmtest

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestABadUpdateIsUndone: a server takes an update with a newer k3s, whose store the old one does
// not read, and with a unit that spoils what it finds and fails. The update is abandoned by itself,
// and the node is what it was. The same update without that unit, sent as a patch, is kept.
func TestABadUpdateIsUndone(t *testing.T) {
	const board = "generic-amd64"
	home := newUpdater(t)
	m, before := home.server(board)

	m.takes(home.update("bad", newer(t, board, "bad", "quick", "spoiler")))
	began := time.Now()
	m.reboots()
	m.see("slot b is on trial: kept what it may change")
	m.seeBack()
	m.see(regexp.QuoteMeta("the system in slot b did not prove itself; this is slot a again"))
	t.Logf("back in slot a after %v", time.Since(began).Round(time.Second))
	m.joinsIn("a")
	if after := m.sh(all); after != before {
		t.Errorf("after the trial:\n%s\nbefore:\n%s", after, before)
	}
	if text := m.sh("journalctl --no-pager -o cat -u firstboot-health.service"); !strings.Contains(text, "spoiler.service has failed") {
		t.Errorf("the trial says of its end:\n%s", text)
	}

	m.takes(home.update("good", newer(t, board, "good", "quick"), "--base", image(t, board)))
	m.reboots()
	m.joinsIn("b")
	m.blessed()
	if got := m.sh(all); got == before || strings.Replace(got, `"Schema":"2"`, `"Schema":"1"`, 1) != before {
		t.Errorf("after a good trial:\n%s\nbefore:\n%s", got, before)
	}
	if left := m.sh("ls /var/lib/imagebuilder/trial"); left != "" {
		t.Errorf("%s is left of the trial", left)
	}
	m.powerOff()
	m.powerOn()
	m.seeJoined()
	m.joinsIn("b")
}

// all prints what a trial must not change: the node's own files, its identity, and its cluster's
// store.
const all = identity + " /etc/rancher/k3s/mine /var/lib/imagebuilder/firstboot/node.yaml; jq -c '{ID, Schema}' /var/lib/rancher/k3s/server/db/etcd/standin.json"

// joinsIn waits until a slot runs and the node has joined from it.
func (m *machine) joinsIn(slot string) {
	m.t.Helper()
	m.sh("timeout 600 sh -c 'until jq -e \".state == \\\"joined\\\" and .slot == \\\"%s\\\"\" /run/firstboot/status.json; do sleep 2; done' >/dev/null 2>&1 || { firstboot status; exit 1; }", slot)
}

// newer is an image with a k3s whose store the image's own cannot read, and overlays of
// this story.
func newer(t *testing.T, board, version string, overlays ...string) string {
	t.Helper()
	program := makeOnce("k3s-newer", func(file string) {
		cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w -X main.schema=2", "-o", file, "../standin")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+loadBoard(t, board).Arch)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("the newer stand-in: %v\n%s", err, out)
		}
	})
	return next(t, board, version, program, overlays...)
}

// next is an image with a k3s and overlays of this story.
func next(t *testing.T, board, version, k3s string, overlays ...string) string {
	t.Helper()
	args := []string{"--component", "k3s=" + k3s, "--image-version", version, "--overlays", "testdata/overlays"}
	for _, name := range overlays {
		args = append(args, "--overlay", name)
	}
	return makeOnce(board+"-"+version+".img", func(file string) { build(t, board, file, args...) })
}

// updater is an owner with a fleet, who serves updates to the emulated network.
type updater struct {
	t                 *testing.T
	dir, key, address string
}

func newUpdater(t *testing.T) *updater {
	t.Helper()
	dir := t.TempDir()
	run(t, builder, "fleet", "init", dir+"/fleet", "--name", "shed", "--headscale", "https://headscale.example.net")
	text, err := os.ReadFile(dir + "/fleet/fleet.yaml")
	key := regexp.MustCompile(`ownerKey: (\S+)`).FindSubmatch(text)
	if err != nil || key == nil {
		t.Fatalf("the fleet has no ownerKey: %v", err)
	}
	server := httptest.NewServer(http.FileServer(http.Dir(dir)))
	t.Cleanup(server.Close)
	return &updater{t, dir, string(key[1]), strings.Replace(server.URL, "127.0.0.1", hostAddress, 1) + "/"}
}

// server is the owner's first one, joined, with what a trial must not change.
func (o *updater) server(board string) (m *machine, before string) {
	o.t.Helper()
	m = newMachine(o.t, board, image(o.t, board))
	cfg := newTailnet(o.t).first("home-pi")
	cfg.OwnerKey = o.key
	m.personalise(cfg)
	m.powerOn()
	m.seeJoined()
	m.sh("echo mine > /etc/rancher/k3s/mine")
	return m, m.sh(all)
}

// update makes one and returns its address.
func (o *updater) update(name, img string, more ...string) string {
	o.t.Helper()
	said := run(o.t, builder, append([]string{"update", "--quiet", "--fleet", o.dir + "/fleet/fleet.yaml", "--write", filepath.Join(o.dir, name), "--image", img}, more...)...)
	o.t.Log(strings.TrimSpace(said))
	return o.address + name
}

// takes pipes an update into the node, as ssh does.
func (m *machine) takes(address string) {
	m.t.Helper()
	if said := m.sh("curl --silent --show-error --fail %s | firstboot update - 2>&1", address); !strings.Contains(said, "and is tried at the next start") {
		m.t.Fatalf("the node says %q", said)
	}
}

// seeBack waits until all three tries have failed.
func (m *machine) seeBack() {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), 3*stepLimit)
	defer cancel()
	if _, err := m.WaitSerial(ctx, "slot a is back: put back what the trial had changed"); err != nil {
		m.t.Fatal(err)
	}
}

// reboots restarts the node, and returns when it has gone down.
func (m *machine) reboots() {
	m.t.Helper()
	id := m.sh("cat /proc/sys/kernel/random/boot_id")
	m.sh("systemctl --no-block reboot")
	m.bounded(func(ctx context.Context) error {
		for ctx.Err() == nil {
			out, err := m.Run(ctx, "cat /proc/sys/kernel/random/boot_id")
			if err != nil || strings.TrimSpace(out) != id {
				return nil
			}
			time.Sleep(time.Second)
		}
		return fmt.Errorf("it does not restart: %w", ctx.Err())
	})
}
