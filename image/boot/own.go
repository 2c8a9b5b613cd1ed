package boot

import (
	"fmt"

	"github.com/going-mobile/imagebuilder/image/authenticode"
	"github.com/going-mobile/imagebuilder/image/tree"
)

// enrol lets systemd-boot hand the keys to firmware that has none yet (systemd 257,
// loader.conf(5)): by itself in a virtual machine; on a real one, where another
// card's firmware may need Microsoft's key to show a picture at all, by an entry of
// its menu, which a held-down key shows.
const enrol = "secure-boot-enroll if-safe\n"

// Where systemd-boot looks for keys, and what a machine's setup reads.
const (
	keysDir     = "loader/keys/auto/"
	certificate = "secureboot.cer"
)

// own signs a program.
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

// addKeys puts there what makes a machine trust the owner, and nobody else.
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
