package squashfs

import "fmt"

// metaWriter collects a table of metadata blocks in memory.
type metaWriter struct {
	c      *compressor
	out    []byte  // finished blocks with their headers
	buf    []byte  // the block being filled; never full
	starts []int64 // offset of each block in out
}

func (m *metaWriter) pos() metaRef { return newMetaRef(int64(len(m.out)), len(m.buf)) }

func (m *metaWriter) write(p []byte) {
	for len(p) > 0 {
		n := min(len(p), metadataSize-len(m.buf))
		m.buf = append(m.buf, p[:n]...)
		p = p[n:]
		if len(m.buf) == metadataSize {
			m.flush()
		}
	}
}

// flush finishes the block being filled.
func (m *metaWriter) flush() {
	if len(m.buf) == 0 {
		return
	}
	m.starts = append(m.starts, int64(len(m.out)))
	m.out = append(m.out, m.c.meta(m.buf)...)
	m.buf = m.buf[:0]
}

// index returns the list of the offsets of a table's blocks, for a table at offset base.
func (m *metaWriter) index(base int64) []byte {
	var b []byte
	for _, s := range m.starts {
		b = le.AppendUint64(b, uint64(base+s))
	}
	return b
}

// fits returns an error if the table has outgrown its 32-bit offsets.
func (m *metaWriter) fits(what string) error {
	if int64(len(m.out)) > 1<<32-1 {
		return fmt.Errorf("the %s table is larger than squashfs can address", what)
	}
	return nil
}
