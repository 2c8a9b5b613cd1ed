//go:build linux

package doctor_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot"
	"github.com/going-mobile/imagebuilder/firstboot/doctor"
	"github.com/going-mobile/imagebuilder/firstboot/host"
)

type units struct {
	firstboot.Units
	up  map[string]bool
	log string // of any
}

func (u units) Active(_ context.Context, name string) (bool, error) { return u.up[name], nil }

// programs is an nft that lists these rules.
type programs struct{ rules string }

func (p programs) Run(context.Context, ...string) (string, error) {
	if p.rules == "" {
		return "", errors.New("no such table")
	}
	return p.rules, nil
}

// chip is a TPM that says one thing.
type chip struct{ err error }

func (c chip) Seal(share []byte) ([]byte, error)    { return share, c.err }
func (c chip) Unseal(sealed []byte) ([]byte, error) { return sealed, c.err }

// healthy is a node with nothing to complain about.
func healthy(t *testing.T) (string, firstboot.Host) {
	root := t.TempDir()
	var config, status strings.Builder
	for _, o := range strings.Fields(`NAMESPACES NET_NS PID_NS IPC_NS UTS_NS CGROUPS CGROUP_PIDS CGROUP_CPUACCT CGROUP_DEVICE CGROUP_FREEZER
		CGROUP_SCHED CPUSETS MEMCG SECCOMP KEYS VETH BRIDGE BRIDGE_NETFILTER IP_NF_FILTER IP_NF_NAT IP_NF_TARGET_MASQUERADE
		IP_NF_TARGET_REJECT NETFILTER_XT_MATCH_ADDRTYPE NETFILTER_XT_MATCH_CONNTRACK NETFILTER_XT_MATCH_IPVS
		NETFILTER_XT_MATCH_COMMENT NETFILTER_XT_MATCH_MULTIPORT NETFILTER_XT_MATCH_STATISTIC NF_NAT POSIX_MQUEUE
		USER_NS BLK_CGROUP CFS_BANDWIDTH IP_SET IP_VS VXLAN OVERLAY_FS NFS_V4_2`) {
		config.WriteString("CONFIG_" + o + "=m\n")
	}
	for _, p := range []string{"nfs-common", "open-iscsi", "cryptsetup", "dmsetup"} {
		status.WriteString("Package: " + p + "\nStatus: install ok installed\n\n")
	}
	files := map[string]string{
		"usr/lib/os-release":                "IMAGE_ID=imagebuilder-rpi4\nIMAGE_VERSION=one\n",
		"usr/lib/clock-epoch":               "",
		"run/imagebuilder/boot.json":        `{"slot": "a"}`,
		"proc/sys/kernel/osrelease":         "6.12.1\n",
		"boot/config-6.12.1":                config.String(),
		"sys/fs/cgroup/cgroup.controllers":  "cpuset cpu io memory pids\n",
		"proc/sys/kernel/keys/root_maxkeys": "1000000\n",
		"proc/swaps":                        "Filename\tType\n",
		"proc/modules":                      "nfs 1 0\ndm_crypt 1 0\niscsi_tcp 1 0\n",
		"var/lib/dpkg/status":               status.String(),
		"proc/self/mountinfo":               "1 0 0:1 / / ro shared:1 - squashfs /dev/a ro\n2 1 0:2 / /var rw,relatime shared:2 - ext4 /dev/b rw\n",
		"etc/iscsi/initiatorname.iscsi":     "InitiatorName=x\n",
		dog + "state":                       "active\n",
		dog + "identity":                    "Broadcom\n",
		dog + "timeout":                     "15\n",
		dog + "bootstatus":                  "0\n",
	}
	for _, p := range strings.Fields("iptables ipset conntrack k3s tailscaled bash curl findmnt grep awk blkid lsblk nsenter") {
		files["usr/bin/"+p] = "x"
	}
	for name, content := range files {
		write(t, root, name, content)
	}
	made := time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC)
	if err := os.Chtimes(filepath.Join(root, "usr/lib/clock-epoch"), made, made); err != nil {
		t.Fatal(err)
	}
	write(t, root, slotFile, slotCheck("")[slotFile])
	h := host.New(root, nil)
	h.Units = units{up: map[string]bool{"iscsid.socket": true, "firstboot-firewall.service": true}}
	h.Programs = programs{"chain prerouting { type filter hook prerouting; policy drop; }"}
	return root, h
}

func write(t *testing.T, root, name, content string) {
	t.Helper()
	name = filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestHealthy(t *testing.T) {
	_, h := healthy(t)
	found := doctor.Examine(context.Background(), h)
	for _, f := range found {
		if f.Verdict != doctor.OK {
			t.Errorf("%+v", f)
		}
	}
	if !doctor.Fit(found) || !strings.Contains(doctor.Table(found), "Longhorn") {
		t.Error(doctor.Table(found))
	}
}

// TestConfigBesideTheModules: there Debian's kernels have it from 7.x on.
func TestConfigBesideTheModules(t *testing.T) {
	root, h := healthy(t)
	old := filepath.Join(root, "boot/config-6.12.1")
	config, err := os.ReadFile(old)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(old); err != nil {
		t.Fatal(err)
	}
	write(t, root, "usr/lib/modules/6.12.1/config", string(config))
	if found := doctor.Examine(context.Background(), h); !doctor.Fit(found) {
		t.Error(doctor.Table(found))
	}
}

// TestWarned is what may hurt Longhorn: told, and no reason to call the node
// unfit.
func TestWarned(t *testing.T) {
	const global = "[ NFSMount_Global_Options ]\n"
	for name, c := range map[string]struct {
		unit, file, content, want string
	}{
		"multipathd":              {"multipathd.service", "", "", "no multipathd"},
		"multipathd's socket":     {"multipathd.socket", "", "", "no multipathd"},
		"NFS 3 by default":        {"", "etc/nfsmount.conf", global + "# Defaultvers=4\nDefaultvers=3\n", "NFS v4 by default"},
		"NFS 3 in a drop-in":      {"", "etc/nfsmount.conf.d/own.conf", global + " defaultvers = 3 # old NAS\n", "NFS v4 by default"},
		"NFS 4.1":                 {"", "etc/nfsmount.conf", global + "Defaultvers=4.1\n", ""},
		"NFS 3 for one server":    {"", "etc/nfsmount.conf", global + "[ Server \"nas\" ]\nDefaultvers=3\n", ""},
		"an editor's backup copy": {"", "etc/nfsmount.conf.d/own.conf~", global + "Defaultvers=3\n", ""},
	} {
		root, h := healthy(t)
		if c.file != "" {
			write(t, root, c.file, c.content)
		}
		h.Units.(units).up[c.unit] = true
		found := doctor.Examine(context.Background(), h)
		warned := ""
		for _, f := range found {
			if f.Verdict == doctor.Warning {
				warned += f.Check
			}
		}
		if !doctor.Fit(found) || warned != c.want {
			t.Errorf("%s: warned of %q, want %q", name, warned, c.want)
		}
	}
}

func TestIll(t *testing.T) {
	for name, c := range map[string]struct{ file, content, want string }{
		"config":      {"boot/config-6.12.1", "CONFIG_NAMESPACES=y\n", "CONFIG_MEMCG"},
		"no config":   {"proc/sys/kernel/osrelease", "9.9\n", "/boot/config-9.9 is missing"},
		"module":      {"proc/modules", "nfs 1\n", "module dm_crypt"},
		"package":     {"var/lib/dpkg/status", "Package: nfs-common\nStatus: deinstall ok config-files\n", "package nfs-common"},
		"noexec":      {"proc/self/mountinfo", "1 0 0:1 / / ro shared:1 - squashfs a ro\n2 1 0:2 / /var rw,noexec shared:2 - ext4 b rw\n", "noexec"},
		"noexec disk": {"proc/self/mountinfo", "1 0 0:1 / / ro shared:1 - squashfs a ro\n2 1 0:2 / /var rw shared:2 - ext4 b rw\n3 2 0:3 / /var/lib/longhorn rw,noexec shared:3 - ext4 c rw\n", "noexec"},
		"private":     {"proc/self/mountinfo", "1 0 0:1 / / ro - squashfs a ro\n2 1 0:2 / /var rw - ext4 b rw\n", "not a shared mount"},
		"cgroup":      {"sys/fs/cgroup/cgroup.controllers", "cpu cpuset pids\n", "cgroup controller memory"},
	} {
		root, h := healthy(t)
		write(t, root, c.file, c.content)
		found := doctor.Examine(context.Background(), h)
		if doctor.Fit(found) || !strings.Contains(doctor.Table(found), c.want) {
			t.Errorf("%s: want %q in\n%s", name, c.want, doctor.Table(found))
		}
	}
}

func TestFirewall(t *testing.T) {
	_, h := healthy(t)
	h.Units = units{up: map[string]bool{"iscsid.socket": true}}
	found := doctor.Examine(context.Background(), h)
	if table := doctor.Table(found); !doctor.Fit(found) || !strings.Contains(table, "firstboot-firewall.service does not run") {
		t.Errorf("nobody keeps the rules:\n%s", table)
	}
	for _, rules := range []string{"", "table inet imagebuilder {}"} {
		h.Programs = programs{rules}
		found = doctor.Examine(context.Background(), h)
		if table := doctor.Table(found); doctor.Fit(found) || !strings.Contains(table, "every port is open") {
			t.Errorf("rules %q:\n%s", rules, table)
		}
	}
}
