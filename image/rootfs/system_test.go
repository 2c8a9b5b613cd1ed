package rootfs

import (
	"context"
	"errors"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/image/deb"
	"github.com/going-mobile/imagebuilder/image/overlay"
	"github.com/going-mobile/imagebuilder/image/rootfs/check"
)

func TestOSRelease(t *testing.T) {
	s := stateOf(t, `usr/lib/os-release: ID=debian\n`)
	noErr(t, osRelease(s, "imagebuilder-rpi4", "2026.1.2"))
	wantTree(t, s.tree, `
		etc/os-release -> ../usr/lib/os-release
		usr/lib/os-release: ID=debian\nIMAGE_ID=imagebuilder-rpi4\nIMAGE_VERSION=2026.1.2\nIMAGEBUILDER_STORAGE=2\n`)
	wantErr(t, osRelease(s, "two words", ""), "IMAGE_ID", "two words")
	wantErr(t, osRelease(s, "x", "1\nID=evil"), "IMAGE_VERSION")
}

func TestEtcPersist(t *testing.T) {
	s := stateOf(t, "")
	noErr(t, writeEtcPersist(s, []*overlay.Overlay{{EtcPersist: []string{"etc/wpa_supplicant", "etc/hostname"}}}))
	text, _ := s.text(contract.PersistFile)
	got := strings.Fields(text)
	for _, want := range []string{"/etc/machine-id", "/etc/ssh/ssh_host_*_key", "/etc/rancher/", "/etc/wpa_supplicant/"} {
		if !slices.Contains(got, want) {
			t.Errorf("%s is missing from\n%s", want, text)
		}
	}
	for _, never := range []string{"passwd", "shadow", "group"} {
		if strings.Contains(text, never) {
			t.Errorf("%s may not persist", never)
		}
	}
	if !slices.IsSorted(got) {
		t.Errorf("not sorted:\n%s", text)
	}
	for _, bad := range []string{"var/x", "etc/../var", "/etc/x", "etc"} {
		wantErr(t, writeEtcPersist(s, []*overlay.Overlay{{Name: "o", EtcPersist: []string{bad}}}), "overlay o", bad)
	}
}

func TestASlotHasNoBootFiles(t *testing.T) {
	before := treeOf(t, `
		boot/vmlinuz-6.12: kernel
		boot/config-6.12: config
		usr/lib/modules/7.3/vmlinuz: kernel
		usr/lib/modules/7.3/System.map: symbols
		usr/lib/modules/7.3/config: config
		usr/lib/modules/7.3/dtb/broadcom/bcm2712.dtb: dtb
		usr/lib/modules/7.3/kernel/dtb.ko: module
		usr/lib/u-boot/rpi_4/u-boot.bin: u-boot
		usr/lib/linux-image-6.12/broadcom/bcm2711.dtb: dtb
		usr/lib/systemd/boot/efi/linuxx64.efi.stub: stub
		usr/lib/firmware/intel-ucode/06-9e-09: ucode
		usr/lib/firmware/brcm/wifi.bin: wifi
		usr/lib/raspi-firmware/start4.elf: start`)
	full := dump(before)
	tr := WithoutBootFiles(before)
	wantTree(t, tr, "boot/config-6.12: config\n usr/lib/firmware/brcm/wifi.bin: wifi\n usr/lib/modules/7.3/config: config\n usr/lib/modules/7.3/kernel/dtb.ko: module")
	if dump(before) != full {
		t.Error("the tree it came from was changed")
	}
	for _, dir := range []string{"usr/lib/u-boot", "usr/lib/raspi-firmware", "usr/lib/linux-image-6.12", "usr/lib/modules/7.3/dtb"} {
		if tr.Get(dir) != nil {
			t.Errorf("/%s is left over", dir)
		}
	}
}

func TestHomesMoveToVar(t *testing.T) {
	s := stateOf(t, masters+`
		root/ 0700 0 0
		root/.profile: profile
		home/
		srv/
		usr/lib/tmpfiles.d/var.conf: q /var 0755 - - -\nL /var/run - - - - ../run\nd /var/log 0755 - - -\nx /var/tmp/x\nz /var/cache 0700\n
		usr/lib/tmpfiles.d/provision.conf: d- /root :0700 root :root -\nf^ /root/.ssh/authorized_keys :0600 root :root - x\n
		usr/lib/tmpfiles.d/home.conf: Q /home 0755 - - -\n
		var/log/`, "base-passwd")
	noErr(t, makeAccounts(s, nil))
	noErr(t, homes(s))
	noErr(t, varSkeleton(s))
	text, _ := s.text(skeletonFile)
	for _, want := range []string{"d /var/home 0755 root root -\n", "C /var/roothome/.profile 0644 root root -\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing from the skeleton:\n%s", want, text)
		}
	}
	wantTree(t, s.tree, `
		etc/tmpfiles.d/home.conf: # /home and /root are links to /var/home and /var/roothome.\nq /srv 0755 - - -\n
		etc/tmpfiles.d/provision.conf: d- /var/roothome :0700 root :root -\nf^ /var/roothome/.ssh/authorized_keys :0600 root :root - x\n
		home -> var/home
		root -> var/roothome`, "etc/tmpfiles.d", "home", "root", "var")
}

func TestSkeletonLines(t *testing.T) {
	s := stateOf(t, masters+`
		usr/lib/tmpfiles.d/var.conf: d /var/log 0755 - - -\nx /var/tmp/x\nz /var/cache 0700\n
		var/cache/
		var/log/wtmp 0664 0 42:
		var/lib/who/ 2750 65534 42
		var/lib/data: content
		var/lib/link -> ../x%y
		var/tmp/ 1777 0 0`, "base-passwd")
	noErr(t, makeAccounts(s, nil))
	noErr(t, varSkeleton(s))
	text, _ := s.text(skeletonFile)
	want := `d /var/cache 0755 root root -
d /var/lib 0755 root root -
C /var/lib/data 0644 root root -
L /var/lib/link - - - - ../x%%y
d /var/lib/who 2750 nobody shadow -
f /var/log/wtmp 0664 root shadow -
d /var/tmp 1777 root root -
`
	if _, body, _ := strings.Cut(text, "image.\n"); body != want {
		t.Errorf("skeleton is\n%swant\n%s", body, want)
	}
	wantTree(t, s.tree, "usr/share/factory/var/lib/data: content", "usr/share/factory", "var")
}

func TestEtcTmpfiles(t *testing.T) {
	s := stateOf(t, masters+`
		etc/kept: mine
		etc/credstore/
		usr/lib/tmpfiles.d/a.conf: L+ /etc/mtab - - - - ../proc/self/mounts\nL /etc/kept - - - - nowhere\nL! /etc/boot - - - - x\nf^ /etc/issue.d/x - - - - cred\nd /etc/credstore 0700 root shadow\nd /etc/%m 0755\nL$ /etc/a/b - - - - it's here\n`, "base-passwd")
	noErr(t, makeAccounts(s, nil))
	noErr(t, etcTmpfiles(s))
	s.remove("etc/passwd", "etc/shadow", "etc/group", "etc/gshadow", "etc/subuid", "etc/subgid")
	wantTree(t, s.tree, `
		etc/a/b -> it's here
		etc/credstore/ 0700 0 42
		etc/kept: mine
		etc/mtab -> ../proc/self/mounts`, "etc")
	wantErr(t, etcTmpfiles(stateOf(t, `usr/lib/tmpfiles.d/a.conf: d /etc/x 0700 nobody-here\n`)), "a.conf", "/etc/x", "nobody-here")
	wantErr(t, etcTmpfiles(stateOf(t, `usr/lib/tmpfiles.d/a.conf: d\n`)), "a.conf")
}

// TestDpkgQuery lets dpkg-query read the database.
func TestDpkgQuery(t *testing.T) {
	if _, err := exec.LookPath("dpkg-query"); err != nil {
		t.Fatal("dpkg-query is missing: run make deps")
	}
	same := packageOf(t, "libsame", "./\n usr/\n usr/lib/\n usr/lib/libsame.so: elf")
	same.Nodes[0].Path = "."
	same.Control += "\nMulti-Arch: same"
	conf := packageOf(t, "conf", "etc/conf: original")
	conf.ControlFiles = map[string]string{"conffiles": "/etc/conf\nremove-on-upgrade /etc/old\n", "md5sums": "x  y\n", "postinst": "#!/bin/sh\n"}
	odd := packageOf(t, "odd", "")
	odd.Control = "Version: 1\nPackage: odd\nArchitecture: amd64\nMaintainer: nobody\nDescription: odd"
	s := newState(treeOf(t, "var/lib/dpkg/info/"), Input{Arch: "amd64", Packages: []*deb.Package{same, conf, odd}, Epoch: testEpoch})
	noErr(t, dpkgDatabase(s))
	if s.tree.Get("var/lib/dpkg") != nil || s.tree.Get(contract.DpkgDir+"/info/conf.postinst") != nil {
		t.Error("the old directory or a script is there")
	}
	dir := t.TempDir()
	materialise(t, s.tree, dir)
	for _, c := range []struct{ args, want string }{
		{"-W -f=${binary:Package}|${Status}|${Version};", "conf|install ok installed|1;libsame:amd64|install ok installed|1;odd|install ok installed|1;"},
		{"-L libsame", "/.\n/usr\n/usr/lib\n/usr/lib/libsame.so\n"},
		{"-S /usr/lib/libsame.so", "libsame:amd64: /usr/lib/libsame.so\n"},
		{"-W -f=${Conffiles} conf", "\n /etc/conf 919c8b643b7133116b02fc0d9bb7df3f\n /etc/old newconffile remove-on-upgrade"},
		{"-W -f=${Description} conf", "a test\n more"},
	} {
		args := append([]string{"--admindir=" + filepath.Join(dir, contract.DpkgDir)}, strings.Split(c.args, " ")...)
		cmd := exec.Command("dpkg-query", args...)
		cmd.Env = []string{"PATH=/usr/bin:/bin", "LC_ALL=C"}
		out, err := cmd.CombinedOutput()
		if err != nil || strings.TrimSpace(string(out)) != strings.TrimSpace(c.want) {
			t.Errorf("dpkg-query %s: %v\n%q\nwant\n%q", c.args, err, out, c.want)
		}
	}
}

func TestConffileMustBeShipped(t *testing.T) {
	p := packageOf(t, "conf", "")
	p.ControlFiles["conffiles"] = "/etc/conf\n"
	s := newState(treeOf(t, ""), Input{Packages: []*deb.Package{p}, Epoch: testEpoch})
	wantErr(t, dpkgDatabase(s), "conf", "/etc/conf")
}

// smallImage is an image of a few packages.
func smallImage(t testing.TB) Input {
	return Input{
		Arch: "amd64", Epoch: testEpoch, ImageID: "imagebuilder-test", ImageVersion: "1",
		Packages: []*deb.Package{
			packageOf(t, "base-files", baseLinks+"usr/lib/os-release: ID=debian\\n\n etc/os-release -> ../usr/lib/os-release\n root/ 0700 0 0\n home/\n tmp/ 1777 0 0\n proc/"),
			packageOf(t, "base-passwd", masters),
			packageOf(t, "nobody", "lib/\n lib/systemd/\n lib/systemd/system/\n lib/systemd/system/n.service: [Install]\\nWantedBy=multi-user.target\\n"),
		},
		Overlays: []*overlay.Overlay{overlayOf(t, "o", "etc/motd: hello")},
	}
}

func TestFinish(t *testing.T) {
	in := smallImage(t)
	in.Overlays[0].Enable = []string{"n.service"}
	in.Overlays[0].ModulesLoad = []string{"iscsi_tcp", "nfs"}
	tr, err := Finish(context.Background(), in)
	noErr(t, err)
	wantTree(t, tr, `
		home -> var/home
		proc/ 0555 0 0
		root -> var/roothome
		sys/ 0555 0 0
		tmp/ 1777 0 0
		usr/lib/clock-epoch:
		usr/lib/modules-load.d/imagebuilder-o.conf: iscsi_tcp\nnfs\n
		usr/lib/os-release: ID=debian\nIMAGE_ID=imagebuilder-test\nIMAGE_VERSION=1\nIMAGEBUILDER_STORAGE=2\n`,
		"boot", "dev", "home", "proc", "root", "sys", "tmp", "var", "usr/lib/clock-epoch", "usr/lib/modules-load.d", "usr/lib/os-release")
	if tr.Get("etc/systemd/system/multi-user.target.wants/n.service") == nil {
		t.Error("n.service is not enabled")
	}
	for n := range tr.Walk() {
		if n.ModTime.After(testEpoch) || n.ModTime.IsZero() {
			t.Errorf("/%s is of %v", n.Path, n.ModTime)
		}
		if n.Source == "" {
			t.Errorf("/%s has no source", n.Path)
		}
	}
	if got := tr.Get("usr/lib/clock-epoch").ModTime; !got.Equal(testEpoch) {
		t.Errorf("clock-epoch is of %v", got)
	}
}

// TestIdentityBelowVar: /var is empty in a root, and what an overlay brings there lies
// elsewhere until the node starts; an identity is seen nevertheless.
func TestIdentityBelowVar(t *testing.T) {
	in := smallImage(t)
	in.Overlays = append(in.Overlays, overlayOf(t, "stolen", `
		var/lib/rancher/k3s/agent/images/a.tar: layers
		var/lib/rancher/k3s/server/manifests/a.yaml: kind
		var/lib/rancher/k3s/server/token: K10
		var/lib/systemd/credential.secret: secret
		var/lib/tailscale/derp/x: y
		var/lib/tailscale/tailscaled.state: key`))
	tr, err := Finish(context.Background(), in)
	noErr(t, err)
	var faults *check.Error
	if err := check.Check(context.Background(), tr, check.Options{}); !errors.As(err, &faults) {
		t.Fatal(err)
	}
	var got []string
	for _, f := range faults.Findings {
		if f.Source == "overlay stolen" {
			got = append(got, f.Path+": "+f.Msg)
		}
	}
	var want []string
	for _, p := range []string{"rancher/k3s/server/token", "systemd/credential.secret", "tailscale/derp/x", "tailscale/tailscaled.state"} {
		want = append(want, "usr/share/factory/var/lib/"+p+": is a node's identity and must not be in an image")
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestFinishIsReproducible: neither the order of packages nor the time zone
// of the epoch shows.
func TestFinishIsReproducible(t *testing.T) {
	first, err := Finish(context.Background(), smallImage(t))
	noErr(t, err)
	in := smallImage(t)
	slices.Reverse(in.Packages)
	in.Epoch = in.Epoch.In(time.FixedZone("away", 3600))
	second, err := Finish(context.Background(), in)
	noErr(t, err)
	if a, b := dump(first), dump(second); a != b {
		t.Errorf("%s\nand in another order\n%s", a, b)
	}
}

// TestEffectsAreNamed: package gate refers to effects by name.
func TestEffectsAreNamed(t *testing.T) {
	seen := map[string]bool{}
	for _, e := range Effects {
		if e.Name == "" || seen[e.Name] || len(e.Packages) == 0 || e.apply == nil {
			t.Errorf("effect %q is not complete or there twice", e.Name)
		}
		seen[e.Name] = true
	}
}

func FuzzTmpfile(f *testing.F) {
	f.Add("d /etc/credstore 0700 root root -")
	f.Add("L+ /etc/mtab - - - - ../proc/self/mounts")
	f.Add("C \"/etc/a b\" ~0644 :root - -")
	f.Add("q /var/x 99999 - -")
	f.Fuzz(func(t *testing.T, line string) {
		s := stateOf(t, masters)
		noErr(t, basePasswd(s))
		if s.file("usr/lib/tmpfiles.d/x.conf", 0o644, line) != nil || etcTmpfiles(s) != nil {
			return
		}
		if err := varSkeleton(s); err != nil {
			t.Error(err)
		}
	})
}
