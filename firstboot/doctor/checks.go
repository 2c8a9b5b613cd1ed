package doctor

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/going-mobile/imagebuilder/firstboot/deb822"
)

// required and optional are the lists in k3s' contrib/util/check-config.sh
// (v1.36).
var (
	required = strings.Fields(`NAMESPACES NET_NS PID_NS IPC_NS UTS_NS CGROUPS CGROUP_PIDS CGROUP_CPUACCT CGROUP_DEVICE
		CGROUP_FREEZER CGROUP_SCHED CPUSETS MEMCG SECCOMP KEYS VETH BRIDGE BRIDGE_NETFILTER IP_NF_FILTER IP_NF_NAT
		IP_NF_TARGET_MASQUERADE IP_NF_TARGET_REJECT NETFILTER_XT_MATCH_ADDRTYPE NETFILTER_XT_MATCH_CONNTRACK
		NETFILTER_XT_MATCH_IPVS NETFILTER_XT_MATCH_COMMENT NETFILTER_XT_MATCH_MULTIPORT NETFILTER_XT_MATCH_STATISTIC
		NF_NAT POSIX_MQUEUE`)
	optional = strings.Fields(`USER_NS BLK_CGROUP CFS_BANDWIDTH IP_SET IP_VS VXLAN OVERLAY_FS`)
)

func (p *patient) kernel() {
	const group = "Kernel for k3s"
	p.expect(len(p.config) > 0, Failure, group, "configuration", "/boot/config-"+p.release+" is missing")
	if len(p.config) == 0 {
		return
	}
	for _, list := range []struct {
		names     []string
		otherwise Verdict
	}{{required, Failure}, {optional, Warning}} {
		var missing []string
		for _, n := range list.names {
			if v := p.config[n]; v != "y" && v != "m" {
				missing = append(missing, "CONFIG_"+n)
			}
		}
		check := "needed options"
		if list.otherwise == Warning {
			check = "useful options"
		}
		p.expect(len(missing) == 0, list.otherwise, group, check, "missing: "+strings.Join(missing, " "))
	}
}

func (p *patient) system() {
	const group = "System for k3s"
	controllers := strings.Fields(p.text("/sys/fs/cgroup/cgroup.controllers"))
	for _, c := range []string{"cpu", "cpuset", "memory", "pids"} {
		p.expect(slices.Contains(controllers, c), Failure, group, "cgroup controller "+c, "not in /sys/fs/cgroup/cgroup.controllers")
	}
	keys, _ := strconv.Atoi(strings.TrimSpace(p.text("/proc/sys/kernel/keys/root_maxkeys")))
	p.expect(keys > 10000, Warning, group, "root_maxkeys > 10000", "is "+strconv.Itoa(keys))
	p.expect(strings.Count(strings.TrimSpace(p.text("/proc/swaps")), "\n") == 0, Warning, group, "no swap", "the kubelet wants none")
	if strings.TrimSpace(p.text("/sys/module/apparmor/parameters/enabled")) == "Y" {
		p.expect(p.program("apparmor_parser"), Failure, group, "apparmor_parser", "AppArmor is on and the program is missing")
	}
	for _, prog := range []string{"iptables", "ipset", "conntrack"} {
		p.expect(p.program(prog), Warning, group, "program "+prog, "is missing")
	}
	p.expect(p.program("k3s"), Failure, group, "program k3s", "is missing")
	p.expect(p.program("tailscaled"), Failure, group, "program tailscaled", "is missing")
}

// longhorn follows longhorn/cli 1.12, pkg/local/preflight, for Debian.
func (p *patient) longhorn(ctx context.Context) {
	const group = "Longhorn (V1 engine)"
	p.expect(p.active(ctx, "iscsid"), Failure, group, "iscsid runs", "neither iscsid.service nor iscsid.socket is active")
	p.expect(!p.active(ctx, "multipathd"), Warning, group, "no multipathd", "it may take Longhorn's disks")
	nfs := p.enabled("NFS_V4_1") || p.enabled("NFS_V4_2") || p.enabled("NFS_V4")
	p.expect(nfs, Failure, group, "NFS v4 client in the kernel", "CONFIG_NFS_V4, _4_1 or _4_2 is needed")
	v := p.nfsVersion()
	p.expect(v == "" || strings.HasPrefix(v, "4"), Warning, group, "NFS v4 by default", "nfsmount.conf says "+v)
	for _, m := range []string{"nfs", "dm_crypt", "iscsi_tcp"} {
		p.expect(p.loaded(m), Failure, group, "module "+m, "is not loaded; name it in /etc/modules-load.d")
	}
	installed := p.packages()
	for _, name := range []string{"nfs-common", "open-iscsi", "cryptsetup", "dmsetup"} {
		p.expect(installed[name], Failure, group, "package "+name, "is not installed")
	}
	for _, prog := range []string{"bash", "curl", "findmnt", "grep", "awk", "blkid", "lsblk", "nsenter"} {
		p.expect(p.program(prog), Failure, group, "program "+prog, "is missing")
	}
	const volumes = "/var/lib/longhorn"
	options, fsType := p.mountOf(volumes)
	p.expect(!slices.Contains(options, "noexec"), Failure, group, volumes+" allows programs", "it is mounted noexec")
	p.expect(fsType == "ext4" || fsType == "xfs", Failure, group, volumes+" is ext4 or XFS", "it is "+fsType)
	p.expect(p.shared("/"), Failure, group, "mounts propagate", "/ is not a shared mount")
	p.expect(p.exists("/etc/iscsi/initiatorname.iscsi"), Failure, group, "initiator name", "the node has none")
}

func (p *patient) firewall(ctx context.Context) {
	const group, unit = "Firewall", "firstboot-firewall.service"
	if err := p.Firewalled(ctx); err != nil {
		p.add(group, "rules stand", Failure, "every port is open to everybody: "+err.Error())
		return
	}
	p.add(group, "rules stand", OK, "")
	up, err := p.Units.Active(ctx, unit)
	p.expect(err == nil && up, Warning, group, "rules are kept", unit+" does not run: new addresses and a flush go unseen")
}

// active reports whether a daemon runs, or would be started by its socket.
func (p *patient) active(ctx context.Context, daemon string) bool {
	for _, kind := range []string{".service", ".socket"} {
		if up, err := p.Units.Active(ctx, daemon+kind); err == nil && up {
			return true
		}
	}
	return false
}

// nfsVersion returns the version in nfsmount.conf(5) that mounts ask for first
// by default; "" stands for the program's own default, which is 4.
func (p *patient) nfsVersion() string {
	const drops = "/etc/nfsmount.conf.d"
	text := p.text("/etc/nfsmount.conf")
	names, _ := p.Files.List(drops)
	for _, n := range names {
		if strings.HasSuffix(n, ".conf") {
			text += "\n" + p.text(drops+"/"+n)
		}
	}
	version, global := "", false
	for _, l := range strings.Split(text, "\n") {
		l, _, _ = strings.Cut(l, "#")
		key, value, _ := strings.Cut(l, "=")
		switch key = strings.TrimSpace(key); {
		case strings.HasPrefix(key, "["):
			global = strings.Trim(key, "[] \t") == "NFSMount_Global_Options"
		case global && strings.EqualFold(key, "Defaultvers"):
			version = strings.TrimSpace(value)
		}
	}
	return version
}

func (p *patient) enabled(option string) bool {
	return p.config[option] == "y" || p.config[option] == "m"
}

func (p *patient) loaded(module string) bool {
	for _, l := range strings.Split(p.text("/proc/modules"), "\n") {
		if name, _, _ := strings.Cut(l, " "); name == module {
			return true
		}
	}
	return strings.Contains(p.text("/lib/modules/"+p.release+"/modules.builtin"), "/"+module+".ko")
}

// packages reads the names of installed packages from dpkg's status database.
func (p *patient) packages() map[string]bool {
	out := map[string]bool{}
	all, _ := deb822.All(p.text("/var/lib/dpkg/status")) // an unreadable part counts as not installed
	for _, f := range all {
		if f["status"] == "install ok installed" || f["status"] == "hold ok installed" {
			out[f["package"]] = true
		}
	}
	return out
}

// mountOf returns the options and the type of the file system that a directory
// is on, from /proc/self/mountinfo (proc_pid_mountinfo(5)).
func (p *patient) mountOf(dir string) (options []string, fsType string) {
	best := ""
	for _, l := range strings.Split(p.text("/proc/self/mountinfo"), "\n") {
		f := strings.Fields(l)
		if len(f) < 10 {
			continue
		}
		at := f[4]
		inside := dir == at || strings.HasPrefix(dir, strings.TrimSuffix(at, "/")+"/")
		if !inside || len(at) < len(best) {
			continue
		}
		for i := 6; i+1 < len(f); i++ {
			if f[i] == "-" {
				best, options, fsType = at, strings.Split(f[5], ","), f[i+1]
				break
			}
		}
	}
	return options, fsType
}

func (p *patient) shared(dir string) bool {
	for _, l := range strings.Split(p.text("/proc/self/mountinfo"), "\n") {
		f := strings.Fields(l)
		if len(f) > 6 && f[4] == dir {
			return strings.Contains(l, " shared:")
		}
	}
	return false
}
