package fetch

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/going-mobile/imagebuilder/image/atomicfile"
)

// Newest returns the newest time that was ever given for name, in all builds with this
// cache. A signed index stays valid for as long as its signer says, so only this record
// reveals that a mirror serves an older index than before.
func (c *Cache) Newest(ctx context.Context, name string, t time.Time) (time.Time, error) {
	sum := sha256.Sum256([]byte(name))
	key := hex.EncodeToString(sum[:])
	unlock, err := c.lock(ctx, newestDir, key)
	if err != nil {
		return t, err
	}
	defer unlock()
	file := filepath.Join(c.dir, newestDir, key)
	if b, err := os.ReadFile(file); err == nil {
		text, _, _ := strings.Cut(string(b), "\n")
		if known, err := time.Parse(time.RFC3339, text); err == nil && !t.After(known) {
			return known, nil
		}
	}
	return t, atomicfile.WriteFile(file, fmt.Appendf(nil, "%s\n%s\n", t.UTC().Format(time.RFC3339), name), 0o644)
}
