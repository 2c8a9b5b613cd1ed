package disk

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// bmapFile is the XML of a block map.
type bmapFile struct {
	Version      string `xml:"version,attr"`
	ImageSize    int64  `xml:"ImageSize"`
	BlockSize    int64  `xml:"BlockSize"`
	ChecksumType string `xml:"ChecksumType"`
	Checksum     string `xml:"BmapFileChecksum"`
	Ranges       []struct {
		SHA256 string `xml:"chksum,attr"`
		Span   string `xml:",chardata"`
	} `xml:"BlockMap>Range"`
}

// ParseMap reads a .bmap file written by imagebuilder or bmaptool; name is for errors. It
// refuses a damaged file, and formats without a sha256 of every range. The SHA256 of the
// result is empty: the format has no digest of the whole image.
func ParseMap(name string, data []byte) (*Map, error) {
	m, err := parseMap(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return m, nil
}

func parseMap(data []byte) (*Map, error) {
	var f bmapFile
	if err := xml.Unmarshal(data, &f); err != nil {
		return nil, fmt.Errorf("is no block map: %w", err)
	}
	sum := strings.TrimSpace(f.Checksum)
	switch {
	case !strings.HasPrefix(f.Version, "2.") || strings.TrimSpace(f.ChecksumType) != "sha256" || f.BlockSize != BlockSize:
		return nil, fmt.Errorf("is a block map of version %q that this program does not read; it reads 2.0 with sha256 and blocks of %d bytes", f.Version, BlockSize)
	case len(sum) != sha256.Size*2 || mapSum(data, sum) != sum:
		return nil, errors.New("is damaged: its own checksum is wrong")
	}
	m := &Map{Size: f.ImageSize}
	for _, r := range f.Ranges {
		first, last, err := parseSpan(r.Span)
		if n := len(m.Ranges); err == nil && (last < first || last > (m.Size-1)/BlockSize || n > 0 && first <= m.Ranges[n-1].Last+1) {
			err = errors.New("is out of order or past the end of the image")
		}
		if err != nil {
			return nil, fmt.Errorf("range %q: %w", r.Span, err)
		}
		m.Ranges = append(m.Ranges, Range{First: first, Last: last, SHA256: strings.ToLower(r.SHA256)})
	}
	return m, nil
}

// mapSum is the digest of a map file with zeros in place of its checksum sum.
func mapSum(data []byte, sum string) string {
	blank := bytes.Repeat([]byte("0"), len(sum))
	got := sha256.Sum256(bytes.Replace(data, []byte(sum), blank, 1))
	return hex.EncodeToString(got[:])
}

// parseSpan reads "7" or "7-9".
func parseSpan(s string) (first, last int64, err error) {
	from, to, isRun := strings.Cut(strings.TrimSpace(s), "-")
	if !isRun {
		to = from
	}
	first, err = strconv.ParseInt(from, 10, 64)
	last, err2 := strconv.ParseInt(to, 10, 64)
	if err != nil || err2 != nil || first < 0 {
		return 0, 0, errors.New("is no run of blocks")
	}
	return first, last, nil
}

// Extents returns the mapped ranges, in bytes.
func (m *Map) Extents() []Extent {
	var list []Extent
	for _, r := range m.Ranges {
		list = append(list, Extent{r.First * BlockSize, (r.Last - r.First + 1) * BlockSize})
	}
	return list
}

// Differs returns the first range of m that got lacks or has with another digest, or nil.
// got must be made by Scan, from an image of the same size and with m's extents.
func (m *Map) Differs(got *Map) *Range {
	for i, r := range m.Ranges {
		if !slices.Contains(got.Ranges, r) {
			return &m.Ranges[i]
		}
	}
	return nil
}
