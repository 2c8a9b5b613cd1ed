//go:build oracle && linux

package rootfs

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/deb822"
	"github.com/going-mobile/imagebuilder/image/boot"
	"github.com/going-mobile/imagebuilder/image/deb"
	"github.com/going-mobile/imagebuilder/image/fetch"
	"github.com/going-mobile/imagebuilder/image/overlay"
	"github.com/going-mobile/imagebuilder/image/progress"
	"github.com/going-mobile/imagebuilder/image/rootfs/accounts"
	"github.com/going-mobile/imagebuilder/image/tree"
)

// The oracle: mmdebstrap really configures the packages in a chroot, Finish
// models it, and the two roots may differ only as testdata/oracle-allow.txt
// says. It runs on amd64 only: arm64 would need qemu-user, and the scripts are
// the same.
//
// Run it as root with "make oracle". ORACLE_DIR keeps the chroot between runs;
// ORACLE_MIRROR names the mirror, by default the first of the host's own.

// oraclePackages are those of all boards and overlays that amd64 has.
const oraclePackages = `base-files base-passwd bash dash coreutils diffutils util-linux mount login passwd
libc-bin grep sed mawk findutils tar gzip zstd xz-utils hostname procps psmisc kmod udev systemd systemd-sysv
systemd-timesyncd systemd-resolved systemd-repart dbus libpam-systemd libpam-runtime libnss-resolve
libnss-myhostname libnss-systemd iproute2 iputils-ping iptables nftables ethtool ca-certificates netbase tzdata
openssh-server openssh-client e2fsprogs dosfstools fdisk open-iscsi nfs-common cryptsetup-bin cryptsetup dmsetup
curl jq less intel-microcode ipset conntrack apparmor wireguard-tools systemd-boot-efi firmware-brcm80211
wpasupplicant raspi-firmware tcpdump linux-base`

// oracleKernel is installed without the initramfs generator that it depends on,
// and so are the signed boot loaders without what asks for keys.
const oracleKernel = "linux-image-amd64"

func TestOracle(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("the oracle needs root: run make oracle as root")
	}
	chroot := makeChroot(t)
	in := Input{
		Arch:     "amd64",
		Packages: decodeAll(t, filepath.Join(chroot, "var/cache/apt/archives")),
		Overlays: []*overlay.Overlay{oracleOverlay()},
		Epoch:    time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC),
		ImageID:  "imagebuilder-oracle", ImageVersion: "1",
	}
	root, err := Finish(context.Background(), in)
	if err != nil {
		t.Fatal(err)
	}
	ours := placeRoot(t, chroot, root)
	t.Run("presets", func(t *testing.T) { judgePresets(t, chroot, ours) })
	t.Run("tmpfiles", func(t *testing.T) { judgeTmpfiles(t, chroot, ours) })
	t.Run("dpkg", func(t *testing.T) { judgeDpkg(t, chroot) })
	t.Run("tree", func(t *testing.T) { compareTrees(t, chroot, ours) })
	t.Run("overlays", func(t *testing.T) { judgeOverlays(t, chroot, in) })
}

// placeRoot writes our root into the chroot, where its programs can judge it.
func placeRoot(t *testing.T, chroot string, root *tree.Tree) string {
	ours := filepath.Join(chroot, "mnt/ours")
	if err := os.RemoveAll(ours); err != nil {
		t.Fatal(err)
	}
	materialise(t, root, ours)
	giveOwners(t, root, ours)
	return ours
}

// judgeOverlays finishes the root with the overlays of real nodes; there is no
// configured root to compare it with, but presets and tmpfiles.d must be as
// settled.
func judgeOverlays(t *testing.T, chroot string, in Input) {
	overlays := os.DirFS("../../overlays")
	var err error
	if in.Overlays, err = overlay.LoadAll(overlays, overlay.Names(overlays)); err != nil {
		t.Fatal(err)
	}
	root, err := Finish(context.Background(), in)
	if err != nil {
		t.Fatal(err)
	}
	ours := placeRoot(t, chroot, root)
	settled(t, chroot, ours)
	judgeTmpfiles(t, chroot, ours)
}

// oracleOverlay enables what Debian's scripts enable.
func oracleOverlay() *overlay.Overlay {
	return &overlay.Overlay{
		Name:  "oracle",
		Files: tree.New(),
		Enable: []string{"apparmor.service", "dpkg-db-backup.timer", "e2scrub_all.timer", "e2scrub_reap.service",
			"fstrim.timer", "getty@tty1.service", "iscsid.socket", "nfs-blkmap.service", "nfs-client.target",
			"open-iscsi.service", "remote-fs.target", "rpcbind.service", "rpcbind.socket", "ssh.service",
			"sshd-keygen.service", "systemd-pstore.service", "systemd-resolved.service",
			"systemd-timesyncd.service", "wpa_supplicant.service"},
		// systemd's own presets would enable them; Debian's scripts do not.
		Disable: []string{"reboot.target", "systemd-confext.service", "systemd-journald-audit.socket",
			"systemd-network-generator.service", "systemd-networkd.service", "systemd-networkd-wait-online.service",
			"systemd-sysext.service"},
	}
}

// makeChroot runs mmdebstrap, unless ORACLE_DIR has its result.
func makeChroot(t *testing.T) string {
	dir := os.Getenv("ORACLE_DIR")
	if dir == "" {
		dir = t.TempDir()
	}
	chroot := filepath.Join(dir, "chroot")
	if _, err := os.Stat(filepath.Join(chroot, "var/lib/dpkg/status")); err == nil {
		return chroot
	}
	if _, err := exec.LookPath("mmdebstrap"); err != nil {
		t.Fatal("mmdebstrap is missing: run make deps")
	}
	// The hook fetches these with the host's apt, so that no apt is in the chroot.
	cut := `set -e; export LC_ALL=C APT_CONFIG="$MMDEBSTRAP_APT_CONFIG"
image=$(apt-cache depends --no-recommends --no-suggests ` + oracleKernel + ` | sed -n 's/.*Depends: //p' | head -1)
cd "$1/var/cache/apt/archives"
mkdir cut
cd cut
apt-get download "$image" ` + strings.Join(boot.LoaderPackages("amd64", true), " ") + `
chroot "$1" sh -c "dpkg --force-depends --install /var/cache/apt/archives/cut/*.deb"
mv ./*.deb ..
rmdir ../cut`
	cmd := exec.Command("mmdebstrap", "--variant=essential", "--mode=root", "--arch=amd64", "--format=directory",
		"--include="+strings.Join(strings.Fields(oraclePackages), ","),
		"--skip=essential/unlink,cleanup/apt,cleanup/reproducible",
		`--aptopt=Binary::apt-get::APT::Keep-Downloaded-Packages "true"`,
		"--customize-hook="+cut,
		"trixie", chroot, "deb "+oracleMirror(t)+" trixie main non-free-firmware")
	cmd.Env = append(os.Environ(), "LC_ALL=C", "TZ=UTC")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("mmdebstrap: %v\n%s", err, out)
	}
	return chroot
}

// oracleMirror is the host's own first mirror.
func oracleMirror(t *testing.T) string {
	if m := os.Getenv("ORACLE_MIRROR"); m != "" {
		return m
	}
	for _, pattern := range []string{"/etc/apt/sources.list.d/*.sources", "/etc/apt/sources.list"} {
		files, _ := filepath.Glob(pattern)
		for _, f := range files {
			b, _ := os.ReadFile(f)
			if m := regexp.MustCompile(`(?m)^(?:URIs: *|deb .*?)(https?://\S+/debian/?)(\s|$)`).FindSubmatch(b); m != nil {
				return string(m[1])
			}
		}
	}
	t.Fatal("the host has no mirror of Debian in /etc/apt; set ORACLE_MIRROR")
	return ""
}

// decodeAll reads the packages that mmdebstrap installed.
func decodeAll(t *testing.T, dir string) []*deb.Package {
	cache, err := fetch.OpenCache(filepath.Join(t.TempDir(), "cache"))
	if err != nil {
		t.Fatal(err)
	}
	files, _ := filepath.Glob(filepath.Join(dir, "*.deb"))
	var packages []*deb.Package
	for _, f := range files {
		// apt's names hold "%3a" for an epoch's colon, which a URL would lose.
		at := url.URL{Scheme: "file", Path: f}
		file, err := cache.Get(t.Context(), fetch.Request{Name: f, URLs: []string{at.String()}, SHA256: sumFile(t, f)}, progress.Discard)
		if err != nil {
			t.Fatal(err)
		}
		p, err := deb.Decode(t.Context(), cache, file, progress.Discard)
		if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
	if len(packages) < 150 {
		t.Fatalf("%s has only %d packages", dir, len(packages))
	}
	return packages
}

func sumFile(t *testing.T, name string) string {
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// giveOwners sets owners, modes and times of a tree that was written to dir,
// as root can.
func giveOwners(t *testing.T, from *tree.Tree, dir string) {
	for n := range from.Walk() {
		p := filepath.Join(dir, filepath.FromSlash(n.Path))
		if err := os.Lchown(p, int(n.UID), int(n.GID)); err != nil {
			t.Fatal(err)
		}
		if n.Mode&fs.ModeSymlink != 0 {
			continue
		}
		// After chown, which clears setuid.
		if err := os.Chmod(p, n.Mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(p, n.ModTime, n.ModTime); err != nil {
			t.Fatal(err)
		}
	}
}

// inChroot runs a program of the chroot, which has trixie's systemd, with
// /proc in a mount namespace that ends with it.
func inChroot(t *testing.T, chroot string, args ...string) string {
	t.Helper()
	const script = `mount -t proc proc "$1/proc" && exec chroot "$@"`
	cmd := exec.Command("unshare", append([]string{"--mount", "sh", "-c", script, "sh", chroot}, args...)...)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin", "LC_ALL=C"}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// settled lets the real systemctl apply the presets to our tree: there must be
// nothing left to change. It returns what is enabled.
func settled(t *testing.T, chroot, ours string) map[string]string {
	before := scan(t, ours, "etc/systemd")
	inChroot(t, chroot, "systemctl", "--root=/mnt/ours", "preset-all")
	reportDiff(t, before, scan(t, ours, "etc/systemd"))
	if _, ok := before["etc/systemd/system/multi-user.target.wants/ssh.service"]; !ok {
		t.Error("ssh.service is not enabled: nothing was tested")
	}
	return before
}

// judgePresets expects our tree settled, and systemctl to arrive at the same
// from nothing.
func judgePresets(t *testing.T, chroot, ours string) {
	before := settled(t, chroot, ours)
	units := filepath.Join(chroot, "mnt/units")
	if err := os.RemoveAll(units); err != nil {
		t.Fatal(err)
	}
	comparePresets(t, unitTree+upheldUnit, units, func(string) *exec.Cmd {
		return exec.Command("chroot", chroot, "systemctl", "--root=/mnt/units", "preset-all")
	})
	if err := os.RemoveAll(filepath.Join(ours, "etc/systemd/system")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(ours, "etc/systemd/system"), 0o755); err != nil {
		t.Fatal(err)
	}
	inChroot(t, chroot, slices.Concat([]string{"systemctl", "--root=/mnt/ours", "mask"}, masked)...)
	inChroot(t, chroot, "systemctl", "--root=/mnt/ours", "preset-all")
	reportDiff(t, before, scan(t, ours, "etc/systemd"))
}

// judgeTmpfiles boots our tree as far as tmpfiles.d is concerned: /etc and
// /usr stay as they are, and /var becomes what the scripts made.
func judgeTmpfiles(t *testing.T, chroot, ours string) {
	etc, usr := scan(t, ours, "etc"), scan(t, ours, "usr")
	for range 2 {
		out := inChroot(t, chroot, "systemd-tmpfiles", "--root=/mnt/ours", "--create", "--remove", "--boot",
			"--exclude-prefix=/dev", "--exclude-prefix=/run")
		if strings.TrimSpace(out) != "" {
			t.Errorf("systemd-tmpfiles complains:\n%s", out)
		}
	}
	reportDiff(t, etc, scan(t, ours, "etc"))
	reportDiff(t, usr, scan(t, ours, "usr"))
}

// judgeDpkg asks the real dpkg-query about our database, through the link
// that a node has and through --admindir.
func judgeDpkg(t *testing.T, chroot string) {
	format := `--showformat=${binary:Package} ${Version} ${db:Status-Status}\n`
	want := inChroot(t, chroot, "dpkg-query", "-W", format)
	for _, admin := range []string{"/mnt/ours/var/lib/dpkg", "/mnt/ours/" + contract.DpkgDir} {
		ours := inChroot(t, chroot, "dpkg-query", "--admindir="+admin, "-W", format)
		if ours != want {
			t.Errorf("%s: dpkg-query -W differs:\n%s", admin, lineDiff(ours, want))
		}
		for _, pkg := range []string{"bash", "libc6:amd64", "openssh-server"} {
			list := inChroot(t, chroot, "dpkg-query", "--admindir="+admin, "-L", pkg)
			if want := inChroot(t, chroot, "dpkg-query", "-L", pkg); !sameFiles(list, want) {
				t.Errorf("%s: dpkg-query -L %s differs:\n%s", admin, pkg, lineDiff(list, want))
			}
		}
		if out := inChroot(t, chroot, "dpkg-query", "--admindir="+admin, "-S", "/usr/bin/curl"); out != "curl: /usr/bin/curl\n" {
			t.Errorf("%s: dpkg-query -S says %q", admin, out)
		}
		if out := inChroot(t, chroot, "dpkg", "--admindir="+admin, "--audit"); out != "" {
			t.Errorf("%s: dpkg --audit says %q", admin, out)
		}
		out := inChroot(t, chroot, "update-alternatives", "--admindir", admin+"/alternatives", "--query", "pager")
		if want := inChroot(t, chroot, "update-alternatives", "--query", "pager"); out != want {
			t.Errorf("%s: update-alternatives differs:\n%s", admin, lineDiff(out, want))
		}
	}
	judgeStatus(t, chroot)
}

// lineDiff lists the lines that only one of the texts has.
func lineDiff(ours, want string) string {
	a, b := strings.Split(ours, "\n"), strings.Split(want, "\n")
	var out strings.Builder
	for _, l := range a {
		if !slices.Contains(b, l) {
			out.WriteString("\tours:   " + l + "\n")
		}
	}
	for _, l := range b {
		if !slices.Contains(a, l) {
			out.WriteString("\toracle: " + l + "\n")
		}
	}
	return out.String()
}

// sameFiles compares two lists without order and without what dpkg-query says
// of diversions.
func sameFiles(a, b string) bool {
	files := func(s string) []string {
		l := slices.DeleteFunc(strings.Split(s, "\n"), func(l string) bool { return !strings.HasPrefix(l, "/") })
		slices.Sort(l)
		return l
	}
	return slices.Equal(files(a), files(b))
}

// judgeStatus compares every field of every package with what dpkg wrote.
func judgeStatus(t *testing.T, chroot string) {
	ours := statusFields(t, filepath.Join(chroot, "mnt/ours", contract.DpkgDir, "status"))
	theirs := statusFields(t, filepath.Join(chroot, "var/lib/dpkg/status"))
	for name, want := range theirs {
		if got := ours[name]; !slices.Equal(got, want) {
			t.Errorf("status of %s:\n%s", name, lineDiff(strings.Join(got, "\n"), strings.Join(want, "\n")))
		}
	}
}

// statusFields returns the sorted fields of each paragraph. Triggers-* and
// Config-Version are of dpkg's run, not of the package.
func statusFields(t *testing.T, file string) map[string][]string {
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]string{}
	for paragraph := range strings.SplitSeq(string(b), "\n\n") {
		var fields []string
		for line := range strings.SplitSeq(strings.TrimSpace(paragraph), "\n") {
			if strings.HasPrefix(line, " ") && len(fields) > 0 {
				fields[len(fields)-1] += "\n" + line
			} else {
				fields = append(fields, line)
			}
		}
		slices.Sort(fields)
		out[deb822.Field(paragraph, "Package")] = fields
	}
	return out
}

// scan describes everything below root/dir: type, mode, owner by name, and
// content, by path.
func scan(t *testing.T, root, dir string) map[string]string {
	names := readNames(t, root)
	out := map[string]string{}
	err := filepath.WalkDir(filepath.Join(root, dir), func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, p)
		if rel == "mnt/ours" || rel == "mnt/units" || rel == "proc" || rel == "sys" || rel == "dev" {
			return fs.SkipDir
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		out[rel] = describeFile(t, p, info, names)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func describeFile(t *testing.T, p string, info fs.FileInfo, names *accounts.Table) string {
	uid, gid := ownerOf(info)
	owner := names.UserName(uid) + ":" + names.GroupName(gid)
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		target, _ := os.Readlink(p)
		return fmt.Sprintf("link %s → %s", owner, target)
	case info.IsDir():
		return fmt.Sprintf("dir %04o %s", unixPerm(info.Mode()), owner)
	case info.Mode().IsRegular():
		return fmt.Sprintf("file %04o %s %s", unixPerm(info.Mode()), owner, fileSum(t, p))
	}
	return fmt.Sprintf("%v %04o %s", info.Mode().Type(), unixPerm(info.Mode()), owner)
}

// commented are files that scripts write with settings that ours have, too, and
// with comments that are not.
var commented = []string{
	"etc/apparmor.d/tunables/home.d/ubuntu", "etc/apparmor.d/tunables/xdg-user-dirs.d/site.local",
	"etc/ca-certificates.conf", "etc/crypttab", "etc/hosts.allow", "etc/hosts.deny", "etc/modules",
}

// fileSum is the digest of a file; account files count without their order,
// numbers and dates, commented ones without comments.
func fileSum(t *testing.T, p string) string {
	b, err := os.ReadFile(p)
	if err != nil {
		t.Fatal(err)
	}
	switch filepath.Base(p) {
	case "passwd", "group", "shadow", "gshadow":
		if filepath.Base(filepath.Dir(p)) == "etc" {
			b = normalAccounts(b)
		}
	}
	if slices.ContainsFunc(commented, func(c string) bool { return strings.HasSuffix(p, "/"+c) }) {
		b = regexp.MustCompile(`(?m)^(#.*)?\n`).ReplaceAll(b, nil)
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:8])
}

func normalAccounts(b []byte) []byte {
	number := regexp.MustCompile(`:\d{3,5}\b`)
	rows := bytes.Split(number.ReplaceAll(b, []byte(":N")), []byte("\n"))
	slices.SortFunc(rows, bytes.Compare)
	return bytes.Join(rows, []byte("\n"))
}

func readNames(t *testing.T, root string) *accounts.Table {
	a := accounts.New(time.Unix(0, 0))
	passwd, err1 := os.ReadFile(filepath.Join(root, "etc/passwd"))
	group, err2 := os.ReadFile(filepath.Join(root, "etc/group"))
	if err := errors.Join(err1, err2, a.AddMasters(string(passwd), string(group))); err != nil {
		t.Fatal(err)
	}
	return a
}

func reportDiff(t *testing.T, before, after map[string]string) {
	t.Helper()
	for p, now := range after {
		if before[p] != now {
			t.Errorf("/%s: %q became %q", p, before[p], now)
		}
	}
	for p, was := range before {
		if _, ok := after[p]; !ok {
			t.Errorf("/%s: %q is gone", p, was)
		}
	}
}

// compareTrees reports every difference that the allow-list does not explain,
// and every entry of the list that explains nothing.
func compareTrees(t *testing.T, chroot, ours string) {
	theirs, mine := scan(t, chroot, "."), scan(t, ours, ".")
	allow := readAllow(t)
	theirs = moved(theirs)
	both := maps.Clone(theirs)
	maps.Copy(both, mine)
	for _, p := range slices.Sorted(maps.Keys(both)) {
		if mine[p] != theirs[p] && !allow.explains(p) {
			t.Errorf("/%s\n\tours:   %s\n\toracle: %s", p, orNone(mine[p]), orNone(theirs[p]))
		}
	}
	for i, used := range allow.used {
		if !used {
			t.Errorf("testdata/oracle-allow.txt: %q explains nothing any more", allow.patterns[i])
		}
	}
}

// moved names the oracle's files as they are named in our root.
func moved(files map[string]string) map[string]string {
	out := map[string]string{}
	for p, what := range files {
		for _, m := range []struct{ from, to string }{
			{"root", "var/roothome"}, {"home", "var/home"}, {"var/lib/dpkg", contract.DpkgDir},
		} {
			if p == m.from || strings.HasPrefix(p, m.from+"/") {
				p = m.to + strings.TrimPrefix(p, m.from)
				break
			}
		}
		out[p] = what
	}
	return out
}

func orNone(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// allowList holds patterns of paths; one that ends in "/" means all below.
type allowList struct {
	patterns []string
	used     []bool
}

func (a *allowList) explains(p string) bool {
	found := false
	for i, pattern := range a.patterns {
		below, isDir := strings.CutSuffix(pattern, "/")
		ok, _ := filepath.Match(pattern, p)
		if ok || isDir && (p == below || strings.HasPrefix(p, below+"/")) {
			a.used[i], found = true, true
		}
	}
	return found
}

func readAllow(t *testing.T) *allowList {
	b, err := os.ReadFile("testdata/oracle-allow.txt")
	if err != nil {
		t.Fatal(err)
	}
	a := &allowList{}
	for line := range strings.SplitSeq(string(b), "\n") {
		if strings.TrimSpace(line) == "" || strings.HasPrefix(line, "#") {
			continue
		}
		pattern, reason, ok := strings.Cut(line, " ")
		if !ok || strings.TrimSpace(reason) == "" {
			t.Fatalf("testdata/oracle-allow.txt: %q has no reason", line)
		}
		a.patterns = append(a.patterns, strings.TrimPrefix(pattern, "/"))
	}
	a.used = make([]bool, len(a.patterns))
	return a
}
