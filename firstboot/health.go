package firstboot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// ReadStatus returns what StatusJSON says. The error is fs.ErrNotExist if
// firstboot has not come that far in this boot.
func ReadStatus(files Files) (Status, error) {
	h := &Host{Files: files}
	data, err := h.read(StatusJSON)
	if err != nil {
		return Status{}, err
	}
	var s Status
	if err := json.Unmarshal(data, &s); err != nil {
		return Status{}, fmt.Errorf("%s: %w", StatusJSON, err)
	}
	return s, nil
}

// WaitTailnet waits until the node has its address in the tailnet.
func WaitTailnet(ctx context.Context, t Tailnet, clock Clock) error {
	for {
		st, err := t.Status(ctx)
		if err == nil && running(st) {
			return nil
		}
		if serr := clock.Sleep(ctx, 500*time.Millisecond); serr != nil {
			return errors.Join(fmt.Errorf("no address in the tailnet (state %q)", st.State), err)
		}
	}
}

// Retry makes a running firstboot try again now.
func Retry(files Files, clock Clock) error {
	h := &Host{Files: files}
	return h.write(file{path: retryFile, data: []byte(clock.Now().String() + "\n"), mode: 0o600})
}
