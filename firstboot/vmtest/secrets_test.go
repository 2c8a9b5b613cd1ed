//go:build vm && linux

package vmtest

import (
	"bytes"
	"errors"
	"io"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/going-mobile/imagebuilder/image/inspect"
)

// hidesSecrets searches what a running node shows: its journal, its processes and every file that
// exists in memory only. The key itself is not sent to the node: the search would find it there.
func (m *machine) hidesSecrets(key string) {
	m.t.Helper()
	secret := tail(key)
	for what, command := range map[string]string{
		"the journal":   "journalctl --all --no-pager -o export",
		"the processes": "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null",
		"/run and /tmp": "tar -C / -cf - run tmp dev/shm 2>/dev/null",
		"/boot":         "tar -C / -cf - boot/firmware/node.yaml boot/firmware/STATUS.TXT",
		"core dumps":    "find / -xdev '(' -name core -o -name 'core.[0-9]*' -o -path '*/coredump/*' ')' -type f",
	} {
		out := m.sh("%s || true", command)
		if what != "core dumps" && len(out) < 100 {
			m.t.Errorf("%s: only %q was found", what, out)
		}
		for name, s := range map[string]string{"the key": secret, "the token": serverToken, "the agents' token": agentToken} {
			if strings.Contains(out, s) {
				m.t.Errorf("%s: %s shows %s", m.config.Board.Name, what, name)
			}
		}
	}
	want := []string{"/etc/rancher/k3s/token", "/var/.overlay/etc/upper/rancher/k3s/token"}
	if m.realK3s() { // a server writes it down for its agents and for itself
		want = append(want, "/var/lib/rancher/k3s/server/cred/passwd", "/var/lib/rancher/k3s/server/token")
	}
	got := m.sh(`find /var /run /etc /boot/firmware /tmp /root -xdev -type f -print0 | xargs -0 grep -lF -f /etc/rancher/k3s/token | sort -u`)
	if !slices.Equal(strings.Fields(got), want) {
		m.t.Errorf("the token is in %q, want %q", got, want)
	}
}

// tail is the secret part of a key, "hskey-auth-ID-SECRET".
func tail(key string) string { return key[len(key)-60:] }

// diskHides searches every byte of the disk of a machine that is off.
func (m *machine) diskHides(key string) {
	m.t.Helper()
	if at := m.find(tail(key)); len(at) > 0 {
		m.t.Errorf("the key is on the disk, at bytes %v", at)
	}
	if n := m.onlyOnData(serverToken); n != 1 && !m.realK3s() {
		m.t.Errorf("the token is on the disk %d times, want it once", n)
	}
}

// onlyOnData wants a secret nowhere but on the data partition of a machine
// that is off, and returns how often it is there.
func (m *machine) onlyOnData(secret string) int {
	m.t.Helper()
	img, err := inspect.Open(m.disk())
	if err != nil {
		m.t.Fatal(err)
	}
	defer img.Close()
	data := img.Layout.Partitions[len(img.Layout.Partitions)-1]
	at := m.find(secret)
	if len(at) == 0 || at[0] < data.Start {
		m.t.Errorf("%s is on the disk at bytes %v; want it on the data partition alone, from %d", secret, at, data.Start)
	}
	return len(at)
}

// find returns the offsets of a text on the disk. Holes of the sparse file
// are passed over.
func (m *machine) find(text string) (found []int64) {
	m.t.Helper()
	f, err := os.Open(m.disk())
	if err != nil {
		m.t.Fatal(err)
	}
	defer f.Close()
	buf := make([]byte, 4<<20)
	for off := int64(0); ; {
		off, err = unix.Seek(int(f.Fd()), off, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return found
		}
		if err != nil {
			m.t.Fatal(err)
		}
		n, err := f.ReadAt(buf, off)
		if err != nil && err != io.EOF {
			m.t.Fatal(err)
		}
		for from := 0; ; {
			i := bytes.Index(buf[from:n], []byte(text))
			if i < 0 {
				break
			}
			found = append(found, off+int64(from+i))
			from += i + len(text)
		}
		if n < len(buf) {
			return found
		}
		off += int64(n - len(text) + 1)
	}
}
