//go:build e2e

package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/going-mobile/imagebuilder/image/qemu"
)

// host is where QEMU's user network has this computer.
const host = "10.0.2.2"

// TestANodeMountsWhatLonghornServes does by hand what Longhorn's engine does on a
// node: a disk over iSCSI, encrypted by LUKS, and an export over NFS 4.1, from real
// servers of both.
func TestANodeMountsWhatLonghornServes(t *testing.T) {
	for _, board := range []string{"generic-amd64", "generic-arm64"} {
		t.Run(board, func(t *testing.T) {
			target, lun := iscsiTarget(t)
			export := nfsServer(t)
			c := newComputer(t, board, image(t, board), 8*gib)
			c.personalise()
			c.powerOn()
			c.untilRunning()
			c.isHealthy()
			c.encryptsOverISCSI(target)
			c.sharesOverNFS(export)
			if got := c.sh("findmnt -no PROPAGATION /; findmnt -no PROPAGATION /var"); got != "shared\nshared" {
				t.Errorf("mounts of / and /var are %q", got)
			}
			c.powerOff()
			head, err := os.ReadFile(lun)
			if err != nil || !bytes.HasPrefix(head, []byte("LUKS\xba\xbe")) || bytes.Contains(head, []byte("planted")) {
				t.Errorf("the target's disk is not encrypted (%v)", err)
			}
		})
	}
}

const iqn = "iqn.2026-11.net.example:volume"

// encryptsOverISCSI gives the record of the target by hand: discovery would tell the
// address that the server has for itself.
func (c *computer) encryptsOverISCSI(target string) {
	c.t.Helper()
	node := fmt.Sprintf("iscsiadm -m node -T %s -p %s ", iqn, target)
	disk := c.sh(node + "-o new >/dev/null && " + node + "--login >/dev/null && udevadm settle && ls /dev/disk/by-path/*-lun-1")
	got := c.sh(fmt.Sprintf(`set -e; echo -n secret >/run/key
cryptsetup luksFormat -q --pbkdf pbkdf2 --pbkdf-force-iterations 1000 --key-file /run/key %[1]s
cryptsetup open --key-file /run/key %[1]s volume
printf planted | dd of=/dev/mapper/volume conv=fsync status=none
udevadm settle; cryptsetup close volume
cryptsetup open --key-file /run/key %[1]s volume
head -c 7 /dev/mapper/volume
udevadm settle; cryptsetup close volume; rm /run/key`, disk))
	if got != "planted" {
		c.t.Errorf("the encrypted disk has %q", got)
	}
	c.sh(node + "--logout >/dev/null && " + node + "-o delete")
}

func (c *computer) sharesOverNFS(port string) {
	c.t.Helper()
	mount := fmt.Sprintf("mount -t nfs -o vers=4.1,port=%s %s:/share /run/share", port, host)
	got := c.sh("mkdir -p /run/share && " + mount + " && echo planted >/run/share/file && umount /run/share && " +
		mount + " && cat /run/share/file && grep -o vers=4.1 /proc/mounts && umount /run/share")
	if got != "planted\nvers=4.1" {
		c.t.Errorf("the share has %q", got)
	}
}

// iscsiTarget serves a file with tgt, to this computer alone, and returns its address
// for a guest.
func iscsiTarget(t *testing.T) (address, file string) {
	t.Helper()
	dir, port := shortDir(t), freePort(t)
	file = filepath.Join(dir, "lun")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, 64<<20); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TGT_IPC_SOCKET", filepath.Join(dir, "ipc"))
	serve(t, port, "tgtd", "-f", "--iscsi", "portal=127.0.0.1:"+port)
	for _, args := range []string{
		"--op new --mode target --tid 1 -T " + iqn,
		"--op new --mode logicalunit --tid 1 --lun 1 -b " + file,
		"--op bind --mode target --tid 1 -I ALL",
	} {
		run(t, "tgtadm", append([]string{"--lld", "iscsi"}, strings.Fields(args)...)...)
	}
	return host + ":" + port, file
}

// nfsServer serves a file system in memory with Ganesha, version 4 alone, which
// needs no port mapper, and returns its port.
func nfsServer(t *testing.T) string {
	t.Helper()
	dir, port := shortDir(t), freePort(t)
	conf := filepath.Join(dir, "conf")
	text := fmt.Sprintf(`NFS_CORE_PARAM { Protocols = 4; NFS_Port = %s; Bind_addr = 127.0.0.1; Enable_NLM = false; Enable_RQUOTA = false; }
NFSV4 { Graceless = true; RecoveryRoot = %q; Minor_Versions = 1; }
EXPORT { Export_Id = 1; Path = /share; Pseudo = /share; Protocols = 4; Access_Type = RW; Squash = none; SecType = sys; FSAL { Name = MEM; } }
MEM { Inode_Size = 65536; } # else it forgets what is written
`, port, dir)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	serve(t, port, "ganesha.nfsd", "-F", "-f", conf, "-L", filepath.Join(dir, "log"), "-p", filepath.Join(dir, "pid"))
	return port
}

// shortDir is one whose name leaves room for a socket, unix(7).
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "e2e")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func freePort(t *testing.T) string {
	t.Helper()
	port, err := qemu.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(port)
}

// serve starts a server for this test and waits until it listens.
func serve(t *testing.T, port, program string, args ...string) {
	t.Helper()
	cmd := exec.Command(program, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v (run make deps)", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
	})
	for begin := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		listens, err := exec.Command("ss", "-Hltn", "sport = :"+port).Output()
		if err == nil && len(listens) > 0 {
			return
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("%s: %v\n%s", program, err, out.String())
		default:
		}
		if time.Since(begin) > time.Minute {
			t.Fatalf("%s listens at no port %s after a minute (%v)\n%s", program, port, err, out.String())
		}
	}
}
