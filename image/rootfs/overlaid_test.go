package rootfs

import (
	"context"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/image/overlay"
)

// theirTmpfiles are lines of packages that want to make what overlays have.
const theirTmpfiles = `
	usr/lib/tmpfiles.d/provision.conf: # credentials\nd- /root :0700 root :root -\nd- /root/.ssh :0700 root :root -\nf^ /root/.ssh/authorized_keys :0600 root :root - ssh.authorized_keys.root\n
	usr/lib/tmpfiles.d/pkg.conf: d /var/lib/pkg 0750 root shadow -\nf /var/lib/pkg/file 0600 - - -\nL /var/lib/pkg/link - - - - there\nC /var/lib/pkg/copy - - - -\nf /var/lib/pkg/log - - - -\n
	usr/lib/systemd/system/static.service: [Service]\nExecStart=/x\n`

// withOverlays finishes a root of a package with theirTmpfiles.
func withOverlays(t *testing.T, overlays ...*overlay.Overlay) (*state, error) {
	in := smallImage(t)
	in.Packages = append(in.Packages, packageOf(t, "theirs", theirTmpfiles+"\n usr/lib/pkg/ 0700 0 0\n var/lib/pkg/ 0755 0 0\n var/lib/pkg/log:"))
	in.Overlays = overlays
	tr, err := Finish(context.Background(), in)
	return &state{tree: tr}, err
}

// TestAnOverlaysFilesReachVar: root's ssh key is one, which systemd's own line for a
// credential, that hardly any node has, once threw away.
func TestAnOverlaysFilesReachVar(t *testing.T) {
	s, err := withOverlays(t, overlayOf(t, "mine", `
		root/.ssh/authorized_keys 0600 0 0: ssh-ed25519 AAAA
		var/lib/pkg/file: content
		var/lib/pkg/link: content
		var/lib/pkg/copy -> elsewhere`))
	noErr(t, err)
	wantTree(t, s.tree, `
		usr/share/factory/var/lib/pkg/file: content
		usr/share/factory/var/lib/pkg/link: content
		usr/share/factory/var/roothome/.ssh/authorized_keys 0600 0 0: ssh-ed25519 AAAA`, "usr/share/factory")
	text, _ := s.text(skeletonFile)
	for line, want := range map[string]int{
		"C /var/roothome/.ssh/authorized_keys 0600 root root -": 1, "C /var/lib/pkg/file 0644 root root -": 1,
		"C /var/lib/pkg/link 0644 root root -": 1, "L /var/lib/pkg/copy - - - - elsewhere": 1,
		"/var/lib/pkg/log": 0, "d /var/roothome/.ssh ": 0, // by the packages' lines
	} {
		if got := strings.Count(text, line); got != want {
			t.Errorf("the skeleton has %q %d times:\n%s", line, got, text)
		}
	}
	wantTree(t, s.tree, `
		etc/tmpfiles.d/home.conf: # /home and /root are links to /var/home and /var/roothome.\nq /srv 0755 - - -\n
		etc/tmpfiles.d/pkg.conf: d /var/lib/pkg 0750 root shadow -\nf /var/lib/pkg/log - - - -\n
		etc/tmpfiles.d/provision.conf: # credentials\nd- /var/roothome :0700 root :root -\nd- /var/roothome/.ssh :0700 root :root -\n`, "etc/tmpfiles.d")
}

// TestALineForACredential makes nothing on a node that has none.
func TestALineForACredential(t *testing.T) {
	s := stateOf(t, masters+`
		usr/lib/tmpfiles.d/x.conf: f^ /var/lib/empty - - - - cred\nf /var/lib/made - - - -\n
		var/lib/empty:
		var/lib/made:`, "base-passwd")
	noErr(t, makeAccounts(s, nil))
	noErr(t, varSkeleton(s))
	text, _ := s.text(skeletonFile)
	if !strings.Contains(text, "f /var/lib/empty 0644 root root -\n") || strings.Contains(text, "/var/lib/made") {
		t.Errorf("%s", text)
	}
}

// TestWhatAnOverlayBringsForNothing is refused by its name.
func TestWhatAnOverlayBringsForNothing(t *testing.T) {
	for brought, want := range map[string]string{
		"etc/passwd: me":                       "/etc/passwd",
		"etc/gshadow: me":                      "declare groups:",
		"etc/machine-id: 1":                    "makes its own",
		"usr/lib/udev/hwdb.d/70-my.hwdb: x":    "no hwdb",
		"usr/lib/systemd/catalog/x: x":         "no catalog",
		"var/lib/pkg/ 0700 0 0":                "/etc/tmpfiles.d/pkg.conf",
		"root/ 0750 0 0":                       "is 0700 0:0 in the image",
		"etc/ssl/certs/ca-certificates.crt: x": "/usr/local/share/ca-certificates",
		"usr/lib/systemd/system-preset/99-default.preset: enable *":                                  "declare enable:",
		"var/lib/app/ 0750 7 7\n var/lib/app/sub/f: x":                                               "declare /var/lib/app/sub under dirs: with the owner of /var/lib/app",
		"etc/systemd/system/x.target.wants/static.service -> /usr/lib/systemd/system/static.service": "/usr/lib/systemd/system",
	} {
		_, err := withOverlays(t, overlayOf(t, "mine", brought))
		wantErr(t, err, "overlay mine", "/"+strings.Fields(strings.TrimSuffix(brought, "/"))[0][:4], want)
	}
	masks := overlayOf(t, "other", "")
	masks.Mask = []string{"u.service"}
	_, err := withOverlays(t, overlayOf(t, "mine", "etc/systemd/system/u.service: [Service]\\nExecStart=/x\\n"), masks)
	wantErr(t, err, "overlay mine", "that an overlay masks")
	for _, fine := range []string{"root/.ssh/ 0700 0 0", "var/lib/pkg/ 0750 0 42", "var/lib/own/ 0700 0 0",
		"var/lib/app/ 0750 7 7\n var/lib/app/f: x", "var/lib/app/ 0750 7 7\n var/lib/app/sub/ 0755 7 7\n var/lib/app/sub/f: x",
		"usr/lib/systemd/system/x.target.wants/static.service -> ../static.service",
		"etc/tmpfiles.d/pkg.conf: # mine\\n\n var/lib/pkg/ 0700 0 0"} {
		_, err := withOverlays(t, overlayOf(t, "mine", fine))
		noErr(t, err)
	}
}

// TestADeclaredDirectoryCounts even where it says what any other has.
func TestADeclaredDirectoryCounts(t *testing.T) {
	s, err := withOverlays(t, overlayOf(t, "mine", "usr/lib/pkg/ 0755 0 0\n lib/ 0755 0 0"))
	noErr(t, err)
	if n := s.tree.Get("usr/lib/pkg"); unixPerm(n.Mode) != 0o755 {
		t.Errorf("/usr/lib/pkg is %v", n.Mode)
	}
	if n := s.tree.Get("lib"); n.Link != "usr/lib" {
		t.Errorf("/lib is %v", n.Mode)
	}
	leads, err := withOverlays(t, overlayOf(t, "mine", "usr/lib/pkg/file: x"))
	noErr(t, err)
	if n := leads.tree.Get("usr/lib/pkg"); unixPerm(n.Mode) != 0o700 {
		t.Errorf("a directory that leads to a file is %v", n.Mode)
	}
}
