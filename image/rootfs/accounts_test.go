package rootfs

import (
	"testing"

	"github.com/going-mobile/imagebuilder/image/overlay"
)

const masters = `
	usr/share/base-passwd/passwd.master: root:*:0:0:root:/root:/bin/bash\nnobody:*:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n
	usr/share/base-passwd/group.master: root:*:0:\naudio:*:29:\nshadow:*:42:\nnogroup:*:65534:\n
`

func TestAccounts(t *testing.T) {
	s := stateOf(t, masters+`
		usr/lib/sysusers.d/basic.conf: # comment\ng audio 29 -\nu root 0 - /root /bin/bash\n
		usr/lib/sysusers.d/net.conf: u! systemd-network - "systemd Network Management"\ng render -\n
		usr/lib/sysusers.d/sshd.conf: u sshd -:nogroup 'sshd user' /run/sshd\nm sshd audio\n
		usr/lib/sysusers.d/own.conf: u own 700 - /var/lib/own /bin/sh\n
		usr/lib/sysusers.d/hidden.conf: u nobody-has-pinned-me -\n
		etc/sysusers.d/hidden.conf -> /dev/null`,
		"base-passwd", "systemd", "rpcbind", "tcpdump")
	noErr(t, makeAccounts(s, []*overlay.Overlay{{Name: "o", Files: treeOf(t, ""),
		Groups: []overlay.Group{{Name: "leds", GID: 750}},
		Users:  []overlay.User{{Name: "k3s", UID: 701, GID: 701, Groups: []string{"audio", "leds"}}}}}))
	wantTree(t, s.tree, `
		etc/group: root:x:0:\naudio:x:29:sshd,k3s\nshadow:x:42:\nnogroup:x:65534:\nleds:x:750:k3s\nk3s:x:701:\ntcpdump:x:103:\nrender:x:991:\nsystemd-network:x:998:\nown:x:700:\n
		etc/gshadow 0640 0 42: root:*::\naudio:*::sshd,k3s\nshadow:*::\nnogroup:*::\nleds:!*::k3s\nk3s:!*::\ntcpdump:!::\nrender:!*::\nsystemd-network:!*::\nown:!*::\n
		etc/passwd: root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\nk3s:x:701:701::/nonexistent:/usr/sbin/nologin\n_rpc:x:100:65534::/run/rpcbind:/usr/sbin/nologin\ntcpdump:x:101:103::/nonexistent:/usr/sbin/nologin\nsystemd-network:x:998:998:systemd Network Management:/:/usr/sbin/nologin\nown:x:700:700::/var/lib/own:/bin/sh\nsshd:x:989:65534:sshd user:/run/sshd:/usr/sbin/nologin\n
		etc/shadow 0640 0 42: root:*:20455:0:99999:7:::\nnobody:*:20455:0:99999:7:::\nk3s:!*:20455::::::\n_rpc:!:20455::::::\ntcpdump:!:20455::::::\nsystemd-network:!*:20455:::::1:\nown:!*:20455::::::\nsshd:!*:20455::::::\n
		etc/subgid:
		etc/subuid:
		etc/sysusers.d/hidden.conf -> /dev/null`, "etc")
}

func TestAccountsRefuse(t *testing.T) {
	for name, c := range map[string]struct {
		conf string
		want []string
	}{
		"unpinned user":   {`u newcomer -\n`, []string{"usr/lib/sysusers.d/x.conf", `user "newcomer"`, "no pinned number", "ids.go", "overlay"}},
		"unpinned group":  {`g newcomer -\n`, []string{`group "newcomer"`, "no pinned number"}},
		"taken uid":       {`u intruder 65534 -\n`, []string{"intruder", "clashes", "nogroup"}},
		"no such group":   {`m root wheel\n`, []string{"root", "wheel"}},
		"unknown primary": {`u x 700:wheel\n`, []string{"wheel"}},
		"specifier":       {`u x%i 700\n`, []string{"specifiers"}},
		"by file":         {`g x /etc/x\n`, []string{"owner of a file"}},
		"open quote":      {`u x 700 "gecos\n`, []string{"quote"}},
		"bad type":        {`z x 700\n`, []string{"unknown type"}},
		"colon":           {`u x 700 "a:b"\n`, []string{"colon"}},
		"too many":        {`u x 700 a b c d\n`, []string{"2 to 6 fields"}},
		"bad number":      {`u x 4294967295\n`, []string{"4294967295"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := stateOf(t, masters+"usr/lib/sysusers.d/x.conf: "+c.conf, "base-passwd", "systemd")
			wantErr(t, makeAccounts(s, nil), c.want...)
		})
	}
}

// TestPinsAreUnique: a number that two names share would give one the
// other's files.
func TestPinsAreUnique(t *testing.T) {
	uids, gids := map[uint32]string{}, map[uint32]string{}
	for name, p := range pins {
		for _, k := range []struct {
			id   uint32
			seen map[uint32]string
		}{{p.uid, uids}, {p.gid, gids}} {
			if k.id == 0 {
				continue
			}
			if have := k.seen[k.id]; have != "" {
				t.Errorf("%s and %s share %d", name, have, k.id)
			}
			if k.seen[k.id] = name; k.id < 100 || k.id > 999 {
				t.Errorf("%s: %d is not a number of system users", name, k.id)
			}
		}
	}
}

func TestParseRefusesBrokenMasters(t *testing.T) {
	for _, line := range []string{"root", "root:*:zero:0:::", ":*:1:1:::", "a:*:1:x:::"} {
		if err := newAccounts(testEpoch).parsePasswd(line); err == nil {
			t.Errorf("passwd takes %q", line)
		}
	}
	for _, line := range []string{"root:*:0", "root:*:-1:", ":*:1:"} {
		if err := newAccounts(testEpoch).parseGroup(line); err == nil {
			t.Errorf("group takes %q", line)
		}
	}
}

func FuzzSysusers(f *testing.F) {
	f.Add("u sshd -:nogroup \"sshd user\" /run/sshd\ng render -\nm sshd render\nr - 500-900")
	f.Add(`u x 700 'a \' b' / /bin/sh`)
	f.Fuzz(func(t *testing.T, conf string) {
		s := stateOf(t, masters)
		noErr(t, basePasswd(s))
		noErr(t, s.file("usr/lib/sysusers.d/x.conf", 0o644, conf))
		if sysusers(s) != nil {
			return
		}
		// Whatever was taken must be read back as the same accounts.
		a := newAccounts(testEpoch)
		noErr(t, a.parsePasswd(s.accounts.passwd()))
		noErr(t, a.parseGroup(s.accounts.groupFile()))
		if a.passwd() != s.accounts.passwd() || a.groupFile() != s.accounts.groupFile() {
			t.Errorf("accounts change when read back:\n%s%s", s.accounts.passwd(), s.accounts.groupFile())
		}
	})
}
