// Package tpm seals a small secret with a machine's TPM 2.0: only that TPM can unseal it, and only
// while its PCR 7 has the same value.
//
// PCR 7 reflects Secure Boot: whether it is on, its keys and lists, and who signed the loaders (TCG
// PC Client Platform Firmware Profile, 3.3.4). An update of the kernel does not change it. Keys of
// one's own, a new list of revoked loaders and often an update of the firmware do.
//
// The package is a leaf: bytes and a TPM, no files. It leaves nothing in the TPM. It refuses a TPM
// without a SHA-256 bank: a policy over no PCR at all would be satisfied everywhere.
package tpm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
	"golang.org/x/sys/unix"
)

// Device is the kernel's device of a TPM 2.0 that several programs may use at once. A TPM 1.2 has
// no such device (drivers/char/tpm/tpm-chip.c, tpm_add_char_device).
const Device = "/dev/tpmrm0"

// Chip is a TPM 2.0. Open opens a connection to it.
type Chip struct {
	Open func() (io.ReadWriteCloser, error)
}

// At returns the TPM behind a device. The device is opened in blocking mode, and go-tpm is not
// shown an *os.File: on one of those go-tpm 0.9 waits by poll(2), which any signal ends with an
// error.
func At(device string) Chip {
	return Chip{func() (io.ReadWriteCloser, error) {
		fd, err := unix.Open(device, unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, &fs.PathError{Op: "open", Path: device, Err: err}
		}
		return struct{ io.ReadWriteCloser }{os.NewFile(uintptr(fd), device)}, nil
	}}
}

// The reasons why a secret stays sealed, in the order in which they are checked.
var (
	ErrNone    = errors.New("there is no TPM 2.0")
	ErrOther   = errors.New("another TPM sealed it, or this one before it was cleared")
	ErrChanged = errors.New("the firmware, Secure Boot or its keys are not what they were (PCR 7)")
)

// mostBytes is the longest secret, in bytes.
const mostBytes = 128

// Seal returns the argument for Unseal, a few hundred bytes that reveal nothing. Before it returns,
// it has unsealed them once.
func (c Chip) Seal(secret []byte) (sealed []byte, err error) {
	if len(secret) == 0 || len(secret) > mostBytes {
		return nil, fmt.Errorf("the TPM seals 1 to %d bytes, not %d", mostBytes, len(secret))
	}
	err = c.talk(func(t transport.TPM, p *parent) error {
		if sealed, err = p.seal(t, secret); err != nil {
			return err
		}
		again, err := p.unseal(t, sealed)
		if err == nil && !bytes.Equal(again, secret) {
			err = errors.New("it gives something else back")
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return sealed, nil
}

// Unseal returns the secret. The error is ErrNone, ErrOther or ErrChanged if one of these is the
// reason.
func (c Chip) Unseal(sealed []byte) (secret []byte, err error) {
	err = c.talk(func(t transport.TPM, p *parent) error {
		secret, err = p.unseal(t, sealed)
		return err
	})
	if err != nil {
		return nil, err
	}
	return secret, nil
}

// talk calls do with a connection to the TPM, and the parent loaded in it.
func (c Chip) talk(do func(transport.TPM, *parent) error) error {
	line, err := c.Open()
	if errors.Is(err, fs.ErrNotExist) {
		return ErrNone
	}
	if err != nil {
		return fmt.Errorf("the TPM: %w", err)
	}
	defer line.Close()
	t := transport.FromReadWriteCloser(line)
	p, err := newParent(t)
	if err == nil {
		err = errors.Join(do(t, p), flush(t, p.handle))
	}
	if err != nil && !errors.Is(err, ErrOther) && !errors.Is(err, ErrChanged) {
		err = fmt.Errorf("the TPM: %w", err)
	}
	return err
}

// parent is the storage root key, under which secrets are sealed. The TPM derives the same key at
// each start, from a seed that only clearing the TPM changes. Its name, a digest of its public
// half, is part of what is sealed. Its public half encrypts the sessions: whoever listens on the
// bus between TPM and processor learns nothing, and whoever answers there in the TPM's place has
// another name.
type parent struct {
	handle tpm2.TPMHandle
	name   tpm2.TPM2BName
	public tpm2.TPMTPublic
}

// newParent requires the owner's authorization to be empty, as it is unless somebody has set one.
func newParent(t transport.TPM) (*parent, error) {
	made, err := tpm2.CreatePrimary{PrimaryHandle: tpm2.TPMRHOwner, InPublic: tpm2.New2B(tpm2.ECCSRKTemplate)}.Execute(t)
	if err != nil {
		return nil, err
	}
	public, err := made.OutPublic.Contents()
	if err != nil {
		return nil, err
	}
	name, err := tpm2.ObjectName(public) // computed here: an impostor would copy the name in the answer
	if err != nil {
		return nil, err
	}
	return &parent{made.ObjectHandle, *name, *public}, nil
}

func flush(t transport.TPM, handle tpm2.TPMHandle) error {
	_, err := tpm2.FlushContext{FlushHandle: handle}.Execute(t)
	return err
}

// parts splits what is sealed into its three parts. Each is a TPM2B, which begins with its length
// in two bytes.
func parts(sealed []byte) (all [3][]byte, err error) {
	for i := range all {
		if len(sealed) < 2 || len(sealed)-2 < int(binary.BigEndian.Uint16(sealed)) {
			return all, errors.New("what it sealed is damaged")
		}
		n := 2 + int(binary.BigEndian.Uint16(sealed))
		all[i], sealed = sealed[:n], sealed[n:]
	}
	if len(sealed) > 0 {
		return all, errors.New("what it sealed is damaged")
	}
	return all, nil
}
