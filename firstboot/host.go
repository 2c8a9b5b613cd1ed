package firstboot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"strings"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/disks"
	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/firstboot/secret"
	"github.com/going-mobile/imagebuilder/firstboot/vault"
)

// Host is everything outside this package. The steps reach the world through
// nothing else, so that a test can break every single call.
type Host struct {
	Files    Files
	System   System
	Units    Units
	Tailnet  Tailnet
	Net      Net
	Clock    Clock
	Programs Programs
	Slot     Slot
	Disks    Disks
	Crypt    Crypt
	TPM      TPM
	Shares   Shares
	// Random is where identities and keys come from; it must not block for entropy without bound.
	Random io.Reader
}

// Files is the file system. Names are absolute and slash-separated.
type Files interface {
	Open(name string) (io.ReadCloser, error)
	// Stat follows symbolic links.
	Stat(name string) (fs.FileInfo, error)
	Readlink(name string) (string, error)
	// List returns the names in a directory, sorted; none if it is absent.
	List(dir string) ([]string, error)
	// Put replaces a file as a whole or not at all, durably, and makes missing
	// parent directories (0755).
	Put(name string, r io.Reader, a Attr) error
	// Overwrite durably overwrites a file's bytes in place, without changing its length: the old
	// content is gone from the medium.
	Overwrite(name string, data []byte) error
	// Rename durably moves a file to another name in the same directory, replacing what has it.
	Rename(name, to string) error
	// Symlink makes or replaces a symbolic link.
	Symlink(target, name string) error
	Remove(name string) error // absent is fine
	// Sync flushes the file system that holds name to the medium, with what other programs wrote.
	Sync(name string) error
	// Space returns the size of name's file system and what is free in it, in bytes.
	Space(name string) (total, free int64, err error)
}

// Unfinished is the prefix of the temporary file that an interrupted Put leaves beside its
// target.
const Unfinished = ".firstboot-"

// Attr is a file's mode and owner. The owner of a zero value is root.
type Attr struct {
	Mode     fs.FileMode
	UID, GID int
}

// System has the running kernel's host name.
type System interface {
	Hostname() (string, error)
	SetHostname(string) error
}

// Units is systemd.
type Units interface {
	// Active also counts a unit that is still starting. Ready wants one whose start has
	// succeeded.
	Active(ctx context.Context, unit string) (bool, error)
	Ready(ctx context.Context, unit string) (bool, error)
	// Start and Restart return when the job is queued, not when it is done.
	Start(ctx context.Context, unit string) error
	Restart(ctx context.Context, unit string) error
	Reload(ctx context.Context) error
	// Failed lists the units that have failed.
	Failed(ctx context.Context) ([]string, error)
	// Log returns the last lines that a unit logged in this boot.
	Log(ctx context.Context, unit string, lines int) (string, error)
}

// Tailnet is tailscaled's LocalAPI.
type Tailnet interface {
	Status(ctx context.Context) (TailnetStatus, error)
	// Up reconnects a node that is a member already, and joins one that is not with j.Key. It
	// returns when the node runs, with a *RefusedError when the server said no, or when ctx ends.
	// After an error tailscaled goes on trying the key, and another Up waits for that same
	// attempt. Forget ends it, for a key that can only be refused: tailscaled would try it twice
	// a minute, with 100,000 lines a day in the journal.
	Up(ctx context.Context, j Join) error
	Forget(ctx context.Context) error
}

// Join says which tailnet to join, and as whom.
type Join struct {
	URL      string
	Key      secret.String // empty: reconnect only
	Hostname string
}

// TailnetStatus is what tailscaled reports about this node.
type TailnetStatus struct {
	State   string // NoState, NeedsLogin, Stopped, Starting, Running
	HaveKey bool   // it was a member and may be one still
	// Asked means that the server wants a login: it does not know this node. tailscaled may still
	// run from the network map that it remembers.
	Asked  bool
	Name   string // the first label of the node's name in the tailnet
	IPs    []netip.Addr
	Tags   []string
	Owner  int64 // ID of the user whose node it is; means nothing if the node has tags
	Health []string
	Peers  []Peer
}

// Peer is another member of the tailnet.
type Peer struct {
	Name   string
	IPs    []netip.Addr
	Tags   []string
	Owner  int64
	Online bool
}

// RefusedError is the answer of a Headscale server, or of a proxy in front of it, that refuses
// the node.
type RefusedError struct{ Message string }

func (e *RefusedError) Error() string { return "the Headscale server refused: " + e.Message }

// ErrNoObject is the error of Net.API for an object that does not exist.
var ErrNoObject = errors.New("the cluster has no such thing")

// EtcdVotes is the path on which etcd answers 200 if it is a member with a vote, of a cluster
// that has a leader. Unlike /health, it fails while the member is a learner (etcd 3.6, etcdhttp).
const EtcdVotes = "/readyz"

// Net is the local network and what can be reached through it.
type Net interface {
	Links(ctx context.Context) ([]Link, error)
	// Resolve looks a host name up.
	Resolve(ctx context.Context, host string) ([]netip.Addr, error)
	// Control asks whether a Headscale server answers at an address, trusting
	// the given PEM certificates besides the system's. It ends by itself, within
	// 20 s.
	Control(ctx context.Context, url, ca string) error
	// Supervisor asks whether k3s serves a cluster on a port of a peer.
	Supervisor(ctx context.Context, at netip.AddrPort) (bool, error)
	// Reach opens a TCP connection and sends nothing.
	Reach(ctx context.Context, at netip.AddrPort) error
	// API gets a path of the cluster's API, with the rights that a kubeconfig gives. The error is
	// ErrNoObject if there is no such object.
	API(ctx context.Context, kubeconfig, path string) ([]byte, error)
	// Patch applies a JSON merge patch to an object (RFC 7386).
	Patch(ctx context.Context, kubeconfig, path string, merge []byte) error
	// Apply makes an object what it must be, whoever wrote to it before. It is a server-side
	// apply, so that the API keeps no copy of the object in an annotation.
	Apply(ctx context.Context, kubeconfig, path string, object []byte) error
	// Etcd gets a path of this machine's etcd that needs no login: EtcdVotes, or /metrics.
	Etcd(ctx context.Context, path string) ([]byte, error)
	// Fetch downloads a URL to a file of that many bytes, 0 if unknown. It resumes a partial
	// file.
	Fetch(ctx context.Context, url, name string, size int64) error
}

// Link is a network port.
type Link struct {
	Name      string
	Carrier   bool
	Addresses []netip.Addr   // without link-local ones
	Networks  []netip.Prefix // those of all its addresses, link-local ones too
}

// Clock is the time.
type Clock interface {
	Now() time.Time
	Sleep(ctx context.Context, d time.Duration) error
	// Synced reports whether the clock was set by NTP in this boot.
	Synced() (bool, error)
	Set(t time.Time) error
}

// Programs runs other programs, without a shell.
type Programs interface {
	Run(ctx context.Context, argv ...string) (stdout string, err error)
}

// Slot is the one of the two A/B slots that the running system was started from.
type Slot interface {
	// Trial returns the trial that the slot is on, nil if the slot is known to be good.
	Trial(ctx context.Context) (*contract.Trial, error)
	// Leaving reports whether the next start is that of the other slot, on trial.
	Leaving(ctx context.Context) (bool, error)
	// KeepStore says whether a trial that waits for the next start keeps the cluster's store, and
	// where. It does nothing if no trial waits, or if the trial brings no other k3s.
	KeepStore(ctx context.Context, at contract.StorePlace) error
	// Bless marks the slot as good.
	Bless(ctx context.Context) error
	// Stores reports whether a trial, perhaps a failed one, must still do something with
	// encrypted data before k3s opens them. OpenStores does it.
	Stores() (waiting bool, err error)
	OpenStores() error
	// Check reads the slot from its medium. The error says what is not as it was written.
	Check(ctx context.Context) error
}

// Disks are the machine's disks and the file systems on them.
type Disks interface {
	// Mounted returns the file system that is mounted at dir, nil if none is.
	Mounted(dir string) (*Mount, error)
	// Attach finds the disk that is wanted, formats it if it is blank, mounts it at dir unless it
	// is mounted there, and returns its ID. First it unmounts a disk that is gone. If a person
	// must do something, the error is a *disks.Fault, disks.ErrDamaged, disks.ErrNoExt4 or
	// ErrOtherDisk.
	Attach(ctx context.Context, dir string, w disks.Want) (id string, err error)
	// Hold makes dir, on which nothing is mounted, and sets or clears its immutable flag: while
	// it is set, nobody can write into dir.
	Hold(dir string, on bool) error
	Held(dir string) (bool, error)
	// Hidden counts the disks that the firmware hides from the kernel.
	Hidden() int
}

// Crypt is the kernel's encryption of directories (fscrypt).
type Crypt interface {
	// KeyOf returns the ID of a directory's key, "" if it is not encrypted or does not exist.
	KeyOf(dir string) (id string, err error)
	// Open gives the file system of dir a key and returns the key's ID. See ErrNoCrypt.
	Open(dir string, key []byte) (id string, err error)
	// IsOpen reports whether the file system of dir has the key with that ID.
	IsOpen(dir, id string) (bool, error)
	// Encrypt makes dir, or takes an empty one, and durably sets the key for what comes into it.
	Encrypt(dir, id string) error
}

// ErrNoCrypt means that a file system was made without what encryption needs.
var ErrNoCrypt = errors.New("its file system cannot encrypt")

// TPM is the machine's, if it has one: it seals the disk's share of the key. ErrNoTPM,
// ErrOtherTPM and ErrTPMChanged say why it refuses; any other error means that it does not work.
type TPM interface {
	// Seal returns what only this TPM unseals, and only while Secure Boot (PCR 7) stays as it is.
	Seal(share []byte) (sealed []byte, err error)
	Unseal(sealed []byte) (share []byte, err error)
}

// Why a share stays sealed.
var (
	ErrNoTPM      = errors.New("there is no TPM 2.0")
	ErrOtherTPM   = errors.New("another TPM sealed it")
	ErrTPMChanged = errors.New("PCR 7 is not what it was")
)

// Shares asks the holders: the nodes that keep the second share of this node's key. It reaches
// them through the tailnet only. A holder that refuses returns a *vault.Refusal.
type Shares interface {
	// Deposit returns the network where the holder sees this node, zero if only through a relay.
	Deposit(ctx context.Context, at netip.Addr, d vault.Deposit) (place netip.Prefix, err error)
	Ask(ctx context.Context, at netip.Addr, q vault.Question) (secret.String, error)
}

// Mount is a mounted file system.
type Mount struct {
	Device string
	// Lost means that the device is gone.
	Lost bool
	// Failed means that the file system had an error and is not written to any more.
	Failed bool
}

// Where things are.
const (
	bootDir     = "/" + contract.BootDir
	imageFile   = bootDir + "/" + contract.LabelFile // on every image's boot partition
	bootFile    = bootDir + "/" + node.FileName
	StatusText  = bootDir + "/" + node.StatusFile
	stateDir    = "/var/lib/imagebuilder/firstboot"
	copyFile    = stateDir + "/node.yaml" // the node's own copy: without secrets, but see ownFiles
	ownerFile   = "/" + contract.OwnerFile
	sealingFile = stateDir + "/sealing"
	joinedFile  = stateDir + "/joined"
	runDir      = "/run/firstboot"
	retryFile   = runDir + "/retry"
	StatusJSON  = runDir + "/status.json"
)

// maxText bounds every text file this package reads, in bytes.
const maxText = 1 << 20

func (h *Host) read(name string) ([]byte, error) {
	f, err := h.Files.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxText+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if len(data) > maxText {
		return nil, fmt.Errorf("%s is longer than %d bytes: none of ours is", name, maxText)
	}
	return data, nil
}

func (h *Host) exists(name string) (bool, error) {
	_, err := h.Files.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// Lay puts a file of fixed length onto the boot partition. It overwrites the file in place, which
// leaves the file system's own data alone, and makes it anew only if it is missing or of another
// length.
func Lay(files Files, name string, padded []byte) error {
	if fi, err := files.Stat(name); err == nil && fi.Size() == int64(len(padded)) {
		return files.Overwrite(name, padded)
	}
	return files.Put(name, bytes.NewReader(padded), Attr{Mode: 0o644})
}

// changes returns something that differs once node.yaml has changed or a retry was asked for. A
// file that cannot be examined counts as absent.
func (h *Host) changes() string {
	var b strings.Builder
	for _, name := range []string{bootFile, retryFile} {
		if fi, err := h.Files.Stat(name); err == nil {
			fmt.Fprintf(&b, "%d %d;", fi.Size(), fi.ModTime().UnixNano())
		} else {
			b.WriteString("-;")
		}
	}
	return b.String()
}

// invocations begins the names of the symlinks in which systemd keeps the invocation ID of each
// running unit, for journald. The target changes whenever the unit is started.
const invocations = "/run/systemd/units/invocation:"

// starts returns something that differs once k3s was restarted or has stopped: a crash between
// two looks leaves no other trace that is cheap to see.
func (h *Host) starts() string { return h.invocation(k3sUnit) }

func (h *Host) invocation(unit string) string {
	id, _ := h.Files.Readlink(invocations + unit) // there is no link while the unit does not run
	return id
}

// Reboot asks systemd to restart the machine, and does not wait for that.
func (h *Host) Reboot(ctx context.Context) error {
	_, err := h.Programs.Run(ctx, "systemctl", "--no-block", "reboot")
	return err
}

// glanceTime limits how long a status waits for a tailscaled that hangs.
const glanceTime = 2 * time.Second

// addresses returns the local and the tailnet addresses as text, for people.
func (h *Host) addresses(ctx context.Context) (local, tailnet []string) {
	links, _ := h.Net.Links(ctx)
	for _, l := range links {
		for _, a := range l.Addresses {
			local = append(local, a.String()+" ("+l.Name+")")
		}
	}
	asking, cancel := context.WithTimeout(ctx, glanceTime)
	defer cancel()
	st, _ := h.Tailnet.Status(asking)
	for _, a := range st.IPs {
		tailnet = append(tailnet, a.String())
	}
	return local, tailnet
}
