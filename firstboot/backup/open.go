package backup

import (
	"cmp"
	"time"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/node"
	"github.com/going-mobile/imagebuilder/firstboot/strictyaml"
)

// Open returns the Keeper of this machine. text is the content of contract.HeadscaleStores.
// patience bounds each request to a bucket.
func Open(text []byte, patience time.Duration) (*Keeper, error) {
	var b node.Backup
	if err := strictyaml.Decode(contract.HeadscaleStores, text, &b); err != nil {
		return nil, err
	}
	k := &Keeper{Data: contract.HeadscaleData, UID: contract.HeadscaleID, GID: contract.HeadscaleID}
	k.Stores = append(k.Stores, Dir(cmp.Or(b.Path, contract.HeadscaleBackup)))
	if b.S3 != nil {
		k.Stores = append(k.Stores, bucketWithin(b.S3, patience))
	}
	return k, nil
}
