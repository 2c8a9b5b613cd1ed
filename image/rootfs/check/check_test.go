package check

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/going-mobile/imagebuilder/image/tree"
)

func add(t testing.TB, tr *tree.Tree, n *tree.Node) {
	t.Helper()
	if n.Source == "" {
		n.Source = "test"
	}
	if err := tr.MkdirAll(path.Dir(n.Path), time.Time{}, "test"); err != nil {
		t.Fatal(err)
	}
	if err := tr.Put(n); err != nil {
		t.Fatal(err)
	}
}

func file(t testing.TB, tr *tree.Tree, p string, mode fs.FileMode, content string) {
	t.Helper()
	add(t, tr, &tree.Node{Path: p, Mode: mode, Content: tree.String(content)})
}

func link(t testing.TB, tr *tree.Tree, p, target string) {
	t.Helper()
	add(t, tr, &tree.Node{Path: p, Mode: fs.ModeSymlink | 0o777, Link: target})
}

// sound is a small root without faults.
func sound(t testing.TB) *tree.Tree {
	tr := tree.New()
	file(t, tr, "etc/passwd", 0o644, "root:x:0:0:root:/root:/bin/bash\nmeter:x:801:801::/var:/usr/sbin/nologin\n")
	file(t, tr, "etc/group", 0o644, "root:x:0:\nshadow:x:42:\nmeter:x:801:\n_ssh:x:101:\n")
	file(t, tr, "etc/machine-id", 0o444, "")
	file(t, tr, "etc/iscsi/initiatorname.iscsi", 0o600, "# made at the first start\nGenerateName=yes\n")
	file(t, tr, "usr/bin/sh", 0o755, "\x7fELF") // replaced by tests that look into it
	link(t, tr, "bin", "usr/bin")
	file(t, tr, "usr/bin/script", 0o755, "#! /bin/sh -e\n")
	file(t, tr, "usr/bin/envscript", 0o755, "#!/usr/bin/env -S A=b sh\n")
	file(t, tr, "usr/share/notes", 0o644, "#!/usr/bin/none\nis no program without its mode\n")
	link(t, tr, "etc/resolv.conf", "../run/systemd/resolve/stub-resolv.conf")
	link(t, tr, "usr/local/bin/k3s", "/var/lib/imagebuilder/components/k3s/k3s")
	link(t, tr, "etc/systemd/system/masked.service", "/dev/null")
	file(t, tr, "usr/lib/systemd/system/good.service", 0o644, "[Service]\nUser=meter\nExecStart=-/usr/bin/none\nExecStart=/usr/local/bin/k3s \\\n server\nExecStartPre=!script\nExecStop=${PROGRAM}\n")
	file(t, tr, "usr/lib/systemd/system/guarded.service", 0o644, "[Unit]\nConditionFileIsExecutable=/usr/bin/none\n[Service]\nUser=nobodyknows\nDynamicUser=yes\nExecStart=/usr/bin/none\n")
	file(t, tr, "usr/lib/systemd/system/reset.service", 0o644, "[Service]\nExecStart=/usr/bin/none\n")
	file(t, tr, "etc/systemd/system/reset.service.d/a.conf", 0o644, "[Service]\nExecStart=\nExecStart=/usr/bin/sh\n")
	file(t, tr, "usr/bin/expiry", fs.ModeSetgid|0o755, "x")
	n := *tr.Get("usr/bin/expiry")
	n.GID = 42
	add(t, tr, &n)
	add(t, tr, &tree.Node{Path: "tmp", Mode: fs.ModeDir | fs.ModeSticky | 0o777})
	add(t, tr, &tree.Node{Path: "usr/bin/mine", Mode: fs.ModeSetuid | 0o755, Content: tree.String("x"), Source: "overlay mine"})
	tr.RemoveFunc(func(n *tree.Node) bool { return n.Path == "usr/bin/sh" })
	file(t, tr, "usr/bin/sh", 0o755, "shell")
	return tr
}

func findings(t *testing.T, tr *tree.Tree) []string {
	t.Helper()
	err := Check(context.Background(), tr, Options{})
	if err == nil {
		return nil
	}
	var faults *Error
	if !errors.As(err, &faults) {
		t.Fatal(err)
	}
	var out []string
	for _, f := range faults.Findings {
		out = append(out, f.Path+": "+f.Msg)
	}
	return out
}

func TestSound(t *testing.T) {
	if got := findings(t, sound(t)); got != nil {
		t.Error(strings.Join(got, "\n"))
	}
}

func TestFaults(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(t *testing.T, tr *tree.Tree)
		want  []string
	}{
		{"dangling links", func(t *testing.T, tr *tree.Tree) {
			link(t, tr, "usr/bin/a", "b")
			link(t, tr, "usr/bin/b", "/usr/lib/none")
			link(t, tr, "usr/bin/loop", "loop")
		}, []string{
			"usr/bin/a: is a link to b, and nothing is at /usr/lib/none",
			"usr/bin/b: is a link to /usr/lib/none, and nothing is at /usr/lib/none",
			"usr/bin/loop: is a link to loop, and nothing is at /usr/bin/loop",
		}},
		{"scripts", func(t *testing.T, tr *tree.Tree) {
			file(t, tr, "usr/bin/py", 0o755, "#!/usr/bin/python3 -E\n")
			file(t, tr, "usr/bin/envpy", 0o755, "#!/usr/bin/env python3\n")
			file(t, tr, "usr/bin/empty", 0o755, "#!\n\n")
			file(t, tr, "usr/bin/windows", 0o755, "#!/bin/sh\r\necho\r\n")
		}, []string{
			"usr/bin/envpy: is a script for python3, which is missing; where nothing calls it, leave it out by prune: of an overlay or the board",
			"usr/bin/py: is a script for /usr/bin/python3, which is missing; where nothing calls it, leave it out by prune: of an overlay or the board",
			`usr/bin/windows: has Windows line ends: nothing is called "/bin/sh\r", so it would not start; save it with Unix line ends`,
		}},
		{"units", func(t *testing.T, tr *tree.Tree) {
			file(t, tr, "usr/lib/systemd/system/bad.service", 0o644, "[Service]\n# User=\nUser=mteer\nGroup = none\nExecStart=+/usr/bin/none --x\n")
			file(t, tr, "etc/systemd/system/good.service.d/x.conf", 0o644, "[Service]\nUser=other\n")
			// by name, not by directory; /etc hides its namesake
			file(t, tr, "etc/systemd/system/reset.service.d/b.conf", 0o644, "[Service]\nUser=first\n")
			file(t, tr, "usr/lib/systemd/system/reset.service.d/c.conf", 0o644, "[Service]\nUser=later\n")
			file(t, tr, "usr/lib/systemd/system/reset.service.d/a.conf", 0o644, "[Service]\nUser=hidden\n")
		}, []string{
			"usr/lib/systemd/system/bad.service: ExecStart= runs /usr/bin/none, which is missing",
			"usr/lib/systemd/system/bad.service: User=mteer does not exist",
			"usr/lib/systemd/system/bad.service: Group=none does not exist",
			"usr/lib/systemd/system/good.service: User=other does not exist",
			"usr/lib/systemd/system/reset.service: User=later does not exist",
		}},
		{"rights", func(t *testing.T, tr *tree.Tree) {
			file(t, tr, "usr/bin/evil", fs.ModeSetuid|0o755, "x")
			file(t, tr, "usr/bin/su", fs.ModeSetuid|fs.ModeSetgid|0o755, "x")
			file(t, tr, "usr/bin/passwd", fs.ModeSetgid|0o755, "x")
			file(t, tr, "etc/open", 0o666, "x")
			add(t, tr, &tree.Node{Path: "etc/dir", Mode: fs.ModeDir | 0o777})
			add(t, tr, &tree.Node{Path: "etc/null", Mode: fs.ModeDevice | fs.ModeCharDevice | 0o600})
		}, []string{
			"etc/dir: may be written by everyone (drwxrwxrwx)",
			"etc/null: is a Dc---------; an image has files, directories and links",
			"etc/open: may be written by everyone (-rw-rw-rw-)",
			"usr/bin/evil: runs with the rights of root (urwxr-xr-x), which is not expected of it",
			"usr/bin/passwd: runs with the rights of root (grwxr-xr-x), which is not expected of it",
			"usr/bin/su: runs with the rights of root (ugrwxr-xr-x), which is not expected of it",
		}},
		{"owners", func(t *testing.T, tr *tree.Tree) {
			add(t, tr, &tree.Node{Path: "etc/x", Mode: 0o644, UID: 999, GID: 998, Content: tree.String("")})
			file(t, tr, "etc/group", 0o644, "root:x:0:\nshadow:x:42:\nmeter:x:801:\nagain:x:801:\n")
		}, []string{
			"etc/group: gives the number 801 of again to another as well",
			"etc/x: belongs to user 999, who is not in /etc/passwd",
			"etc/x: belongs to group 998, which is not in /etc/group",
		}},
		{"identity", func(t *testing.T, tr *tree.Tree) {
			file(t, tr, "etc/machine-id", 0o444, "0123\n")
			file(t, tr, "etc/iscsi/initiatorname.iscsi", 0o600, "GenerateName=yes\nInitiatorName=iqn.x\n")
			file(t, tr, "etc/ssh/ssh_host_rsa_key", 0o600, "x")
			file(t, tr, "var/lib/systemd/random-seed", 0o600, "x")
			link(t, tr, "var/lib/dbus/machine-id", "/etc/machine-id")
		}, []string{
			"etc/iscsi/initiatorname.iscsi: names an initiator: two nodes of one name corrupt each other's volumes",
			"etc/machine-id: must be an empty file: a machine id is born on the node",
			"etc/ssh/ssh_host_rsa_key: is a node's identity and must not be in an image",
			"var/lib/systemd/random-seed: is a node's identity and must not be in an image",
		}},
		{"no identity to be born", func(t *testing.T, tr *tree.Tree) {
			tr.Remove("etc/machine-id")
			file(t, tr, "etc/iscsi/initiatorname.iscsi", 0o600, "# GenerateName=yes\n")
		}, []string{
			".: has no /etc/machine-id: it must be there, and empty",
			"etc/iscsi/initiatorname.iscsi: lacks GenerateName=yes, so that iscsid would not start",
		}},
		{"damaged program", func(t *testing.T, tr *tree.Tree) {
			file(t, tr, "usr/bin/torn", 0o755, "\x7fELF\x02\x01\x01")
		}, []string{"usr/bin/torn: is a damaged ELF file: "}},
	} {
		t.Run(c.name, func(t *testing.T) {
			tr := sound(t)
			c.spoil(t, tr)
			got := findings(t, tr)
			for i := range got {
				if i < len(c.want) && strings.HasSuffix(c.want[i], ": ") && strings.HasPrefix(got[i], c.want[i]) {
					got[i] = c.want[i]
				}
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestErrorNamesSources(t *testing.T) {
	tr := sound(t)
	add(t, tr, &tree.Node{Path: "etc/open", Mode: 0o666, Content: tree.String(""), Source: "foo 1.2-3"})
	err := Check(context.Background(), tr, Options{})
	const want = "the finished root has 1 faults:\n/etc/open (foo 1.2-3): may be written by everyone (-rw-rw-rw-)"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestUnreadable(t *testing.T) {
	tr := sound(t)
	tr.Remove("etc/passwd")
	if err := Check(context.Background(), tr, Options{}); err == nil || !strings.Contains(err.Error(), "etc/passwd") {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := Check(ctx, sound(t), Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestRemembered(t *testing.T) {
	tr := sound(t)
	file(t, tr, "usr/bin/py", 0o755, "#!/usr/bin/python3\n")
	known, built := map[string][]byte{}, 0
	remember := func(_ context.Context, kind, key string, compute func() ([]byte, error)) (b []byte, err error) {
		if known[kind+key] == nil {
			built++
			known[kind+key], err = compute()
		}
		return known[kind+key], err
	}
	check := func(wantBuilt int) {
		t.Helper()
		err := Check(context.Background(), tr, Options{Remember: remember})
		if err == nil || !strings.Contains(err.Error(), "python3") || built != wantBuilt {
			t.Errorf("built %d times, want %d: %v", built, wantBuilt, err)
		}
	}
	check(1)
	check(1)
	file(t, tr, "usr/bin/other", 0o755, "#!/usr/bin/python3\n# new\n")
	check(2)
}
