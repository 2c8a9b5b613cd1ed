package rootfs

import (
	"slices"
	"strings"
	"testing"
)

func TestBaseFiles(t *testing.T) {
	s := stateOf(t, `
		etc/dpkg/origins/debian: Vendor: Debian
		usr/share/base-files/dot.profile: profile
		usr/share/base-files/dot.bashrc: bashrc
		usr/share/base-files/profile: etc
		usr/share/base-files/motd: motd
		etc/motd: an overlay's
		root/ 0700 0 0
		var/run/
		var/lock/ 1777 0 0`)
	noErr(t, baseFiles(s))
	wantTree(t, s.tree, `
		etc/dpkg/origins/debian: Vendor: Debian
		etc/dpkg/origins/default -> debian
		etc/motd: an overlay's
		etc/profile: etc
		root/ 0700 0 0
		root/.bashrc: bashrc
		root/.profile: profile
		usr/local/man -> share/man
		var/log/btmp 0660 0 43:
		var/log/lastlog 0664 0 43:
		var/log/wtmp 0664 0 43:
		var/mail/ 2775 0 8
		var/spool/mail -> ../mail`, "etc", "root", "usr/local", "var")
	for _, p := range []string{"mnt", "srv", "opt", "media", "etc/opt", "usr/local/sbin"} {
		if n := s.tree.Get(p); n == nil || !n.Mode.IsDir() {
			t.Errorf("/%s is missing", p)
		}
	}
}

func TestShells(t *testing.T) {
	s := stateOf(t, baseLinks+`
		usr/share/debianutils/shells: # valid login shells\n/bin/sh\n/usr/bin/sh\n
		usr/share/debianutils/shells.d/bash: /bin/bash\n/bin/rbash # restricted\n
		usr/share/debianutils/shells.d/dash: /usr/bin/dash\n`)
	noErr(t, shells(s))
	wantTree(t, s.tree, `etc/shells: # valid login shells\n/bin/sh\n/usr/bin/sh\n/bin/bash\n/usr/bin/bash\n/bin/rbash \n/usr/bin/rbash \n/usr/bin/dash\n`, "etc")
}

func TestNSSwitch(t *testing.T) {
	const conf = `usr/share/libc-bin/nsswitch.conf: # x\npasswd:         files\nshadow:         files\nhosts:          files dns\nrpc:            db files\n`
	s := stateOf(t, conf, "libc-bin", "libnss-systemd", "libnss-resolve", "libnss-myhostname")
	noErr(t, nsswitch(s))
	wantTree(t, s.tree, `etc/nsswitch.conf: # x\npasswd:         files systemd\nshadow:         files systemd\nhosts:          files myhostname resolve [!UNAVAIL=return] dns\nrpc:            db files\n`, "etc")

	s = stateOf(t, conf, "libc-bin", "libnss-myhostname")
	noErr(t, nsswitch(s))
	wantTree(t, s.tree, `etc/nsswitch.conf: # x\npasswd:         files\nshadow:         files\nhosts:          files myhostname dns\nrpc:            db files\n`, "etc")
}

func TestPAM(t *testing.T) {
	marker := strings.Join([]string{"# head", pamPrimary, "$x_primary", pamFallback, "x requisite pam_deny.so", pamAdditional, "$x_additional", pamEnd, ""}, `\n`)
	s := stateOf(t, `
		usr/share/pam/common-auth: `+marker+`
		usr/share/pam/common-session: `+marker+`
		usr/share/pam/common-session-noninteractive: `+marker+`
		usr/share/pam-configs/unix: Name: Unix\nDefault: yes\nPriority: 256\nAuth-Type: Primary\nAuth:\n\t[success=end default=ignore]\tpam_unix.so nullok  try_first_pass\nAuth-Initial:\n\t[success=end default=ignore]\tpam_unix.so nullok\nSession-Type: Additional\nSession:\n\trequired\tpam_unix.so\n
		usr/share/pam-configs/sss: Name: SSS\nDefault: yes\nPriority: 128\nAuth-Type: Primary\nAuth-Final:\n\t[success=end default=ignore] pam_sss.so use_first_pass\n
		usr/share/pam-configs/systemd: Name: systemd\nDefault: yes\nPriority: 0\nSession-Interactive-Only: yes\nSession-Type: Additional\nSession:\n\toptional\tpam_systemd.so\n
		usr/share/pam-configs/mkhomedir: Name: homes\nDefault: no\nPriority: 0\nSession-Type: Additional\nSession:\n\toptional pam_mkhomedir.so\n`)
	noErr(t, pam(s))
	block := func(word string, primary, additional []string) string {
		lines := slices.Concat([]string{"# head", pamPrimary}, primary, []string{pamFallback, "x requisite pam_deny.so", pamAdditional}, additional, []string{pamEnd, ""})
		return strings.ReplaceAll(strings.Join(lines, `\n`), "WORD", word)
	}
	permit := []string{"session\t[default=1]\t\t\tpam_permit.so"}
	wantTree(t, s.tree, `
		etc/environment:
		etc/pam.d/common-auth: `+block("auth", []string{"WORD\t[success=2 default=ignore]\tpam_unix.so nullok", "WORD\t[success=1 default=ignore] pam_sss.so use_first_pass"}, nil)+`
		etc/pam.d/common-session: `+block("session", permit, []string{"WORD\trequired\tpam_unix.so ", "WORD\toptional\tpam_systemd.so "})+`
		etc/pam.d/common-session-noninteractive: `+block("session", permit, []string{"WORD\trequired\tpam_unix.so "})+`
		etc/security/opasswd 0600 0 0:`, "etc")

	s = stateOf(t, "usr/share/pam/common-auth: no markers")
	wantErr(t, pam(s), "common-auth", "marker")
	s = stateOf(t, `usr/share/pam-configs/x: Default: yes\nPriority: high\n`)
	wantErr(t, pam(s), "usr/share/pam-configs/x", "high")
}

func TestStatOverrides(t *testing.T) {
	s := stateOf(t, masters+`
		usr/lib/dbus-1.0/dbus-daemon-launch-helper 0755 0 0: elf
		usr/bin/ssh-agent: elf
		usr/lib/sysusers.d/dbus.conf: u messagebus -\n`, "base-passwd", "dbus", "openssh-client", "systemd")
	noErr(t, makeAccounts(s, nil))
	noErr(t, statOverrides(s))
	wantTree(t, s.tree, `
		usr/bin/ssh-agent 2755 0 101: elf
		usr/lib/dbus-1.0/dbus-daemon-launch-helper 4754 0 996: elf`, "usr/bin", "usr/lib/dbus-1.0")
	if got, want := s.statOverrideFile(), "root messagebus 4754 /usr/lib/dbus-1.0/dbus-daemon-launch-helper\n"; got != want {
		t.Errorf("database is %q, want %q", got, want)
	}
	s = stateOf(t, "usr/bin/ssh-agent: elf", "openssh-client")
	wantErr(t, statOverrides(s), "usr/bin/ssh-agent", "root")
}

func TestAlternatives(t *testing.T) {
	s := stateOf(t, baseLinks+`
		usr/bin/more: elf
		usr/bin/less: elf
		usr/bin/mawk: elf
		usr/share/man/man1/more.1.gz: page
		usr/sbin/iptables-nft -> xtables-nft-multi
		usr/sbin/iptables-nft-save -> xtables-nft-multi
		usr/sbin/iptables-legacy -> gone
		usr/sbin/xtables-nft-multi: elf`, "util-linux", "less", "mawk", "iptables", "tar")
	noErr(t, alternatives(s))
	// less has no manual page here, so pager has none either.
	wantTree(t, s.tree, `
		etc/alternatives/awk -> /usr/bin/mawk
		etc/alternatives/iptables -> /usr/sbin/iptables-nft
		etc/alternatives/iptables-save -> /usr/sbin/iptables-nft-save
		etc/alternatives/nawk -> /usr/bin/mawk
		etc/alternatives/pager -> /usr/bin/less
		usr/bin/awk -> /etc/alternatives/awk
		usr/bin/less: elf
		usr/bin/mawk: elf
		usr/bin/more: elf
		usr/bin/nawk -> /etc/alternatives/nawk
		usr/bin/pager -> /etc/alternatives/pager`, "etc", "usr/bin")
	want := "auto\n/usr/bin/pager\npager.1.gz\n/usr/share/man/man1/pager.1.gz\n\n" +
		"/bin/more\n50\n/usr/share/man/man1/more.1.gz\n/usr/bin/less\n77\n/usr/share/man/man1/less.1.gz\n\n"
	if got := s.alternativeRecord("pager"); got != want {
		t.Errorf("record of pager:\n%swant\n%s", got, want)
	}
}

func TestIdentityIsTheNodes(t *testing.T) {
	s := stateOf(t, "etc/machine-id: 0123456789abcdef\n etc/iscsi/initiatorname.iscsi: InitiatorName=iqn.mine")
	noErr(t, firstError(machineID(s), iscsiName(s), sshHostKeys(s)))
	wantTree(t, s.tree, "etc/machine-id 0444 0 0:\n var/lib/dbus/machine-id -> /etc/machine-id", "etc/machine-id", "var")
	name, err := s.text("etc/iscsi/initiatorname.iscsi")
	if err != nil || !strings.HasSuffix(name, "\nGenerateName=yes\n") || strings.Contains(name, "InitiatorName=") {
		t.Errorf("initiator name %q, %v", name, err)
	}
	if n := s.tree.Get("etc/iscsi/initiatorname.iscsi"); n.Mode != 0o600 {
		t.Errorf("initiator name has mode %v", n.Mode)
	}
}

func TestApparmorLocals(t *testing.T) {
	s := stateOf(t, "etc/apparmor.d/usr.bin.tcpdump: profile", "tcpdump")
	s.packages["tcpdump"].ControlFiles["postinst"] = "if x; then\n    APP_PROFILE=\"/etc/apparmor.d/usr.bin.tcpdump\"\n" +
		"    APP_PROFILE=\"/etc/apparmor.d/gone\"\nfi\n"
	noErr(t, apparmorLocals(s))
	wantTree(t, s.tree, "etc/apparmor.d/local/usr.bin.tcpdump:\n etc/apparmor.d/usr.bin.tcpdump: profile", "etc")
}

// TestStatics: scripts leave files alone that are there.
func TestStatics(t *testing.T) {
	s := stateOf(t, masters+`
		etc/hosts: mine
		usr/share/readline/inputrc: set
		usr/share/openssh/sshd_config: sshd
		var/lib/nfs/sm/`, "base-passwd", "openssh-server", "nfs-common")
	noErr(t, makeAccounts(s, nil))
	noErr(t, firstError(netbase(s), tcpWrappers(s), readline(s), kmodConfig(s), cryptsetup(s), timezone(s), wtmpdb(s),
		nfsState(s), managedConfig(s), resolvConf(s), statOverrides(s)))
	wantTree(t, s.tree, `
		etc/hosts: mine
		etc/inputrc: set
		etc/localtime -> /usr/share/zoneinfo/Etc/UTC
		etc/resolv.conf -> ../run/systemd/resolve/stub-resolv.conf
		etc/ssh/sshd_config: sshd
		var/lib/nfs/sm/ 0755 102 65534
		var/lib/nfs/state 0644 102 0:
		var/lib/wtmpdb/wtmp.db -> ../../log/wtmp.db`,
		"etc/hosts", "etc/inputrc", "etc/localtime", "etc/resolv.conf", "etc/ssh", "var")
}

func FuzzPAM(f *testing.F) {
	f.Add("Name: Unix\nDefault: yes\nPriority: 256\nAuth-Type: Primary\nAuth:\n\t[success=end default=ignore]\tpam_unix.so nullok\n")
	f.Fuzz(func(t *testing.T, text string) {
		p := parsePAMProfile(text)
		for _, kind := range pamTypes {
			for _, block := range []string{"Primary", "Additional"} {
				out := pamBlock([]pamProfile{p, p}, kind.word, kind.field, block)
				for line := range strings.Lines(out) {
					if !strings.HasPrefix(line, kind.word+"\t") {
						t.Errorf("line %q does not begin with %s", line, kind.word)
					}
				}
			}
		}
	})
}
