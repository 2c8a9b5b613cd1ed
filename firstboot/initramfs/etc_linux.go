package initramfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/u-root/u-root/pkg/mount"
	"golang.org/x/sys/unix"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
)

// etc lays the writable layer on the data partition over the image's /etc. It first removes from
// the layer what must not outlive an image.
func (m *machine) etc() error {
	upper := filepath.Join(sysroot, contract.EtcUpper)
	work := filepath.Join(filepath.Dir(upper), "work")
	for _, dir := range []string{upper, work} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return damagedData(m.home.Label, m.table.Scheme, err)
		}
	}
	if err := m.pruneEtc(upper); err != nil {
		return err
	}
	options := "lowerdir=" + sysroot + "/etc,upperdir=" + upper + ",workdir=" + work + ",redirect_dir=off,index=off,metacopy=off"
	if _, err := mount.Mount("etc", sysroot+"/etc", "overlay", options, 0); err != nil {
		return damagedData(m.home.Label, m.table.Scheme, fmt.Errorf("lay the writable layer over /etc: %w", err))
	}
	return nil
}

func (m *machine) pruneEtc(upper string) error {
	text, err := os.ReadFile(filepath.Join(sysroot, contract.PersistFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return m.badSlot(err)
	}
	list, err := contract.ParsePersist(string(text))
	if err != nil {
		return m.badSlot(err)
	}
	gone, err := pruneLayer(list, upper)
	if err != nil {
		return damagedData(m.home.Label, m.table.Scheme, err)
	}
	if len(gone) > 0 {
		m.con.log(fmt.Sprintf("init: not kept in /etc: %.10q", gone))
		unix.Sync()
	}
	return nil
}
