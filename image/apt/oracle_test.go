//go:build network

package apt

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/going-mobile/imagebuilder/image/fetch"
)

// The judge is apt itself, with the same indexes and an empty machine. It
// needs apt-get and a mirror (the host's, or $DEBIAN_MIRROR and
// $DEBIAN_SECURITY_MIRROR):
//
//	go test -tags network -run TestOracle ./image/apt

const nodePackages = `base-files base-passwd bash dash coreutils diffutils util-linux mount login passwd libc-bin grep
sed mawk findutils tar gzip zstd xz-utils hostname procps psmisc kmod udev systemd systemd-sysv systemd-timesyncd
systemd-resolved systemd-repart dbus libpam-systemd libpam-runtime libnss-resolve libnss-myhostname libnss-systemd
iproute2 iputils-ping iptables nftables ethtool ca-certificates netbase tzdata openssh-server openssh-client e2fsprogs
dosfstools fdisk open-iscsi nfs-common cryptsetup-bin dmsetup curl jq less`

const nodeExtras = `htop wireguard-tools conntrack ipset lm-sensors rsync apparmor multipath-tools xfsprogs vim-tiny tmux
smartmontools hdparm usbutils pciutils chrony avahi-daemon git ansible-core network-manager wpasupplicant
rpi.gpio-common bluez lvm2 mdadm btrfs-progs zfs-zed nvme-cli sudo strace tcpdump socat iperf3 prometheus-node-exporter`

// same demands the very set that apt takes. Where packages offer each other
// many alternatives, apt's answer depends on its order of visits; there, ours
// has to be one that apt accepts without adding or dropping anything.
var oracleCases = []struct {
	name, arch, want string
	same             bool
}{
	{"node", "amd64", nodePackages + " linux-image-amd64 intel-microcode", true},
	{"node", "arm64", nodePackages + " linux-image-arm64 raspi-firmware firmware-brcm80211", true},
	{"bash", "amd64", "bash", true},
	{"extras", "arm64", nodeExtras, true},
	{"extras", "amd64", nodeExtras, true},
	{"virtual", "amd64", "bsd-mailx gnome-terminal xfsprogs", false},
	{"kde", "amd64", "kde-standard libreoffice postgresql exim4", false},
	{"desktop", "arm64", "task-gnome-desktop chromium docker.io", false},
	{"build", "arm64", "build-essential golang python3-pip nodejs npm texlive emacs", true},
	{"servers", "amd64", "apache2 php mariadb-server dovecot-imapd nginx-full bind9 wordpress", true},
}

func TestOracle(t *testing.T) {
	archives := map[string]*Archive{}
	roots := map[string]string{}
	for _, tc := range oracleCases {
		t.Run(tc.name+"-"+tc.arch, func(t *testing.T) {
			if archives[tc.arch] == nil {
				suites := networkSuites(t, tc.arch)
				archives[tc.arch] = loadNetwork(t, suites, tc.arch)
				roots[tc.arch] = aptRoot(t, suites, tc.arch)
			}
			a := archives[tc.arch]
			want := known(t, a, append(strings.Fields(tc.want), a.essential()...))
			got, err := a.Resolve(want, nil)
			if err != nil {
				t.Fatal(err)
			}
			ours := versionLines(got)
			if !tc.same {
				want = exact(got)
			}
			if diff := cmp.Diff(simulate(t, roots[tc.arch], want), ours); diff != "" {
				t.Errorf("apt (-) and Resolve (+) differ:\n%s", diff)
			}
			t.Logf("%d packages", len(ours))
		})
	}
}

// known drops names that the archive of the day does not have.
func known(t *testing.T, a *Archive, names []string) []string {
	return slices.DeleteFunc(names, func(n string) bool {
		v, err := a.Versions(n)
		if err != nil {
			t.Fatal(err)
		}
		if len(v) == 0 {
			t.Logf("%s: not in the archive", n)
			return true
		}
		return false
	})
}

func networkSuites(t *testing.T, arch string) []Suite {
	m, err := HostMirrors(arch, "trixie")
	if err != nil {
		t.Log(err)
	}
	if v := os.Getenv("DEBIAN_MIRROR"); v != "" {
		m.Archive = []string{v}
	}
	if v := os.Getenv("DEBIAN_SECURITY_MIRROR"); v != "" {
		m.Security = []string{v}
	}
	var suites []Suite
	for _, n := range []string{"trixie", "trixie-updates", "trixie-security"} {
		if len(m.For(n)) == 0 {
			t.Fatal("no mirror: this host is not Debian; set DEBIAN_MIRROR and DEBIAN_SECURITY_MIRROR")
		}
		suites = append(suites, Suite{Name: n, Mirrors: m.For(n), Components: []string{"main", "non-free-firmware"}})
	}
	return suites
}

func loadNetwork(t *testing.T, suites []Suite, arch string) *Archive {
	c, err := fetch.OpenCache("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	a, err := Load(t.Context(), c, suites, arch, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// aptRoot makes a directory with which apt-get believes to stand on an empty
// trixie machine, and fills its indexes.
func aptRoot(t *testing.T, suites []Suite, arch string) string {
	if _, err := exec.LookPath("apt-get"); err != nil {
		t.Fatal("apt-get is missing; run make deps")
	}
	dir, err := os.MkdirTemp("", "apt-oracle")
	if err != nil {
		t.Fatal(err)
	}
	oracleDirs = append(oracleDirs, dir)
	for _, d := range []string{"etc/apt/apt.conf.d", "etc/apt/preferences.d", "etc/apt/trusted.gpg.d", "etc/apt/sources.list.d", "var/lib/apt/lists/partial", "var/cache/apt/archives/partial", "var/lib/dpkg"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	var sources strings.Builder
	for _, s := range suites {
		fmt.Fprintf(&sources, "deb [arch=%s] %s %s %s\n", arch, s.Mirrors[0], s.Name, strings.Join(s.Components, " "))
	}
	conf := fmt.Sprintf("Dir \"%s\";\nDir::State::status \"%s/var/lib/dpkg/status\";\nAPT::Architecture \"%s\";\nAPT::Architectures { \"%s\"; };\nAPT::Sandbox::User \"root\";\nAPT::Get::AllowUnauthenticated \"false\";\n", dir, dir, arch, arch)
	files := map[string]string{"etc/apt/sources.list": sources.String(), "var/lib/dpkg/status": "", "apt.conf": conf}
	keys, _ := debianKeys.ReadDir("keys")
	for _, k := range keys {
		b, _ := debianKeys.ReadFile("keys/" + k.Name())
		files["etc/apt/trusted.gpg.d/"+k.Name()] = string(b)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	aptGet(t, dir, "update")
	return dir
}

var oracleDirs []string

func TestMain(m *testing.M) {
	code := m.Run()
	for _, d := range oracleDirs {
		os.RemoveAll(d)
	}
	os.Exit(code)
}

func aptGet(t *testing.T, root string, args ...string) string {
	cmd := exec.Command("apt-get", args...)
	cmd.Env = append(os.Environ(), "APT_CONFIG="+filepath.Join(root, "apt.conf"), "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("apt-get %s: %v\n%s", args[0], err, out)
	}
	return string(out)
}

var instLine = regexp.MustCompile(`(?m)^Inst (\S+) \((\S+) `)

func simulate(t *testing.T, root string, want []string) []string {
	out := aptGet(t, root, append([]string{"--simulate", "install", "--no-install-recommends"}, want...)...)
	var lines []string
	for _, m := range instLine.FindAllStringSubmatch(out, -1) {
		lines = append(lines, m[1]+" "+m[2])
	}
	slices.Sort(lines)
	return lines
}

// exact names packages as apt-get install takes them.
func exact(pkgs []*Package) []string {
	var names []string
	for _, p := range pkgs {
		names = append(names, p.Name+"="+p.Version)
	}
	return names
}

func versionLines(pkgs []*Package) []string {
	var lines []string
	for _, p := range pkgs {
		lines = append(lines, p.Name+" "+p.Version)
	}
	slices.Sort(lines)
	return lines
}

// Every package of the real archive must parse, and versions must order as
// dpkg orders them.
func TestOracleWholeArchive(t *testing.T) {
	if _, err := exec.LookPath("dpkg"); err != nil {
		t.Fatal("dpkg is missing; run make deps")
	}
	a := loadNetwork(t, networkSuites(t, "amd64"), "amd64")
	var versions []string
	for i, p := range a.parts {
		for pos := range p.index.len() {
			pkg, err := a.at(place{i, pos})
			if err != nil {
				t.Fatal(err)
			}
			if pos%97 == 0 {
				versions = append(versions, pkg.Version)
			}
		}
	}
	slices.Sort(versions) // neighbours in text are the hard cases
	t.Logf("%d packages, %d versions", len(a.parsed), len(versions))
	for i := 1; i < len(versions); i++ {
		c, err := CompareVersions(versions[i-1], versions[i])
		if err != nil {
			t.Fatal(err)
		}
		op := map[int]string{-1: "lt", 0: "eq", 1: "gt"}[max(-1, min(1, c))]
		if err := exec.Command("dpkg", "--compare-versions", versions[i-1], op, versions[i]).Run(); err != nil {
			t.Errorf("dpkg denies that %s %s %s", versions[i-1], op, versions[i])
		}
	}
}

func BenchmarkWarm(b *testing.B) {
	c, err := fetch.OpenCache("")
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	m, _ := HostMirrors("amd64", "trixie")
	var suites []Suite
	for _, n := range []string{"trixie", "trixie-updates", "trixie-security"} {
		suites = append(suites, Suite{Name: n, Mirrors: m.For(n), Components: []string{"main", "non-free-firmware"}})
	}
	for b.Loop() {
		a, err := Load(b.Context(), c, suites, "amd64", Options{})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := a.Resolve(strings.Fields(nodePackages), nil); err != nil {
			b.Fatal(err)
		}
		a.Close()
	}
}
