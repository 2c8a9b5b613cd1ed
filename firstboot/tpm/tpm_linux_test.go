package tpm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
)

// emulated starts swtpm, a TPM 2.0 in software, with the state in dir, until stop.
func emulated(t *testing.T, dir string) (c Chip, stop func()) {
	t.Helper()
	run, err := os.MkdirTemp("", "tpm") // a socket's name is short, unix(7)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(run) })
	socket := filepath.Join(run, "s")
	cmd := exec.Command("swtpm", "socket", "--tpm2", "--tpmstate", "dir="+dir, "--server", "type=unixio,path="+socket,
		"--ctrl", "type=unixio,path="+filepath.Join(run, "c"), "--flags", "not-need-init,startup-clear")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v (run make deps)", err)
	}
	stop = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	t.Cleanup(stop)
	var line net.Conn
	for begin := time.Now(); line == nil; time.Sleep(10 * time.Millisecond) { // its file is there before it listens
		if line, err = net.Dial("unix", socket); err != nil && time.Since(begin) > time.Minute {
			t.Fatalf("swtpm does not start: %v, %s", err, out.String())
		}
	}
	return Chip{func() (io.ReadWriteCloser, error) { return kept{line}, nil }}, stop
}

// kept stays open when a connection is closed.
type kept struct{ io.ReadWriter }

func (kept) Close() error { return nil }

func ask[R any](t *testing.T, c Chip, cmd interface {
	Execute(transport.TPM, ...tpm2.Session) (R, error)
}) R {
	t.Helper()
	line, _ := c.Open()
	r, err := cmd.Execute(transport.FromReadWriter(line))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Commands that go-tpm lacks (TPM 2.0 Library, part 2, 6.5.2).
const (
	pcrAllocate                = 0x12b
	dictionaryAttackParameters = 0x13a
)

// raw sends such a command with an empty password.
func raw(t *testing.T, c Chip, code uint32, handle tpm2.TPMHandle, parameters []byte) {
	t.Helper()
	body := binary.BigEndian.AppendUint32(nil, code)
	body = binary.BigEndian.AppendUint32(body, uint32(handle))
	body = append(body, 0, 0, 0, 9, 0x40, 0, 0, 9, 0, 0, 0, 0, 0) // TPM_RS_PW
	body = append(body, parameters...)
	line, _ := c.Open()
	answer, err := transport.FromReadWriter(line).Send(append(binary.BigEndian.AppendUint32([]byte{0x80, 2}, uint32(len(body)+6)), body...))
	if err != nil || len(answer) < 10 || !bytes.Equal(answer[6:10], make([]byte, 4)) {
		t.Fatalf("command %#x: %x, %v", code, answer, err)
	}
}

// extend changes a PCR, as a firmware does that measures something else.
func extend(t *testing.T, c Chip, pcr uint32) {
	t.Helper()
	digests := tpm2.TPMLDigestValues{Digests: []tpm2.TPMTHA{{HashAlg: tpm2.TPMAlgSHA256, Digest: bytes.Repeat([]byte{1}, 32)}}}
	ask(t, c, tpm2.PCRExtend{PCRHandle: tpm2.AuthHandle{Handle: tpm2.TPMHandle(pcr), Auth: tpm2.PasswordAuth(nil)}, Digests: digests})
}

// left lists the TPM's transient objects and loaded sessions by the handles to flush: a loaded
// session is listed with another first byte (TPM 2.0 Library, part 2, 7.2).
func left(t *testing.T, c Chip) (all []tpm2.TPMHandle) {
	t.Helper()
	const objects, loaded, session, kind = 0x80000000, 0x02000000, 0x03000000, 0xff000000
	for _, first := range []uint32{objects, loaded} {
		r := ask(t, c, tpm2.GetCapability{Capability: tpm2.TPMCapHandles, Property: first, PropertyCount: 20})
		handles, err := r.CapabilityData.Data.Handles()
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range handles.Handle {
			if first == loaded {
				h = h&^kind | session
			}
			all = append(all, h)
		}
	}
	return all
}

var secret = bytes.Repeat([]byte("s"), 32)

func sealed(t *testing.T, c Chip) []byte {
	t.Helper()
	blob, err := c.Seal(secret)
	if err != nil {
		t.Fatal(err)
	}
	return blob
}

func opens(t *testing.T, c Chip, blob []byte) {
	t.Helper()
	if got, err := c.Unseal(blob); err != nil || !bytes.Equal(got, secret) {
		t.Errorf("%q, %v", got, err)
	}
}

func refuses(t *testing.T, c Chip, blob []byte, want error) {
	t.Helper()
	if got, err := c.Unseal(blob); !errors.Is(err, want) || got != nil {
		t.Errorf("%q, %v; want %v", got, err, want)
	}
}

// TestAfterARestart: the secret can be unsealed after a restart, whatever kernel and arguments were
// measured, and the sealed data reveals nothing.
func TestAfterARestart(t *testing.T) {
	dir := t.TempDir()
	c, stop := emulated(t, dir)
	extend(t, c, 7)
	blob := sealed(t, c)
	opens(t, c, blob)
	if bytes.Contains(blob, secret[:8]) || len(blob) > 600 {
		t.Errorf("%d bytes: %q", len(blob), blob)
	}
	if n := len(left(t, c)); n != 0 {
		t.Errorf("%d handles stay in the TPM", n)
	}
	stop()
	c, _ = emulated(t, dir)
	refuses(t, c, blob, ErrChanged) // what the firmware measures is not there yet
	extend(t, c, 7)
	extend(t, c, 9)
	opens(t, c, blob)
}

// TestPCR7Changed: unsealing fails from then on, and what is sealed anew can be unsealed.
func TestPCR7Changed(t *testing.T) {
	c, _ := emulated(t, t.TempDir())
	blob := sealed(t, c)
	extend(t, c, 7)
	refuses(t, c, blob, ErrChanged)
	opens(t, c, sealed(t, c))
	if n := len(left(t, c)); n != 0 {
		t.Errorf("%d handles stay in the TPM", n)
	}
}

// TestAnotherTPM: neither another machine's TPM nor one that was cleared unseals it.
func TestAnotherTPM(t *testing.T) {
	c, _ := emulated(t, t.TempDir())
	other, _ := emulated(t, t.TempDir())
	blob := sealed(t, c)
	refuses(t, other, blob, ErrOther)
	ask(t, c, tpm2.Clear{AuthHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHLockout, Auth: tpm2.PasswordAuth(nil)}})
	refuses(t, c, blob, ErrOther)
}

// forger sits on the bus: it gives the answers of another TPM the right one's name.
type forger struct {
	io.ReadWriteCloser
	wrong, right []byte
}

func (f forger) Read(p []byte) (int, error) {
	n, err := f.ReadWriteCloser.Read(p)
	copy(p, bytes.ReplaceAll(p[:n], f.wrong, f.right))
	return n, err
}

// TestInItsPlace: an impostor of the TPM is found out by its key, whatever name it claims, before
// it receives anything.
func TestInItsPlace(t *testing.T) {
	c, _ := emulated(t, t.TempDir())
	other, _ := emulated(t, t.TempDir())
	mine, err := parts(sealed(t, c))
	if err != nil {
		t.Fatal(err)
	}
	its, err := parts(sealed(t, other))
	if err != nil {
		t.Fatal(err)
	}
	refuses(t, Chip{func() (io.ReadWriteCloser, error) {
		line, err := other.Open()
		return forger{line, its[0], mine[0]}, err
	}}, bytes.Join(mine[:], nil), ErrOther)
}

// TestWrongPasswordsLockNothing: guessing passwords of other objects locks only those.
func TestWrongPasswordsLockNothing(t *testing.T) {
	c, _ := emulated(t, t.TempDir())
	blob := sealed(t, c)
	raw(t, c, dictionaryAttackParameters, tpm2.TPMRHLockout, []byte{0, 0, 0, 0 /* tries */, 0, 0, 9, 0, 0, 0, 9, 0}) // which locks it
	opens(t, c, blob)
	opens(t, c, sealed(t, c))
}

// TestNothingOnTheBus: between TPM and processor the secret is never seen.
func TestNothingOnTheBus(t *testing.T) {
	c, _ := emulated(t, t.TempDir())
	var heard bytes.Buffer
	tapped := Chip{func() (io.ReadWriteCloser, error) {
		line, err := c.Open()
		return struct {
			io.Reader
			io.WriteCloser
		}{io.TeeReader(line, &heard), tee{line, &heard}}, err
	}}
	opens(t, tapped, sealed(t, tapped))
	if heard.Len() < 1000 || bytes.Contains(heard.Bytes(), secret[:8]) {
		t.Errorf("%d bytes were heard, the secret among them: %v", heard.Len(), bytes.Contains(heard.Bytes(), secret[:8]))
	}
}

type tee struct {
	io.WriteCloser
	to io.Writer
}

func (w tee) Write(p []byte) (int, error) {
	_, _ = w.to.Write(p)
	return w.WriteCloser.Write(p)
}

// TestNoBank: without PCRs there would be nothing to bind to.
func TestNoBank(t *testing.T) {
	dir := t.TempDir()
	c, stop := emulated(t, dir)
	raw(t, c, pcrAllocate, tpm2.TPMRHPlatform, []byte{0, 0, 0, 2, 0, byte(tpm2.TPMAlgSHA256), 3, 0, 0, 0, 0, byte(tpm2.TPMAlgSHA384), 3, 0xff, 0xff, 0xff})
	ask(t, c, tpm2.Shutdown{ShutdownType: tpm2.TPMSUClear})
	stop()
	c, _ = emulated(t, dir)
	if blob, err := c.Seal(secret); !errors.Is(err, errBank) || blob != nil {
		t.Errorf("%x, %v", blob, err)
	}
}

// TestNone: no device, as also with a TPM 1.2.
func TestNone(t *testing.T) {
	c := At(filepath.Join(t.TempDir(), "tpmrm0"))
	if _, err := c.Seal(secret); !errors.Is(err, ErrNone) {
		t.Error(err)
	}
	refuses(t, c, nil, ErrNone)
	c = At(t.TempDir())
	if _, err := c.Seal(secret); err == nil || errors.Is(err, ErrNone) {
		t.Errorf("a device that does not open: %v", err)
	}
}

// TestWhatCannotBeSealed is refused before the TPM is asked.
func TestWhatCannotBeSealed(t *testing.T) {
	for _, n := range []int{0, mostBytes + 1} {
		if _, err := (Chip{}).Seal(make([]byte, n)); err == nil {
			t.Errorf("%d bytes", n)
		}
	}
	c, _ := emulated(t, t.TempDir())
	if _, err := c.Seal(make([]byte, mostBytes)); err != nil {
		t.Error(err)
	}
}

// TestDamaged: no damaged data is unsealed, and none causes a panic.
func TestDamaged(t *testing.T) {
	c, _ := emulated(t, t.TempDir())
	blob := sealed(t, c)
	for n := range len(blob) {
		if _, err := c.Unseal(blob[:n]); err == nil {
			t.Fatalf("its first %d bytes open", n)
		}
		bad := slices.Clone(blob)
		bad[n] ^= 1
		if got, err := c.Unseal(bad); err == nil {
			t.Fatalf("byte %d is another: %q", n, got)
		}
	}
	if _, err := c.Unseal(append(slices.Clone(blob), 0)); err == nil {
		t.Error("more than was sealed opens")
	}
	opens(t, c, blob)
	if n := len(left(t, c)); n != 0 {
		t.Errorf("%d handles stay in the TPM", n)
	}
}

var errLine = errors.New("input/output error")

// broken fails from one of its reads and writes on.
type broken struct {
	io.ReadWriteCloser
	calls *int
}

func (b broken) call() error {
	if *b.calls--; *b.calls < 0 {
		return errLine
	}
	return nil
}

func (b broken) Read(p []byte) (int, error) {
	if err := b.call(); err != nil {
		return 0, err
	}
	return b.ReadWriteCloser.Read(p)
}

func (b broken) Write(p []byte) (int, error) {
	if err := b.call(); err != nil {
		return 0, err
	}
	return b.ReadWriteCloser.Write(p)
}

// TestEveryCallFails: a TPM that fails in the middle gives nothing, and is taken neither for
// another TPM nor for one whose PCR 7 has changed.
func TestEveryCallFails(t *testing.T) {
	good, _ := emulated(t, t.TempDir())
	blob := sealed(t, good)
	for what, do := range map[string]func(Chip) ([]byte, error){
		"seal":   func(c Chip) ([]byte, error) { return c.Seal(secret) },
		"unseal": func(c Chip) ([]byte, error) { return c.Unseal(blob) },
	} {
		for n := 0; ; n += 2 { // steps of two: otherwise an answer would stay unread
			c, _ := emulated(t, t.TempDir())
			if what == "unseal" {
				c = good
			}
			calls := n
			got, err := do(Chip{func() (io.ReadWriteCloser, error) {
				line, err := c.Open()
				return broken{line, &calls}, err
			}})
			if err == nil {
				if n < 10 {
					t.Errorf("%s: only %d calls", what, n)
				}
				break
			}
			if got != nil || !errors.Is(err, errLine) || errors.Is(err, ErrOther) || errors.Is(err, ErrChanged) || errors.Is(err, ErrNone) || strings.Count(err.Error(), "the TPM:") != 1 {
				t.Fatalf("%s, call %d: %q, %v", what, n, got, err)
			}
			if what == "unseal" { // the kernel's resource manager does this when a device is closed
				sweep(t, good)
			}
		}
	}
}

// sweep flushes what a broken connection left.
func sweep(t *testing.T, c Chip) {
	t.Helper()
	for _, h := range left(t, c) {
		line, _ := c.Open()
		if _, err := (tpm2.FlushContext{FlushHandle: h}).Execute(transport.FromReadWriter(line)); err != nil {
			t.Fatal(err)
		}
	}
}
