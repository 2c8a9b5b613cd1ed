package codec

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"strings"
	"testing"
)

// TestNameHasTheModule: Name has the version of the zstd module in go.mod, or nodes would accept
// patches that give other bytes.
func TestNameHasTheModule(t *testing.T) {
	text, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), "\tgithub.com/klauspost/compress "+version+"\n") {
		t.Errorf("go.mod has another github.com/klauspost/compress than %s", version)
	}
}

// TestSameBytes: the bytes are the same on every machine, as long as the codec has the same Name.
func TestSameBytes(t *testing.T) {
	var text strings.Builder
	for i := range 30000 {
		text.WriteString(strings.Repeat("block", i%3))
		text.WriteByte(byte(i * i >> 5))
	}
	enc, err := NewEncoder()
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(enc.EncodeAll([]byte(text.String())[:BlockSize], nil))
	if got := hex.EncodeToString(sum[:]); got != want {
		t.Errorf("a block has digest %s, not %s: Name must tell of what changed", got, want)
	}
}

// TestSameFiles: as TestSameBytes for boot files, which also decompress to what they were.
func TestSameFiles(t *testing.T) {
	text := []byte(strings.Repeat("a kernel, ", 1<<15) + "and its end")
	for form, want := range map[Form]string{Zstd: "1079f26dcd02dc15648a1cac36673ed0db37589b4cfdbbc12ee340931bbaef05", Gzip: "d6a590c7fd2f9ad3959b119b096c4c066ded751d5f924890019fe2d61ccafbfd"} {
		var out bytes.Buffer
		w, err := form.NewWriter(&out)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(text); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if sum := sha256.Sum256(out.Bytes()); hex.EncodeToString(sum[:]) != want {
			t.Errorf("%s has digest %x, not %s: Name must tell of what changed", form, sum, want)
		}
		r, err := FormOf(out.Bytes()).NewReader(&out)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, text) {
			t.Errorf("%s: %d bytes, %v", form, len(got), err)
		}
	}
	if FormOf(text) != "" {
		t.Error("a text has a form")
	}
	for _, form := range []Form{"", "xz"} {
		_, err := form.NewWriter(io.Discard)
		if _, err2 := form.NewReader(strings.NewReader("")); err == nil || err2 == nil {
			t.Errorf("%q is written or read", form)
		}
	}
}

const want = "9b15459418083ed4ffb8a9a99515d5adf3ef0b9cfe835c6976823088b33bfb95"
