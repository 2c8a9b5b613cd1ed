package accounts

import (
	"strings"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/image/overlay"
	"github.com/going-mobile/imagebuilder/image/rootfs/confdir"
)

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// table has the users that matter here of every system.
func table(t *testing.T) *Table {
	t.Helper()
	a := New(epoch)
	err := a.AddMasters("root:*:0:0:root:/root:/bin/bash\nnobody:*:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
		"root:*:0:\naudio:*:29:\nshadow:*:42:\nnogroup:*:65534:\n")
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestAccountsRefuse(t *testing.T) {
	for name, c := range map[string]struct {
		conf string
		want []string
	}{
		"unpinned user":   {`u newcomer -`, []string{"usr/lib/sysusers.d/x.conf", `user "newcomer"`, "no pinned number", "pins.go", "overlay"}},
		"unpinned group":  {`g newcomer -`, []string{`group "newcomer"`, "no pinned number"}},
		"taken uid":       {`u intruder 65534 -`, []string{"intruder", "clashes", "nogroup"}},
		"no such group":   {`m root wheel`, []string{"root", "wheel"}},
		"unknown primary": {`u x 700:wheel`, []string{"wheel"}},
		"specifier":       {`u x%i 700`, []string{"specifiers"}},
		"by file":         {`g x /etc/x`, []string{"owner of a file"}},
		"open quote":      {`u x 700 "gecos`, []string{"quote"}},
		"bad type":        {`z x 700`, []string{"unknown type"}},
		"colon":           {`u x 700 "a:b"`, []string{"colon"}},
		"too many":        {`u x 700 a b c d`, []string{"2 to 6 fields"}},
		"bad number":      {`u x 4294967295`, []string{"4294967295"}},
	} {
		t.Run(name, func(t *testing.T) {
			err := table(t).AddSysusers([]confdir.File{{Path: "usr/lib/sysusers.d/x.conf", Text: c.conf + "\n"}})
			if err == nil {
				t.Fatal("accepted")
			}
			for _, word := range c.want {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("%q is not in %q", word, err)
				}
			}
		})
	}
}

// TestAUsersGroupIsItsOwn: a group of the user's name is the user's.
func TestAUsersGroupIsItsOwn(t *testing.T) {
	add := func(groups []overlay.Group, gid uint32) (*Table, error) {
		a := table(t)
		return a, a.AddOverlays([]*overlay.Overlay{{Name: "o", Groups: groups, Users: []overlay.User{{Name: "meter", UID: 801, GID: gid}}}})
	}
	if a, err := add(nil, 802); err != nil || a.Group("meter").GID != 802 {
		t.Error(err)
	}
	if a, err := add([]overlay.Group{{Name: "readers", GID: 802}}, 802); err != nil || a.Group("meter") != nil {
		t.Error(err)
	}
	_, err := add([]overlay.Group{{Name: "meter", GID: 900}}, 802)
	if err == nil || !strings.Contains(err.Error(), "overlay o: user meter: a group of that name has the gid 900, not 802") {
		t.Error(err)
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

func TestBrokenMastersAreRefused(t *testing.T) {
	for _, line := range []string{"root", "root:*:zero:0:::", ":*:1:1:::", "a:*:1:x:::"} {
		if err := New(epoch).AddMasters(line, ""); err == nil {
			t.Errorf("passwd takes %q", line)
		}
	}
	for _, line := range []string{"root:*:0", "root:*:-1:", ":*:1:"} {
		if err := New(epoch).AddMasters("", line); err == nil {
			t.Errorf("group takes %q", line)
		}
	}
}

func FuzzSysusers(f *testing.F) {
	f.Add("u sshd -:nogroup \"sshd user\" /run/sshd\ng render -\nm sshd render\nr - 500-900")
	f.Add(`u x 700 'a \' b' / /bin/sh`)
	f.Fuzz(func(t *testing.T, conf string) {
		a := table(t)
		if a.AddSysusers([]confdir.File{{Path: "usr/lib/sysusers.d/x.conf", Text: conf}}) != nil {
			return
		}
		// Whatever was taken must be read back as the same accounts.
		again := New(epoch)
		if err := again.AddMasters(a.passwd(), a.groupFile()); err != nil {
			t.Fatal(err)
		}
		if again.passwd() != a.passwd() || again.groupFile() != a.groupFile() {
			t.Errorf("accounts change when read back:\n%s%s", a.passwd(), a.groupFile())
		}
	})
}
