package artifact

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"

	"aead.dev/minisign"
	"github.com/klauspost/compress/zstd"
)

const (
	headFormat = "imagebuilder-update %d %d %d\n" // format, lengths of manifest and signature
	maxHead    = 64
	// maxManifest, in bytes, is enough for a root of several GB.
	maxManifest  = 4 << 20
	maxSignature = 1 << 10
	// signs begins the trusted comment: the fleet's key signs other things too.
	signs = "imagebuilder update "
)

// ErrTruncated says that an update ends too early.
var ErrTruncated = errors.New("the update ends too early: the file is cut short, or the connection broke")

// Reader reads an update whose signature is valid. Its contents must be read in order, each to its
// end: first the root, then the boot files.
type Reader struct {
	*Manifest
	// Length is the length of the whole update, in bytes.
	Length int64

	r       *bufio.Reader
	codec   *zstd.Decoder
	patcher patcher // set if there are patches
}

// Open reads the manifest and refuses one that the key's owner did not sign.
func Open(r io.Reader, key minisign.PublicKey) (*Reader, error) {
	in := &Reader{r: bufio.NewReaderSize(r, maxHead)}
	manifest, signature, err := in.head()
	if err != nil {
		return nil, err
	}
	if err := verify(key, manifest, signature); err != nil {
		return nil, err
	}
	if in.Manifest, err = decode(manifest); err != nil {
		return nil, fmt.Errorf("the manifest of the update: %w", err)
	}
	in.Length += in.Travels()
	if in.codec, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(MaxPart)); err == nil && in.Patches() {
		in.patcher, err = newPatcher()
	}
	return in, err
}

// head reads the parts of the update that no digest covers: the first line, the manifest and its
// signature.
func (in *Reader) head() (manifest, signature []byte, err error) {
	line, err := in.r.ReadSlice('\n')
	if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
		return nil, nil, whole(err)
	}
	var format, long, short int
	if n, _ := fmt.Sscanf(string(line), headFormat, &format, &long, &short); n < 1 {
		return nil, nil, errors.New("this is no update: it does not begin as one")
	} else if format != Format {
		return nil, nil, fmt.Errorf("the update has format %d, this program knows %d: it was made by another version of imagebuilder", format, Format)
	}
	if long < 1 || long > maxManifest || short < 1 || short > maxSignature || string(line) != fmt.Sprintf(headFormat, format, long, short) {
		return nil, nil, errors.New("the update's first line is damaged")
	}
	in.Length = int64(len(line) + long + short)
	both := make([]byte, long+short)
	if _, err := io.ReadFull(in.r, both); err != nil {
		return nil, nil, whole(err)
	}
	return both[:long], both[long:], nil
}

// whole turns an end of file in the middle of an update into ErrTruncated.
func whole(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return ErrTruncated
	}
	return fmt.Errorf("read the update: %w", err)
}

func verify(key minisign.PublicKey, manifest, signature []byte) error {
	var s minisign.Signature
	switch err := s.UnmarshalText(signature); {
	case err != nil:
		return errors.New("the update bears no signature that can be read")
	case s.KeyID != key.ID():
		return fmt.Errorf("the update was signed with key %016X, the owner's is %016X", s.KeyID, key.ID())
	case !minisign.Verify(key, manifest, signature):
		return errors.New("the update's signature does not fit: something was changed after it was made")
	case !strings.HasPrefix(s.TrustedComment, signs):
		return errors.New("the update's signature is good, but was made for something else")
	}
	return nil
}

// ReadRoot returns the root's bytes. At its end the reader fails unless all of them together have
// the right digest. base is the running slot's root; it is read if parts are copies or patches.
func (in *Reader) ReadRoot(base io.ReaderAt) io.Reader {
	return &checked{r: &parts{in: in, left: in.Root.Parts, base: base}, want: in.Root.SHA256, hash: sha256.New()}
}

// ReadFile returns a boot file's bytes for a slot, checked as ReadRoot checks the root's. base is
// what Former returns, nil if the file has no base.
func (in *Reader) ReadFile(f *File, slot string, base io.Reader) io.Reader {
	var r io.Reader = &checked{r: &parts{in: in, left: f.source().Parts, base: &window{r: base}}, want: f.source().SHA256, hash: sha256.New()}
	if f.Unpacked != nil {
		r = &checked{r: f.packing(r), want: f.SHA256, hash: sha256.New()}
	}
	if slot != "b" {
		return r
	}
	return &checked{r: &edited{r: r, edits: f.EditsB}, want: f.Sum(slot), hash: sha256.New()}
}

// Sum returns the file's digest in a slot.
func (f *File) Sum(slot string) string {
	if slot == "b" {
		return f.SHA256B
	}
	return f.SHA256
}

// parts reads one part after the other.
type parts struct {
	in   *Reader
	left []Part
	base io.ReaderAt
	rest []byte // the unread rest of the current part
}

func (p *parts) Read(b []byte) (int, error) {
	for len(p.rest) == 0 {
		if len(p.left) == 0 {
			return 0, io.EOF
		}
		var err error
		if p.rest, err = p.in.next(p.left[0], p.base); err != nil {
			return 0, err
		}
		p.left = p.left[1:]
	}
	n := copy(b, p.rest)
	p.rest = p.rest[n:]
	return n, nil
}

func (in *Reader) next(p Part, base io.ReaderAt) ([]byte, error) {
	if p.Copy != nil {
		return copied(p, base)
	}
	packed := make([]byte, p.Data)
	if _, err := io.ReadFull(in.r, packed); err != nil {
		return nil, whole(err)
	}
	if digest(packed) != p.SHA256 {
		return nil, errors.New("a part of the update is damaged: its digest is wrong")
	}
	if p.Patch != nil {
		return in.patcher.apply(p, packed, base)
	}
	b, err := in.codec.DecodeAll(packed, make([]byte, 0, p.Size))
	if err != nil {
		return nil, fmt.Errorf("unpack a part of the update: %w", err)
	}
	if int64(len(b)) != p.Size {
		return nil, fmt.Errorf("a part of the update has %d bytes instead of %d", len(b), p.Size)
	}
	return b, nil
}

func copied(p Part, base io.ReaderAt) ([]byte, error) {
	b := make([]byte, p.Size)
	if _, err := base.ReadAt(b, *p.Copy); err != nil {
		return nil, fmt.Errorf("read the running slot at %d: %w", *p.Copy, err)
	}
	if digest(b) != p.SHA256 {
		return nil, fmt.Errorf("%w: at %d it differs", ErrOther, *p.Copy)
	}
	return b, nil
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// checked passes on what it reads. At the end it returns an error instead of io.EOF if the digest
// is wrong.
type checked struct {
	r    io.Reader
	hash hash.Hash
	want string
}

func (c *checked) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.hash.Write(b[:n])
	if err == io.EOF && hex.EncodeToString(c.hash.Sum(nil)) != c.want {
		return n, errors.New("the update's parts do not make up what it says: its digest is wrong")
	}
	return n, err
}

// edited applies edits to what it reads.
type edited struct {
	r     io.Reader
	edits []Edit
	pos   int64
}

func (e *edited) Read(b []byte) (int, error) {
	n, err := e.r.Read(b)
	for _, edit := range e.edits {
		for i, c := range edit.Bytes {
			if at := edit.At + int64(i) - e.pos; at >= 0 && at < int64(n) {
				b[at] = c
			}
		}
	}
	e.pos += int64(n)
	return n, err
}
