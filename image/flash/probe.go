package flash

import (
	"bytes"
	"crypto/rand"
	"fmt"
)

// probe is a block of unique bytes that is written beyond the image.
type probe struct {
	off  int64
	data []byte
}

const (
	probeSize = 4096
	maxProbes = 32
)

// probe writes blocks beyond the image, at even distances up to the claimed end of a
// device. A device that is smaller than it claims loses some of them, or returns one in
// another's place. Without this check, the image alone would fit on most such cards, and
// the node would lose its data months later.
func (w *writer) probe() error {
	if !w.target.device || w.opt.NoVerify {
		return nil
	}
	for i := int64(maxProbes); i > 0; i-- {
		p := probe{off: (w.target.size/maxProbes*i - probeSize) / probeSize * probeSize, data: alignedBuffer(probeSize)}
		if p.off < w.image.Size {
			break
		}
		rand.Read(p.data)
		if err := w.target.put(p.data, p.off); err != nil {
			return err
		}
		w.probes = append(w.probes, p)
	}
	return nil
}

// checkProbes checks the probes after the image was written, and removes them.
func (w *writer) checkProbes() error {
	if len(w.probes) == 0 {
		return nil
	}
	w.target.m.drop()
	for _, p := range w.probes {
		b := alignedBuffer(probeSize)
		if _, err := w.target.ReadAt(b, p.off); err != nil {
			return fmt.Errorf("read back at %d: %w", p.off, err)
		}
		if !bytes.Equal(b, p.data) {
			return fmt.Errorf("the device is smaller than the %s that it says: what was written at byte %d is not there; it is counterfeit, use another",
				bytesText(w.target.size), p.off)
		}
		if err := w.target.zero(p.off, probeSize); err != nil {
			return err
		}
	}
	return w.target.m.Sync()
}
