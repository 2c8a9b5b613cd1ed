package firstboot

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"strconv"
	"strings"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/node"
)

// voters: whether a trial may put the cluster's store back depends on how many members vote
// in its etcd. An update may wait weeks for a restart, or be wanted when the cluster does
// not answer any more. So a server counts them at each pass and remembers the number.

// votersFile has the number of members when this server last saw the cluster.
const votersFile = stateDir + "/voters"

// voters counts the members of the cluster's etcd.
func (h *Host) voters(ctx context.Context) (int, error) {
	out, err := h.Net.API(ctx, adminConf, "/api/v1/nodes?labelSelector=node-role.kubernetes.io/etcd")
	if err != nil {
		return 0, err
	}
	var all struct{ Items []object }
	if err := json.Unmarshal(out, &all); err != nil {
		return 0, err
	}
	return len(all.Items), nil
}

// knownVoters returns the number that was seen last, 0 if nobody has looked yet.
func (h *Host) knownVoters() (int, error) {
	text, err := h.read(votersFile)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(text)))
	return max(0, n), err
}

// heedVoters counts the members if this server was seen Ready in this pass. A damaged note
// is written anew.
func (m *machine) heedVoters(ctx context.Context) error {
	if m.object == nil || m.cfg.Role != node.Server {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, othersTime)
	defer cancel()
	now, err := m.voters(ctx)
	if err != nil || now == 0 {
		return err
	}
	if known, err := m.knownVoters(); err != nil || known != now {
		if err := m.write(text644(votersFile, strconv.Itoa(now)+"\n")); err != nil {
			return err
		}
	}
	at, err := m.storePlace(now == 1)
	if err != nil {
		return err
	}
	return m.Slot.KeepStore(ctx, at)
}

// storePlace returns where a trial keeps the store of a server: nowhere if its etcd has other
// members (see withStore).
func (h *Host) storePlace(alone bool) (contract.StorePlace, error) {
	encrypted, err := h.encrypted()
	switch {
	case err != nil || !alone:
		return contract.StoreNotKept, err
	case encrypted:
		return contract.StoreLocked, nil
	}
	return contract.StoreKept, nil
}
