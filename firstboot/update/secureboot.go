package update

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"

	"github.com/going-mobile/imagebuilder/firstboot/artifact"
	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/efiboot"
	"github.com/going-mobile/imagebuilder/firstboot/slot"
)

// refuseUntrusted refuses, where Secure Boot is on, what this machine's firmware would not load.
// systemd-boot (257) would count a try, but then neither start the other slot nor restart the
// machine, which would stand still until somebody switches it off and on.
func (u *update) refuseUntrusted() error {
	text, err := u.variable(efiboot.Variable("SecureBoot"))
	if on, _ := efiboot.Switch(text); err != nil || !on {
		return err
	}
	if slices.Contains(u.in.Files(), slot.Unified) {
		return u.refuseSigner()
	}
	if running, _ := slot.ParseEFIName(path.Base(u.state.File)); !running.Entry { // only shim trusts a kernel of Debian, and shim did not start this system
		return errors.New("this machine starts only what its owner has signed (Secure Boot), and the update bears Debian's signature: build the image with --sign KEY --cert CERTIFICATE, and make the update with them")
	}
	return nil
}

// refuseSigner requires a certificate that the firmware lists, or that is in the file which the
// firmware has started: the firmware may list another certificate, which has signed that one.
func (u *update) refuseSigner() error {
	der, err := contract.ParseCertificate(u.in.Components[contract.CertificateComponent])
	if err != nil {
		return fmt.Errorf("the update says wrongly by which certificate it is signed: %w", err)
	}
	if der == nil {
		return errors.New("this machine starts only what is signed (Secure Boot), and the update does not say that it is: build the image with --sign KEY --cert CERTIFICATE, and make the update with them, by today's imagebuilder")
	}
	for _, name := range []string{"/" + efiboot.Trusted, path.Join(bootDir, u.state.File)} {
		if found, err := u.holds(name, der); err != nil || found {
			return err
		}
	}
	return errors.New("this machine starts only what is signed by whom it trusts (Secure Boot), and the update is signed by another certificate than what runs: sign it as that, or let the machine's setup take the new certificate first (secureboot.cer)")
}

// variable returns the content of a firmware variable's file, "" where the firmware has no such
// variable or is not UEFI.
func (u *update) variable(file string) (string, error) {
	r, err := u.Files.Open("/" + file)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer r.Close()
	text, err := io.ReadAll(io.LimitReader(r, 1<<10))
	return string(text), err
}

// holds reports whether a file contains the bytes of what. It reads piece by piece: the file may be
// a kernel.
func (u *update) holds(name string, what []byte) (bool, error) {
	r, err := u.Files.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer r.Close()
	buf, kept := make([]byte, artifact.MaxPart), 0
	for {
		n, err := io.ReadFull(r, buf[kept:])
		switch {
		case bytes.Contains(buf[:kept+n], what):
			return true, nil
		case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
			return false, nil
		case err != nil:
			return false, err
		}
		kept = copy(buf, buf[len(buf)-len(what)+1:])
	}
}
