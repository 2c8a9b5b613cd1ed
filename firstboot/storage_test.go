package firstboot_test

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot"
	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/vault"
)

var (
	vpsIP, cabinIP = netip.MustParseAddr("100.64.0.1"), netip.MustParseAddr("100.64.0.2")
	home, away     = netip.MustParseAddr("198.51.100.4"), netip.MustParseAddr("203.0.113.7")
)

const encryptYAML = initYAML + "storage: {encrypt: true, holders: [vps, cabin-pi], holderTags: ['tag:k3s-control', 'tag:site-home']}\n"

// encryptWorld has two holders. Of the second, a server, nobody expects a cluster.
func encryptWorld(t testing.TB, more ...string) *world {
	yaml := strings.NewReplacer("longhorn: {disk: /dev/disk/by-id/usb-1}\n", "", "servers: [home-pi, cabin-pi]", "servers: [home-pi]",
		"files: [", "files: [{path: /etc/rancher/k3s/registries.yaml, content: registry-secret}, ").Replace(encryptYAML + strings.Join(more, ""))
	w := newWorld(t, yaml)
	deferK3s(w)
	w.peers = []firstboot.Peer{
		{Name: "vps", IPs: []netip.Addr{vpsIP}, Tags: []string{"tag:k3s-control"}, Online: true},
		{Name: "cabin-pi", IPs: []netip.Addr{cabinIP}, Tags: []string{"tag:site-home"}, Online: true},
	}
	w.holders = map[netip.Addr]*vault.Record{vpsIP: {}, cabinIP: {}}
	w.place, w.member = home, "7"
	return w
}

// inTheOpen lists the files with a secret that somebody reads who has the disk alone.
// The boot partition's node.yaml is what sealing is for; the proxy's and a file of
// node.yaml's are needed before there is a tailnet.
func inTheOpen(w *world) string {
	own := map[string]bool{"/boot/firmware/node.yaml": true, "/etc/imagebuilder/proxy.env": true, "/etc/sysctl.d/50-own.conf": true}
	for name, e := range w.files {
		if own[name] || encryptedIn(w, name) {
			continue
		}
		for _, s := range append(secrets, "registry-secret", peersShare(w)) {
			if s != "" && strings.Contains(string(e.data), s) {
				return fmt.Sprintf("%s has %.9s…", name, s)
			}
		}
		if name == "/etc/rancher/node/password" || strings.HasPrefix(name, "/var/lib/rancher/") || strings.HasPrefix(name, "/etc/rancher/") {
			return name + " is not encrypted"
		}
	}
	return ""
}

func encryptedIn(w *world, name string) bool {
	for dir := range w.policies {
		if strings.HasPrefix(name, dir+"/") {
			return true
		}
	}
	return false
}

func peersShare(w *world) string {
	for _, r := range w.holders {
		if r != nil && len(r.Shares) > 0 {
			return r.Shares[len(r.Shares)-1].Share.Reveal()
		}
	}
	return ""
}

// settledCrypt replaces values that differ at each run (only their length does not).
func settledCrypt(w *world) map[string]string {
	t := settled(w)
	for _, name := range []string{"/var/lib/imagebuilder/firstboot/storage.yaml", "/var/lib/imagebuilder/vault/share.yaml", "/var/lib/imagebuilder/vault/rancher/node/password"} {
		if t[name] != "" {
			t[name] = "born"
		}
	}
	for dir := range w.policies {
		t[dir] = "encrypted"
	}
	return t
}

// TestEncrypted: everything that the cluster keeps is encrypted, the disk has one share,
// the holders the other; and the node comes back by itself from where it was.
func TestEncrypted(t *testing.T) {
	w := encryptWorld(t)
	if s, _ := w.boot(nil); s.State != firstboot.Joined {
		t.Fatal(s.Line())
	}
	if bad := inTheOpen(w); bad != "" {
		t.Error(bad)
	}
	for _, dir := range []string{"/var/lib/rancher", "/var/lib/kubelet", "/var/lib/longhorn", "/var/log/pods", "/var/lib/imagebuilder/vault", "/var/lib/imagebuilder/shares"} {
		if w.policies[dir] == "" {
			t.Errorf("%s is in the clear", dir)
		}
	}
	for name, want := range map[string]string{"k3s/token": "k3s-token-very-secret", "k3s/config.yaml": "s3-secret", "k3s/registries.yaml": "registry-secret", "node/password": "\n"} {
		if got := w.text("/var/lib/imagebuilder/vault/rancher/" + name); !strings.Contains(got, want) || got != w.text("/etc/rancher/"+name) {
			t.Errorf("%s: %q", name, got)
		}
	}
	for at, r := range w.holders {
		if len(r.Shares) != 1 || r.Shares[0].Member != "7" {
			t.Errorf("%v keeps %+v", at, r)
		}
	}
	want := settledCrypt(w)
	w.reboot()
	if w.ranWith != "" {
		t.Error("k3s started on a locked node")
	}
	if s, _ := w.boot(nil); s.State != firstboot.Joined {
		t.Fatal(s.Line())
	}
	if d := diff(want, settledCrypt(w)); d != "" || w.clusters != 1 {
		t.Errorf("after a restart, %d clusters:\n%s", w.clusters, d)
	}
	if !strings.Contains(w.ranWith, "s3-secret") {
		t.Error("k3s lost its settings")
	}
}

// TestEveryCallFailsEncrypted: as TestEveryCallFails, and at no moment a secret lies in
// the open.
func TestEveryCallFailsEncrypted(t *testing.T) {
	calm := encryptWorld(t)
	if s, _ := calm.boot(nil); s.State != firstboot.Joined {
		t.Fatalf("undisturbed: %s", s.Line())
	}
	want, total := settledCrypt(calm), calm.calls
	first := slices.Index(calm.names, "stat /var/lib/imagebuilder/firstboot/storage.yaml") // the calls before are as without
	for kind, f := range map[string]fault{"before": before, "after": after, "cut": cut, "cutEnd": cutEnd} {
		t.Run(kind, func(t *testing.T) {
			stride := 1
			if f == before || f == after { // these end no boot, and most are alike
				stride = 3
			}
			for n := first; n <= total; n += stride {
				w := encryptWorld(t)
				what, last := "", ""
				w.fault = func(call int, name string) fault {
					if strings.HasPrefix(last, "put ") {
						if bad := inTheOpen(w); bad != "" {
							t.Fatalf("call %d broken, before call %d (%s): %s", n, call, name, bad)
						}
					}
					last = name
					if call == n {
						what = name
						return f
					}
					return none
				}
				finish(t, w)
				w.fault = nil
				if d := diff(want, settledCrypt(w)); d != "" || w.clusters != 1 {
					t.Fatalf("call %d (%s) broken: %d clusters, other tree:\n%s", n, what, w.clusters, d)
				}
				w.reboot()
				if s, _ := w.boot(nil); s.State != firstboot.Joined {
					t.Fatalf("call %d (%s) broken: does not come back: %s", n, what, s.Line())
				}
			}
		})
	}
}

// locked is a node that was encrypted, and has just been switched on again.
func locked(t *testing.T, more ...string) *world {
	w := encryptWorld(t, more...)
	if s, _ := w.boot(nil); s.State != firstboot.Joined {
		t.Fatal(s.Line())
	}
	w.reboot()
	return w
}

// waits boots, and wants a problem, nothing open, and k3s not started.
func waits(t *testing.T, w *world, code string) {
	t.Helper()
	s, _ := w.boot(anyProblem)
	if s.Problem == nil || s.Problem.Code != code {
		t.Errorf("%s, want %s", s.Line(), code)
	}
	for _, open := range w.keys {
		if open {
			t.Errorf("%s, and it is open", code)
		}
	}
	if w.units["k3s.service"] && w.ranWith != "" {
		t.Error("k3s runs")
	}
	if firstboot.CheckServer(context.Background(), w.host()) == nil {
		t.Error("k3s might start")
	}
}

// TestLocked: what keeps it so, in words, and what ends that.
func TestLocked(t *testing.T) {
	joins := func(w *world) {
		t.Helper()
		if s, _ := w.boot(nil); s.State != firstboot.Joined || !strings.Contains(w.ranWith, "s3-secret") {
			t.Errorf("%s", s.Line())
		}
	}
	w := locked(t)
	w.place = away
	waits(t, w, "share-place")
	if _, err := w.holders[vpsIP].Approve(w.holders[vpsIP].Asking.Since, w.now); err != nil {
		t.Fatal(err)
	}
	joins(w)
	w.reboot()
	joins(w) // it is a place of its own now

	w = locked(t)
	w.place = netip.Addr{}
	waits(t, w, "share-relayed")
	w = locked(t)
	w.member = "8"
	waits(t, w, "share-joined")

	w = locked(t)
	w.holders[vpsIP] = nil
	joins(w)
	w = locked(t)
	w.holders[vpsIP], w.holders[cabinIP] = nil, nil
	waits(t, w, "share-nobody")
	w.holders[vpsIP] = &vault.Record{} // one who lost its book
	waits(t, w, "share-nobody")

	w = locked(t)
	w.peers[0].Tags, w.peers[1].Tags = []string{"tag:else"}, nil
	waits(t, w, "share-nobody")
	w = locked(t)
	w.put("/var/lib/imagebuilder/firstboot/storage.yaml", "version: 1\n")
	waits(t, w, "storage-lost")
	w = locked(t)
	w.put("/var/lib/imagebuilder/firstboot/storage.yaml", "version: 3\ndisk: [of, another, kind]\n")
	waits(t, w, "storage-newer")
}

// TestAHoldersNamesake: any device of the tailnet calls itself what it likes. One that is
// no holder for certain changes nothing; of two that are, nobody knows which is meant.
func TestAHoldersNamesake(t *testing.T) {
	const stranger, twin = "100.64.0.66", "100.64.0.67"
	namesake := func(at string, tags ...string) firstboot.Peer {
		return firstboot.Peer{Name: "vps", IPs: []netip.Addr{netip.MustParseAddr(at)}, Tags: tags, Owner: 1, Online: true}
	}
	w := locked(t)
	w.holders[cabinIP] = nil
	w.peers = append([]firstboot.Peer{namesake(stranger), namesake(stranger, "tag:printer")}, w.peers...)
	if s, _ := w.boot(nil); s.State != firstboot.Joined {
		t.Errorf("%s", s.Line())
	}
	w = locked(t)
	w.holders[cabinIP] = nil
	w.peers = append(w.peers, namesake(twin, "tag:k3s-control"))
	waits(t, w, "share-nobody")
	if s, _ := w.boot(anyProblem); s.Problem == nil || !strings.Contains(s.Problem.Error(), "two of this tailnet are called vps") {
		t.Errorf("%s", s.Line())
	}
}

// TestAHolderThatSaysWhatNobodyAsked: that the owner has to agree to the spare is no answer
// to the question for the other share.
func TestAHolderThatSaysWhatNobodyAsked(t *testing.T) {
	sealed := func(r *vault.Record) {
		for i, k := range r.Shares {
			r.Shares[i].Proof = vault.OnWord(k.Proof)
		}
	}
	w := locked(t)
	sealed(w.holders[vpsIP])
	sealed(w.holders[cabinIP])
	waits(t, w, "share-nobody")
	w = locked(t)
	w.place = away
	sealed(w.holders[vpsIP])
	waits(t, w, "share-place") // says the other one
}

// TestRevokedNode: one holder that knows is enough, and it is not asked around.
func TestRevokedNode(t *testing.T) {
	for _, at := range []netip.Addr{vpsIP} {
		w := locked(t)
		w.holders[at].Revoke([]string{"7"})
		w.holders[cabinIP] = nil
		waits(t, w, "share-revoked")
	}
	w := encryptWorld(t) // on its first boot already
	w.holders[vpsIP].Revoke([]string{"7"})
	waits(t, w, "share-revoked")
	if w.policies != nil || w.text("/var/lib/imagebuilder/firstboot/storage.yaml") != "" {
		t.Error("it began all the same")
	}
}

// TestOnlyAFreshNode: what is in the clear already is not called encrypted.
func TestOnlyAFreshNode(t *testing.T) {
	for name, code := range map[string]string{
		"/var/lib/rancher/k3s/agent/images/a.tar": "storage-data", "/var/lib/longhorn/replicas/r": "storage-data", "/etc/rancher/k3s/token": "storage-data",
	} {
		w := encryptWorld(t)
		w.put(name, "data")
		waits(t, w, code)
		if peersShare(w) != "" || w.policies != nil {
			t.Errorf("%s: it began", name)
		}
	}
	w := longhornWorld(t)
	w.put("/var/lib/longhorn/replicas/r", "data")
	w.volumes = true
	waits(t, w, "storage-data")
	w = encryptWorld(t)
	w.plain = fmt.Errorf("ext4: %w", firstboot.ErrNoCrypt)
	waits(t, w, "storage-none")
	w = encryptWorld(t)
	w.holders[vpsIP], w.holders[cabinIP] = nil, nil
	waits(t, w, "share-nobody")
	if w.text("/var/lib/imagebuilder/firstboot/storage.yaml") != "" {
		t.Error("a key of which nobody has the other share")
	}
}

// longhornWorld gives Longhorn a disk of its own.
func longhornWorld(t *testing.T) *world {
	w := encryptWorld(t)
	w.personalise(strings.TrimSpace(w.bootYAML()) + "\nlonghorn: {disk: /dev/disk/by-id/usb-1}\n")
	return w
}

// TestLonghornsDisk is encrypted below its root, Longhorn is told so, and k3s starts when
// it is open, and no sooner; also where it was plugged in late.
func TestLonghornsDisk(t *testing.T) {
	w := longhornWorld(t)
	opened := false
	w.fault = func(_ int, name string) fault {
		opened = opened || name == "encrypt /var/lib/longhorn/encrypted"
		if strings.HasPrefix(name, "patch ") && !opened {
			t.Error("Longhorn is told of a disk in the clear")
		}
		return none
	}
	if s, _ := w.boot(nil); s.State != firstboot.Joined {
		t.Fatal(s.Line())
	}
	if w.policies["/var/lib/longhorn/encrypted"] == "" || w.policies["/var/lib/longhorn"] != "" || !strings.Contains(w.metadata, "/var/lib/longhorn/encrypted") {
		t.Errorf("%v, %s", w.policies, w.metadata)
	}
	w.fault = nil
	w.reboot()
	if s, _ := w.boot(nil); s.State != firstboot.Joined || !w.keys[w.policies["/var/lib/longhorn/encrypted"]] {
		t.Error(s.Line())
	}
}

// TestStoresOfATrial: what the attic keeps for the running slot is put back before k3s starts.
func TestStoresOfATrial(t *testing.T) {
	w := locked(t)
	w.stores = true
	started := false
	w.fault = func(_ int, name string) fault {
		if started = started || strings.HasPrefix(name, "start k3s"); started && w.stores {
			t.Fatal("k3s starts on another slot's store")
		}
		if w.stores && len(w.keys) > 0 && name == "stores" {
			w.fault = nil
			if firstboot.CheckServer(context.Background(), w.host()) == nil {
				t.Error("systemd may start k3s on another slot's store")
			}
		}
		return none
	}
	if s, _ := w.boot(nil); s.State != firstboot.Joined || w.stores {
		t.Error(s.Line())
	}
}

// TestStaysEncrypted: a node.yaml that says nothing of it any more does not leave the
// data locked, nor what comes later in the clear.
func TestStaysEncrypted(t *testing.T) {
	w := locked(t)
	w.personalise(w.bootYAML()[:strings.Index(w.bootYAML(), "storage:")] + "sealed: true\n")
	if s, _ := w.boot(anyProblem); s.State != firstboot.Joined {
		t.Fatal(s.Line())
	}
	if bad := inTheOpen(w); bad != "" {
		t.Error(bad)
	}
}

// TestALaterHolder gets the share when it is there, and all learn where the node is.
func TestALaterHolder(t *testing.T) {
	w := encryptWorld(t)
	w.holders[cabinIP] = nil
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	joined := 0
	_ = firstboot.Run(ctx, w.host(), firstboot.Options{}, func(s firstboot.Status) {
		if s.State != firstboot.Joined {
			return
		}
		joined++
		switch joined {
		case 1:
			w.holders[cabinIP] = &vault.Record{}
			w.place = away
		case 20:
			w.now = w.now.Add(2 * time.Hour)
		case 60:
			cancel()
		}
	})
	w.holders[vpsIP] = nil
	w.reboot()
	if s, _ := w.boot(nil); s.State != firstboot.Joined {
		t.Error(s.Line())
	}
}

// TestUnseen: that the next start will wait is said before it does, and no longer than so.
func TestUnseen(t *testing.T) {
	w := encryptWorld(t)
	w.place = netip.Addr{}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	told, joined := false, 0
	_ = firstboot.Run(ctx, w.host(), firstboot.Options{}, func(s firstboot.Status) {
		if s.State != firstboot.Joined {
			return
		}
		joined++
		switch unseen := s.Notice != nil && s.Notice.Code == "share-unseen"; {
		case unseen && !told:
			told, joined = true, 100
			w.place = home
			w.now = w.now.Add(2 * time.Hour)
		case joined > 110 && told:
			if unseen {
				t.Error("it is seen, and says no")
			}
			cancel()
		case joined == 60:
			t.Error("nobody is told")
			cancel()
		}
	})
}

// TestHold: who keeps others' shares answers when it is open itself, and no sooner.
func TestHold(t *testing.T) {
	w := encryptWorld(t)
	w.personalise(strings.Replace(strings.TrimSpace(w.bootYAML()), "storage: {", "storage: {hold: true, ", 1))
	w.boot(nil)
	if w.files["/run/firstboot/hold"] == nil {
		t.Error("it does not answer")
	}
	w.reboot()
	w.holders[vpsIP], w.holders[cabinIP] = nil, nil
	w.boot(anyProblem)
	if w.files["/run/firstboot/hold"] != nil {
		t.Error("it answers, and is locked")
	}
}

// TestSharesAreSecrets: reports and logs are searched for them.
func TestSharesAreSecrets(t *testing.T) {
	w := encryptWorld(t)
	w.boot(nil)
	var all strings.Builder
	for _, s := range firstboot.Secrets(memFiles{w}) {
		_, _ = io.WriteString(&all, s.Reveal()+"\n")
	}
	disk := strings.Split(w.text("/var/lib/imagebuilder/firstboot/storage.yaml"), "disk: ")[1][:40]
	for _, s := range []string{disk, peersShare(w), "s3-secret"} {
		if !strings.Contains(all.String(), s) {
			t.Errorf("%.5s… is not among them", s)
		}
	}
}

// TestAFullDisk keeps no node locked, and none from answering the others: what makes room
// starts when the data are open. Nothing is begun on it.
func TestAFullDisk(t *testing.T) {
	full := func(w *world) *world {
		w.used = w.space - 20<<20
		return w
	}
	w := full(locked(t))
	if s, _ := w.boot(nil); s.State != firstboot.Joined || s.Notice == nil || s.Notice.Code != "disk-full" {
		t.Error(s.Line())
	}
	w = full(encryptWorld(t))
	waits(t, w, "disk-full") // before it fetches k3s
	if w.served["https://example.net/k3s"] == nil || slices.Contains(w.names, "fetch https://example.net/k3s") {
		t.Error("it fetched all the same")
	}
	w = full(encryptWorld(t))
	delete(w.files, "/usr/lib/imagebuilder/components.json")
	waits(t, w, "disk-full")
	if peersShare(w) != "" || w.policies != nil {
		t.Error("it began all the same")
	}
}

// TestADiskOfBefore: a disk that an earlier installation of this node encrypted is refused in
// words, and keeps the node itself from nothing.
func TestADiskOfBefore(t *testing.T) {
	const volumes = "/var/lib/longhorn/encrypted"
	w := longhornWorld(t)
	w.policies = map[string]string{volumes: "an older key"}
	// "firstboot identity" comes before there is a key of the node's own.
	if err := firstboot.Run(t.Context(), w.host(), firstboot.Options{Only: []string{"identity", "longhorn"}}, nothing); err == nil || w.text("/var/lib/imagebuilder/firstboot/longhorn") != "" {
		t.Errorf("it takes the disk: %v", err)
	}
	for _, mounted := range []bool{false, true} { // when the step storage is done
		w.volumes = mounted
		s, _ := w.boot(anyProblem)
		if s.Problem == nil || s.Problem.Code != "longhorn-foreign" || !strings.Contains(w.ranWith, "s3-secret") {
			t.Errorf("mounted %v: %s", mounted, s.Line())
		}
		if w.policies["/var/lib/rancher"] == "" || w.policies[volumes] != "an older key" || strings.Contains(w.metadata, volumes) {
			t.Errorf("mounted %v: %v, %s", mounted, w.policies, w.metadata)
		}
		w.reboot()
	}
	w = longhornWorld(t) // it is there from the start, as in a restart of firstboot
	w.policies, w.volumes = map[string]string{volumes: "an older key"}, true
	if s, _ := w.boot(anyProblem); s.Problem == nil || s.Problem.Code != "longhorn-foreign" {
		t.Error(s.Line())
	}
	delete(w.policies, volumes) // erased
	w.reboot()
	if s, _ := w.boot(nil); s.State != firstboot.Joined || len(w.wants) == 0 || w.wants[len(w.wants)-1].Known != "" || w.policies[volumes] == "" {
		t.Errorf("%+v: %s", w.wants, s.Line())
	}
}

// TestATrialBeginsNothing: a fall-back would roll back the disk's share.
func TestATrialBeginsNothing(t *testing.T) {
	for name, set := range map[string]func(*world, bool){
		"on trial": func(w *world, on bool) {
			if w.trial = nil; on {
				w.trial = &contract.Trial{Slot: "b"}
			}
		},
		"before one": func(w *world, on bool) { w.leaves = on },
	} {
		w := encryptWorld(t)
		set(w, true)
		waits(t, w, map[string]string{"on trial": "storage-trial", "before one": "storage-waits"}[name])
		if w.text(storageName) != "" || w.policies != nil || peersShare(w) != "" {
			t.Errorf("%s: it began all the same", name)
		}
		set(w, false)
		if s, _ := w.boot(nil); s.State != firstboot.Joined {
			t.Errorf("%s: %s", name, s.Line())
		}
	}
}
