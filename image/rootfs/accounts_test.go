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
