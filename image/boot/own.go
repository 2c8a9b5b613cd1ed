package boot

import (
	"fmt"

	"github.com/going-mobile/imagebuilder/image/authenticode"
	"github.com/going-mobile/imagebuilder/image/tree"
)

// enrol makes systemd-boot enrol the owner's keys in firmware that has none yet (systemd
// 257, loader.conf(5)). In a virtual machine this happens by itself. On a real machine, a
// graphics card's firmware may need Microsoft's key to show a picture at all, so there it
// takes a menu entry; holding a key down shows the menu.
const enrol = "secure-boot-enroll if-safe\n"

// Where systemd-boot looks for keys, and the certificate that a machine's firmware setup
// can read.
const (
	keysDir     = "loader/keys/auto/"
	certificate = "secureboot.cer"
)

// own signs a program with the owner's key.
func (in Input) own(program tree.Content) (tree.Content, error) {
	data, err := readAll("systemd-boot", program)
	if err != nil {
		return nil, err
	}
	signed, err := in.Owner.Sign(data)
	if err != nil {
		return nil, fmt.Errorf("systemd-boot: %w", err)
	}
	return tree.Bytes(signed), nil
}

// addKeys adds the files by which a machine learns to trust the owner, and nobody else.
func (in Input) addKeys(f *files) error {
	for _, name := range authenticode.Variables {
		update, err := in.Owner.Variable(name, in.Epoch)
		if err != nil {
			return err
		}
		f.add(keysDir+name+".auth", tree.Bytes(update))
	}
	f.add(certificate, tree.Bytes(in.Owner.Certificate()))
	return nil
}
