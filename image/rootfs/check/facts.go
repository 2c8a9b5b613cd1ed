package check

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/going-mobile/imagebuilder/image/tree"
)

// fact is what matters about the content of one file. The zero value is the fact of a file
// that is neither a program nor a library.
type fact struct {
	Script  string   `json:"script,omitempty"`  // the line after "#!"
	Machine string   `json:"machine,omitempty"` // of an ELF file: "EM_AARCH64"
	Interp  string   `json:"interp,omitempty"`  // PT_INTERP
	Needed  []string `json:"needed,omitempty"`  // DT_NEEDED
	RunPath []string `json:"runpath,omitempty"` // DT_RUNPATH, or DT_RPATH if there is none
	Broken  string   `json:"broken,omitempty"`  // why an ELF file cannot be read
}

// facts maps the digest of a file's content to its fact.
type facts map[string]fact

// factsVersion is part of the cache key; raise it when the meaning of fact changes.
const factsVersion = "3"

var libraryName = regexp.MustCompile(`\.so(\.[0-9.]+)?$`)

// mayRun reports whether a file's content must be read: the file is executable, or is named
// like a shared library.
func mayRun(n *tree.Node) bool {
	return n.Mode.IsRegular() && n.Content != nil && n.Size() >= 4 &&
		(n.Mode&0o111 != 0 || libraryName.MatchString(path.Base(n.Path)))
}

// learn reads every file that may run, unless the cache has the facts of an earlier build
// with the same files.
func learn(ctx context.Context, nodes []*tree.Node, opt Options) (facts, error) {
	files := map[string]*tree.Node{}
	for _, n := range nodes {
		if mayRun(n) {
			files[n.Content.SHA256()] = n
		}
	}
	if opt.Remember == nil {
		return readFacts(ctx, files)
	}
	b, err := opt.Remember(ctx, "check", factsKey(files), func() ([]byte, error) {
		known, err := readFacts(ctx, files)
		if err != nil {
			return nil, err
		}
		return json.Marshal(known)
	})
	if err != nil {
		return nil, err
	}
	known := facts{}
	return known, json.Unmarshal(b, &known)
}

func factsKey(files map[string]*tree.Node) string {
	sums := make([]string, 0, len(files))
	for sum := range files {
		sums = append(sums, sum)
	}
	slices.Sort(sums)
	h := sha256.Sum256([]byte(factsVersion + strings.Join(sums, "\n")))
	return hex.EncodeToString(h[:])
}

func readFacts(ctx context.Context, files map[string]*tree.Node) (facts, error) {
	known := facts{}
	var mu sync.Mutex
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for sum, n := range files {
		group.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			f, err := readFact(n)
			if err != nil {
				return fmt.Errorf("/%s: %w", n.Path, err)
			}
			mu.Lock()
			defer mu.Unlock()
			known[sum] = f
			return nil
		})
	}
	return known, group.Wait()
}

// headSize is enough for a "#!" line, and for ELF and program headers.
const headSize = 4096

func readFact(n *tree.Node) (fact, error) {
	r, err := n.Content.Open()
	if err != nil {
		return fact{}, err
	}
	defer r.Close()
	b := bufio.NewReaderSize(r, headSize)
	head, err := b.Peek(headSize)
	if err != nil && !errors.Is(err, io.EOF) {
		return fact{}, err
	}
	switch {
	case bytes.HasPrefix(head, []byte("#!")):
		line, _, _ := bytes.Cut(head[2:], []byte("\n"))
		// The kernel cuts spaces and tabs only: a carriage return belongs to the name.
		return fact{Script: strings.Trim(string(line), " \t")}, nil
	case !bytes.HasPrefix(head, []byte(elf.ELFMAG)):
		return fact{}, nil
	}
	if f, ok := staticProgram(head); ok {
		return f, nil
	}
	// The dynamic section comes after the code, near the end.
	data := bytes.NewBuffer(make([]byte, 0, n.Size()+bytes.MinRead))
	if _, err := data.ReadFrom(b); err != nil {
		return fact{}, err
	}
	return elfFact(data.Bytes()), nil
}

// staticProgram recognizes a program without interpreter and libraries from its first
// bytes. Go programs are such, and are the largest files of an image.
func staticProgram(head []byte) (fact, bool) {
	// Clear the fields about section headers, which are at the end of the file.
	h := slices.Clone(head)
	if len(h) < 64 || h[elf.EI_CLASS] != byte(elf.ELFCLASS64) || h[elf.EI_DATA] != byte(elf.ELFDATA2LSB) {
		return fact{}, false
	}
	clear(h[40:48]) // e_shoff
	clear(h[58:64]) // e_shentsize, e_shnum, e_shstrndx
	f, err := elf.NewFile(bytes.NewReader(h))
	if err != nil || len(f.Progs) == 0 {
		return fact{}, false
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
			return fact{}, false
		}
	}
	return fact{Machine: f.Machine.String()}, true
}

func elfFact(data []byte) fact {
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return fact{Broken: err.Error()}
	}
	out := fact{Machine: f.Machine.String()}
	for _, p := range f.Progs {
		if p.Type != elf.PT_INTERP {
			continue
		}
		b, err := io.ReadAll(io.LimitReader(p.Open(), 4096))
		if err != nil {
			return fact{Broken: err.Error()}
		}
		out.Interp = strings.TrimRight(string(b), "\x00")
	}
	if f.SectionByType(elf.SHT_DYNAMIC) == nil {
		return out
	}
	if out.Needed, err = f.DynString(elf.DT_NEEDED); err != nil {
		return fact{Broken: err.Error()}
	}
	paths, err := f.DynString(elf.DT_RUNPATH)
	if err == nil && len(paths) == 0 {
		paths, err = f.DynString(elf.DT_RPATH)
	}
	if err != nil {
		return fact{Broken: err.Error()}
	}
	for _, p := range paths {
		out.RunPath = append(out.RunPath, strings.Split(p, ":")...)
	}
	return out
}
