package squashfs

import "fmt"

// maxXattrs bounds the number of attributes of one inode: listxattr(2) returns at most 64
// KiB of names.
const maxXattrs = 64 << 10 / 6

// readXattrs returns the attributes of set number i.
func (r *Reader) readXattrs(i uint32) (map[string][]byte, error) {
	var head [16]byte
	if r.sb.XattrTable > r.sb.BytesUsed {
		return nil, fmt.Errorf("corrupt squashfs: attribute table at %d of %d bytes", r.sb.XattrTable, r.sb.BytesUsed)
	}
	if err := r.readAt(head[:], int64(r.sb.XattrTable)); err != nil {
		return nil, err
	}
	values, count := le.Uint64(head[:]), le.Uint32(head[8:])
	var set struct {
		Ref         metaRef
		Count, Size uint32
	}
	if err := r.lookup("attribute set", r.sb.XattrTable+16, i, count, &set); err != nil {
		return nil, err
	}
	if set.Count > maxXattrs {
		return nil, fmt.Errorf("corrupt squashfs: inode with %d attributes", set.Count)
	}
	c, err := r.cursor(values, set.Ref)
	if err != nil {
		return nil, err
	}
	m := map[string][]byte{}
	size := 0
	for range set.Count {
		name, value, err := c.xattr(values)
		if err != nil {
			return nil, err
		}
		m[name] = value
		// Values may be shared, and then take no space in the image.
		if size += len(name) + len(value); size > 16<<20 {
			return nil, fmt.Errorf("corrupt squashfs: inode with more than 16 MiB of attributes")
		}
	}
	return m, nil
}

// xattr reads one attribute; values is the offset of the attribute table.
func (c *cursor) xattr(values uint64) (string, []byte, error) {
	var h struct{ Kind, Size uint16 }
	if err := c.decode(&h); err != nil {
		return "", nil, err
	}
	prefix := int(h.Kind &^ xattrOutOfLine)
	if prefix >= len(xattrPrefixes) || h.Size > maxName {
		return "", nil, fmt.Errorf("corrupt squashfs: attribute of type %d with a name of %d bytes", h.Kind, h.Size)
	}
	name, err := c.bytes(int(h.Size))
	if err != nil {
		return "", nil, err
	}
	value, err := c.xattrValue()
	if err == nil && h.Kind&xattrOutOfLine != 0 {
		value, err = c.r.sharedValue(values, value)
	}
	return xattrPrefixes[prefix] + string(name), value, err
}

func (c *cursor) xattrValue() ([]byte, error) {
	size, err := c.uint32()
	if err != nil {
		return nil, err
	}
	if size > maxXattrValue {
		return nil, fmt.Errorf("corrupt squashfs: attribute value of %d bytes", size)
	}
	return c.bytes(int(size))
}

// sharedValue returns the value at the reference that is stored in its place.
func (r *Reader) sharedValue(values uint64, ref []byte) ([]byte, error) {
	if len(ref) != 8 {
		return nil, fmt.Errorf("corrupt squashfs: attribute reference of %d bytes", len(ref))
	}
	c, err := r.cursor(values, metaRef(le.Uint64(ref)))
	if err != nil {
		return nil, err
	}
	return c.xattrValue()
}
