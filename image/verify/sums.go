package verify

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

const (
	// SumSuffix is appended to a file's name for a file with its sha256, as of
	// sha256sum(1).
	SumSuffix = ".sha256"
	// SumsName is the name of a list of checksums for a whole directory.
	SumsName = "SHA256SUMS"
)

// sums is the content of the checksum lists beside a file.
type sums struct {
	file   string            // path of SHA256SUMS, whether it exists or not
	data   []byte            // its content
	byName map[string]string // base name → digest
	about  []claim           // what the lists say of the file itself
}

// claim is the digest of the file in one list.
type claim struct{ file, sum string }

func loadSums(name string) (*sums, error) {
	s := &sums{file: filepath.Join(filepath.Dir(name), SumsName), byName: map[string]string{}}
	var err error
	if s.data, err = readIfThere(s.file); err != nil {
		return nil, err
	}
	if s.byName, err = parseSums(s.file, s.data); err != nil {
		return nil, err
	}
	if sum, ok := s.listed(name); ok {
		s.about = append(s.about, claim{s.file, sum})
	}
	own := name + SumSuffix
	data, err := readIfThere(own)
	if err != nil || data == nil {
		return s, err
	}
	list, err := parseSums(own, data)
	if err != nil {
		return nil, err
	}
	sum, ok := list[filepath.Base(name)]
	if !ok {
		return nil, fmt.Errorf("%s does not name %s: it is of another file; get the right one, or remove it", own, filepath.Base(name))
	}
	s.about = append(s.about, claim{own, sum})
	return s, nil
}

// listed returns the digest in SHA256SUMS of a file in its directory.
func (s *sums) listed(name string) (sum string, ok bool) {
	sum, ok = s.byName[filepath.Base(name)]
	return sum, ok
}

func readIfThere(name string) ([]byte, error) {
	data, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return data, err
}

// sumLine matches a line of sha256sum, for files read in text or binary mode.
var sumLine = regexp.MustCompile(`^([0-9a-fA-F]{64}) [ *](?:\./)?(.+)$`)

func parseSums(name string, data []byte) (map[string]string, error) {
	list := map[string]string{}
	for line := range strings.Lines(string(data)) {
		line = strings.TrimRight(line, "\r\n")
		m := sumLine.FindStringSubmatch(line)
		switch {
		case line == "":
		case m == nil:
			return nil, fmt.Errorf("%s: %q is no line of sha256sum", name, line)
		default:
			list[m[2]] = strings.ToLower(m[1])
		}
	}
	return list, nil
}
