package firstboot

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/firstboot/sshkey"
)

// identity: the node has its name, what must be unique to it was generated on
// it, and node.yaml's settings for network, time zone, logins and files are in
// place.

func (m *machine) identityDone(ctx context.Context) (bool, error) {
	if err := m.checkBelongs(); err != nil {
		return false, err
	}
	groups, err := m.settings()
	if err != nil {
		return false, err
	}
	asks := []func() (bool, error){m.named, m.born, m.zoned, m.placeHeld}
	for _, g := range groups {
		asks = append(asks, func() (bool, error) { return m.converged(g) })
	}
	for _, ask := range asks {
		if ok, err := ask(); err != nil || !ok {
			return false, err
		}
	}
	return true, nil
}

func (m *machine) identityDo(ctx context.Context) error {
	if err := m.checkBelongs(); err != nil {
		return err
	}
	if err := m.write(text644(ownerFile, m.cfg.Node+"\n")); err != nil {
		return err
	}
	if err := m.bear(); err != nil {
		return err
	}
	if err := m.checkZone(); err != nil {
		return err
	}
	if err := m.Files.Symlink(".."+zoneDir+m.cfg.Timezone, "/etc/localtime"); err != nil {
		return err
	}
	if err := m.System.SetHostname(m.cfg.Node); err != nil {
		return err
	}
	if err := m.holdPlace(); err != nil {
		return err
	}
	groups, err := m.settings()
	if err != nil {
		return err
	}
	for _, g := range groups {
		if err := m.converge(ctx, g); err != nil {
			return err
		}
	}
	return nil
}

// checkBelongs compares node.yaml with the image and the data partition.
func (m *machine) checkBelongs() error {
	release, err := m.read("/usr/lib/os-release")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if board, ok := contract.ImageBoard(osRelease(release, "IMAGE_ID")); ok && m.cfg.Board != "" && m.cfg.Board != board {
		return problem("wrong-board", m.cfg.Board, board)
	}
	owner, err := m.read(ownerFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if name := strings.TrimSpace(string(owner)); err == nil && name != "" && name != m.cfg.Node {
		return problem("foreign-data", name, m.cfg.Node)
	}
	return err
}

// osRelease returns a value of os-release(5).
func osRelease(data []byte, key string) string {
	for lines := bufio.NewScanner(bytes.NewReader(data)); lines.Scan(); {
		if v, ok := strings.CutPrefix(lines.Text(), key+"="); ok {
			return strings.Trim(v, `"'`)
		}
	}
	return ""
}

func (m *machine) named() (bool, error) {
	name, err := m.System.Hostname()
	if err != nil || name != m.cfg.Node {
		return false, err
	}
	owner, err := m.read(ownerFile)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return strings.TrimSpace(string(owner)) == m.cfg.Node, err
}

const zoneDir = "/usr/share/zoneinfo/"

func (m *machine) checkZone() error {
	ok, err := m.exists(zoneDir + m.cfg.Timezone)
	if err == nil && !ok {
		return problem("bad-field", "field \"timezone\": "+m.cfg.Timezone+" is not in this image")
	}
	return err
}

func (m *machine) zoned() (bool, error) {
	if err := m.checkZone(); err != nil {
		return false, err
	}
	target, err := m.Files.Readlink("/etc/localtime")
	if err != nil { // absent, or not a symlink: it will be replaced
		return false, nil
	}
	return target == ".."+zoneDir+m.cfg.Timezone, nil
}

// birth is a file that every node must have with content of its own.
type birth struct {
	path string
	mode fs.FileMode
	ok   func([]byte) bool
	make func(random io.Reader) ([]byte, error)
}

const (
	hostKeyFile  = "/etc/ssh/ssh_host_ed25519_key"
	nodePassword = "/etc/rancher/node/password"
)

var births = []birth{
	// machine-id(5); systemd leaves "uninitialized" where it could not write.
	{"/etc/machine-id", 0o444, isMachineID, newMachineID},
	// The image only has open-iscsi's request for a name there:
	// GenerateName=yes.
	{"/etc/iscsi/initiatorname.iscsi", 0o600, isInitiator, newInitiator},
	{"/etc/nvme/hostnqn", 0o644, notEmpty, newHostNQN},
	{"/etc/nvme/hostid", 0o644, notEmpty, newHostID},
	{hostKeyFile, 0o600, notEmpty, sshkey.NewEd25519},
	{"/etc/ssh/ssh_host_ecdsa_key", 0o600, notEmpty, sshkey.NewECDSA},
	// k3s would make it at its first start, but without fsync: a power cut can
	// leave it empty while the servers remember it. They would then never let
	// this node in again ("Node password rejected").
	{nodePassword, 0o600, notEmpty, newNodePassword},
}

func (m *machine) isBorn(b birth) (bool, error) {
	data, err := m.read(b.path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if given := m.givenBirth(b); given != nil {
		return bytes.Equal(data, given), err
	}
	return b.ok(data), err
}

// givenBirth returns what node.yaml brings for b, nil if it brings nothing and
// the content is to be generated.
func (m *machine) givenBirth(b birth) []byte {
	for _, f := range hostKeyFiles(m.cfg) {
		if f.path == b.path {
			return f.data
		}
	}
	return nil
}

// hostKeyFiles is the SSH host key that node.yaml brings, if it does.
func hostKeyFiles(c *node.Config) []file {
	if c.SSH.HostKey.Empty() {
		return nil
	}
	return []file{{path: hostKeyFile, data: []byte(strings.TrimSpace(c.SSH.HostKey.Reveal()) + "\n"), mode: 0o600}}
}

func (m *machine) born() (bool, error) {
	all, err := m.earlyBirths()
	if err != nil {
		return false, err
	}
	for _, b := range all {
		if ok, err := m.isBorn(b); err != nil || !ok {
			return false, err
		}
	}
	return m.publicKeys(m.matches)
}

func (m *machine) bear() error {
	all, err := m.earlyBirths()
	if err != nil {
		return err
	}
	for _, b := range all {
		if err := m.bearOne(b); err != nil {
			return err
		}
	}
	_, err = m.publicKeys(func(f file) (bool, error) {
		return true, m.ensure([]file{f})
	})
	return err
}

func (m *machine) bearOne(b birth) error {
	ok, err := m.isBorn(b)
	if err != nil || ok {
		return err
	}
	data := m.givenBirth(b)
	if data == nil {
		if data, err = b.make(m.Random); err != nil {
			return fmt.Errorf("make %s: %w", b.path, err)
		}
	}
	return m.write(file{path: b.path, data: data, mode: b.mode})
}

// publicKeys calls visit for the .pub file of each SSH host key, until visit
// returns false.
func (m *machine) publicKeys(visit func(file) (bool, error)) (bool, error) {
	for _, b := range births {
		if !strings.HasPrefix(path.Base(b.path), "ssh_host_") {
			continue
		}
		private, err := m.read(b.path)
		if err != nil {
			return false, err
		}
		public, err := sshkey.Public(private)
		if err != nil {
			return false, fmt.Errorf("%s: %w", b.path, err)
		}
		if ok, err := visit(file{path: b.path + ".pub", data: public, mode: 0o644}); err != nil || !ok {
			return false, err
		}
	}
	return true, nil
}

func notEmpty(data []byte) bool { return len(bytes.TrimSpace(data)) > 0 }

func isInitiator(data []byte) bool {
	return bytes.HasPrefix(data, []byte("InitiatorName=")) || bytes.Contains(data, []byte("\nInitiatorName="))
}

func isMachineID(data []byte) bool {
	b, err := hex.DecodeString(strings.TrimSpace(string(data)))
	return err == nil && len(b) == 16 && !bytes.Equal(b, make([]byte, 16))
}

func randomHex(random io.Reader, n int) (string, error) {
	b := make([]byte, n)
	_, err := io.ReadFull(random, b)
	return hex.EncodeToString(b), err
}

func newMachineID(random io.Reader) ([]byte, error) {
	s, err := newUUID(random)
	return []byte(strings.ReplaceAll(s, "-", "") + "\n"), err
}

func newInitiator(random io.Reader) ([]byte, error) {
	s, err := randomHex(random, 6)
	return []byte("InitiatorName=iqn.1993-08.org.debian:01:" + s + "\n"), err
}

func newHostNQN(random io.Reader) ([]byte, error) {
	s, err := newUUID(random)
	return []byte("nqn.2014-08.org.nvmexpress:uuid:" + s + "\n"), err
}

func newHostID(random io.Reader) ([]byte, error) {
	s, err := newUUID(random)
	return []byte(s + "\n"), err
}

// newNodePassword has the form that k3s itself writes (pkg/agent/config).
func newNodePassword(random io.Reader) ([]byte, error) {
	s, err := randomHex(random, 16)
	return []byte(s + "\n"), err
}

// newUUID follows RFC 9562, version 4.
func newUUID(random io.Reader) (string, error) {
	var b [16]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return "", err
	}
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:]), nil
}

// extraFiles are the files that node.yaml lists. A sealed node.yaml no longer
// has their content; what was written to the node stays.
func extraFiles(cfg *node.Config) ([]file, error) {
	var out []file
	for _, f := range cfg.Files {
		if cfg.Sealed && f.Content.Empty() {
			continue
		}
		uid, gid, err := f.OwnerIDs()
		if err != nil {
			return nil, err
		}
		out = append(out, file{path: f.Path, data: []byte(f.Content.Reveal()), mode: fs.FileMode(f.Mode), uid: uid, gid: gid})
	}
	return out, nil
}
