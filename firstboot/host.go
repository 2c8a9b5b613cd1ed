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
	// Random gives identities; it must not block for entropy without bound.
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
	// Overwrite writes over the bytes that a file has, in place, durably,
	// without changing its length: what was there is gone from the medium.
	Overwrite(name string, data []byte) error
	// Rename moves a file into another one's place in its directory, durably.
	Rename(name, to string) error
	// Symlink makes or replaces a symbolic link.
	Symlink(target, name string) error
	Remove(name string) error // absent is fine
	// Sync puts onto the medium what anybody has written to the file system
	// that holds name.
	Sync(name string) error
	// Space is the size of the file system and what is free, in bytes.
	Space(name string) (total, free int64, err error)
}

// Unfinished begins the name of a file that Put was cut off at, beside its own.
const Unfinished = ".firstboot-"

// Attr is what a file is besides its content. All zero but the mode is root's.
type Attr struct {
	Mode     fs.FileMode
	UID, GID int
}

// System is the running kernel's idea of itself.
type System interface {
	Hostname() (string, error)
	SetHostname(string) error
}

// Units is systemd.
type Units interface {
	// Active counts a unit that is still starting; Ready wants it to have said
	// that it works.
	Active(ctx context.Context, unit string) (bool, error)
	Ready(ctx context.Context, unit string) (bool, error)
	// Start and Restart return when the job is queued, not when it is done.
	Start(ctx context.Context, unit string) error
	Restart(ctx context.Context, unit string) error
	Reload(ctx context.Context) error
	// Failed lists the units that have failed.
	Failed(ctx context.Context) ([]string, error)
	// Log returns the last lines of a unit in this boot.
	Log(ctx context.Context, unit string, lines int) (string, error)
}

// Tailnet is tailscaled's LocalAPI.
type Tailnet interface {
	Status(ctx context.Context) (TailnetStatus, error)
	// Up makes a node that knows its tailnet run, and joins one that does not
	// with a key. It returns when the node runs, with *RefusedError when it was
	// told no, or with ctx; the key is then tried on, and asking again waits for
	// the same try. Forget ends that, for a key that can only be refused: it
	// would be tried twice a minute, with 100,000 lines a day in the journal.
	Up(ctx context.Context, j Join) error
	Forget(ctx context.Context) error
}

// Join says which tailnet to join, and as whom.
type Join struct {
	URL      string
	Key      secret.String // empty: reconnect only
	Hostname string
}

// TailnetStatus is what tailscaled says of itself.
type TailnetStatus struct {
	State   string // NoState, NeedsLogin, Stopped, Starting, Running
	HaveKey bool   // it has been a member and may be one still
	// Asked means that the server wants a login: it does not know this node,
	// even where that runs from the network map it remembers.
	Asked  bool
	Name   string // the first label of the node's name in the tailnet
	IPs    []netip.Addr
	Tags   []string
	Owner  int64 // the user whose node it is; means nothing where it has tags
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

// RefusedError is what the Headscale server, or a proxy before it, answered in
// place of a yes.
type RefusedError struct{ Message string }

func (e *RefusedError) Error() string { return "the Headscale server refused: " + e.Message }

// ErrNoObject is the API's answer to a question for what it does not have.
var ErrNoObject = errors.New("the cluster has no such thing")

// EtcdVotes is answered well by an etcd that is a member with a vote, of a cluster
// that has a leader. Unlike /health beside it, it is not well while the member only
// learns (etcd 3.6, etcdhttp).
const EtcdVotes = "/readyz"

// Net is the local network and what can be reached through it.
type Net interface {
	Links(ctx context.Context) ([]Link, error)
	// Resolve looks a host name up.
	Resolve(ctx context.Context, host string) ([]netip.Addr, error)
	// Control asks whether a Headscale server answers at an address, trusting
	// the given PEM certificates besides the system's.
	Control(ctx context.Context, url, ca string) error
	// Supervisor asks whether k3s serves a cluster on a port of a peer.
	Supervisor(ctx context.Context, at netip.AddrPort) (bool, error)
	// Reach opens a connection and says nothing.
	Reach(ctx context.Context, at netip.AddrPort) error
	// API asks the cluster for a path, with the rights that a kubeconfig gives. The
	// error is ErrNoObject where it has no such thing.
	API(ctx context.Context, kubeconfig, path string) ([]byte, error)
	// Patch merges JSON into what is there (RFC 7386).
	Patch(ctx context.Context, kubeconfig, path string, merge []byte) error
	// Apply makes an object what it must be, whoever wrote to it before: a
	// server-side apply, of which the API keeps no copy.
	Apply(ctx context.Context, kubeconfig, path string, object []byte) error
	// Etcd asks this machine's etcd for a path of those that need no login:
	// EtcdVotes, or /metrics.
	Etcd(ctx context.Context, path string) ([]byte, error)
	// Fetch downloads an address to a file of so many bytes, 0 if that is
	// unknown, resuming what is there.
	Fetch(ctx context.Context, url, name string, size int64) error
}

// Link is a network port.
type Link struct {
	Name      string
	Carrier   bool
	Addresses []netip.Addr   // without link-local ones
	Networks  []netip.Prefix // of all its addresses, each with its own
}

// Clock is the time.
type Clock interface {
	Now() time.Time
	Sleep(ctx context.Context, d time.Duration) error
	// Synced reports whether the clock was set by NTP in this boot.
	Synced() (bool, error)
	Set(t time.Time) error
}

// Programs runs what must be run, without a shell.
type Programs interface {
	Run(ctx context.Context, argv ...string) (stdout string, err error)
}

// Slot is the running system's place among the two.
type Slot interface {
	// Trial tells of the trial under way in it, nil where it is known to be good.
	Trial(ctx context.Context) (*contract.Trial, error)
	// Leaving says whether the next start is that of the other one, on trial.
	Leaving(ctx context.Context) (bool, error)
	// KeepStore has a trial that waits for the next start keep the cluster's store, or
	// leave it alone; it does nothing where none waits, or one that brings no other k3s.
	KeepStore(ctx context.Context, keep, encrypted bool) error
	// Bless marks it as good.
	Bless(ctx context.Context) error
	// Stores says whether a trial, or one that failed, has something to do with what is
	// encrypted before k3s opens it; OpenStores does it.
	Stores() (waiting bool, err error)
	OpenStores() error
	// Check reads it from its medium, and returns what is not as it was written.
	Check(ctx context.Context) error
}

// Disks are the machine's disks and the file systems on them.
type Disks interface {
	// Mounted tells of the file system mounted at dir, nil if there is none.
	Mounted(dir string) (*Mount, error)
	// Attach finds the disk that is wanted, makes it the node's own if it is
	// blank, mounts it at dir unless it is, and returns its ID. What lay there
	// of a disk that is gone is taken away. Where a person must do something the
	// error is a *disks.Fault, disks.ErrDamaged, disks.ErrNoExt4 or ErrOtherDisk.
	Attach(ctx context.Context, dir string, w disks.Want) (id string, err error)
	// Hold makes dir, where nothing is mounted, so that nobody can write into
	// it, or lets them again.
	Hold(dir string, on bool) error
	Held(dir string) (bool, error)
	// Hidden counts the disks that the firmware hides from the kernel.
	Hidden() int
}

// Crypt is the kernel's encryption of directories.
type Crypt interface {
	// KeyOf names the key of a directory, "" where that is not encrypted or not there.
	KeyOf(dir string) (id string, err error)
	// Open gives the file system of dir a key, and returns its name.
	Open(dir string, key []byte) (id string, err error)
	// IsOpen says whether the file system of dir has the key of that name.
	IsOpen(dir, id string) (bool, error)
	// Encrypt makes dir, or takes an empty one, and has encrypted durably what comes into
	// it. The error is ErrNoCrypt where that cannot be.
	Encrypt(dir, id string) error
}

// ErrNoCrypt says that a file system was made without what encryption needs.
var ErrNoCrypt = errors.New("its file system cannot encrypt")

// TPM is the machine's, which keeps the disk's share of the key where there is one. What
// it says no to is ErrNoTPM, ErrOtherTPM or ErrTPMChanged; other errors are of one that
// does not work.
type TPM interface {
	// Seal returns what only this TPM opens, while the machine's Secure Boot is as it is.
	Seal(share []byte) (sealed []byte, err error)
	Unseal(sealed []byte) (share []byte, err error)
}

// What keeps a share sealed.
var (
	ErrNoTPM      = errors.New("there is no TPM 2.0")
	ErrOtherTPM   = errors.New("another TPM sealed it")
	ErrTPMChanged = errors.New("PCR 7 is not what it was")
)

// Shares asks the nodes that keep the second share of this node's key, in the tailnet
// and on no other way. A holder that says no has a *vault.Refusal.
type Shares interface {
	// Deposit also tells where the holder sees this node, nowhere through a relay.
	Deposit(ctx context.Context, at netip.Addr, d vault.Deposit) (place netip.Prefix, err error)
	Ask(ctx context.Context, at netip.Addr, q vault.Question) (secret.String, error)
}

// Mount is a mounted file system.
type Mount struct {
	Device string
	// Lost says that the device is there no more.
	Lost bool
	// Failed says that it had an error and is not written to any more.
	Failed bool
}

// Where things are.
const (
	bootDir     = "/" + contract.BootDir
	imageFile   = bootDir + "/" + contract.LabelFile // on every image's boot partition
	bootFile    = bootDir + "/" + node.FileName
	StatusText  = bootDir + "/" + node.StatusFile
	stateDir    = "/var/lib/imagebuilder/firstboot"
	copyFile    = stateDir + "/node.yaml" // without secrets
	ownerFile   = "/" + contract.OwnerFile
	sealingFile = stateDir + "/sealing"
	joinedFile  = stateDir + "/joined"
	runDir      = "/run/firstboot"
	RetryFile   = runDir + "/retry"
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

// Lay puts a file of fixed length onto the boot partition: over what is there,
// which changes nothing of its file system, and anew only where it is missing or
// of another length.
func Lay(files Files, name string, padded []byte) error {
	if fi, err := files.Stat(name); err == nil && fi.Size() == int64(len(padded)) {
		return files.Overwrite(name, padded)
	}
	return files.Put(name, bytes.NewReader(padded), Attr{Mode: 0o644})
}

// changes returns something that differs when node.yaml has changed or a
// retry was asked for. Faults are no changes.
func (h *Host) changes() string {
	var b strings.Builder
	for _, name := range []string{bootFile, RetryFile} {
		if fi, err := h.Files.Stat(name); err == nil {
			fmt.Fprintf(&b, "%d %d;", fi.Size(), fi.ModTime().UnixNano())
		} else {
			b.WriteString("-;")
		}
	}
	return b.String()
}

// invocations is where systemd keeps the id of every unit that runs, for
// journald: a link whose target changes whenever the unit is started.
const invocations = "/run/systemd/units/invocation:"

// starts returns something that differs when k3s was started anew or has
// stopped: a crash between two looks leaves no other trace that is cheap to
// see.
func (h *Host) starts() string { return h.invocation(k3sUnit) }

func (h *Host) invocation(unit string) string {
	id, _ := h.Files.Readlink(invocations + unit) // there is none while it does not run
	return id
}

// Reboot has the machine restart, and does not wait for that.
func (h *Host) Reboot(ctx context.Context) error {
	_, err := h.Programs.Run(ctx, "systemctl", "--no-block", "reboot")
	return err
}

// glanceTime is for how long a status waits for what a hanging tailscaled would say.
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
