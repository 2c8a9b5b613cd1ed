package codec

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"strings"
	"testing"
)

// TestNameHasTheModule that is built in: it changes with go.mod, or nodes would take
// patches that end as other bytes.
func TestNameHasTheModule(t *testing.T) {
	text, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), "\tgithub.com/klauspost/compress "+version+"\n") {
		t.Errorf("go.mod has another github.com/klauspost/compress than %s", version)
	}
}

// TestSameBytes: on every machine, and as long as the codec has its name.
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

const want = "9b15459418083ed4ffb8a9a99515d5adf3ef0b9cfe835c6976823088b33bfb95"
