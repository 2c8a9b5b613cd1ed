package fleet

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

// Duration is a time span in hours, days or weeks: 36h, 14d, 3w.
type Duration time.Duration

var spans = []struct {
	suffix string
	unit   time.Duration
}{{"h", time.Hour}, {"d", 24 * time.Hour}, {"w", 7 * 24 * time.Hour}}

// UnmarshalYAML reads a whole number with a unit.
func (d *Duration) UnmarshalYAML(n *yaml.Node) error {
	for _, s := range spans {
		digits, ok := strings.CutSuffix(n.Value, s.suffix)
		if !ok {
			continue
		}
		if v, err := strconv.ParseUint(digits, 10, 16); err == nil && v > 0 {
			*d = Duration(time.Duration(v) * s.unit)
			return nil
		}
	}
	return fmt.Errorf("want a number of hours, days or weeks, such as 36h, 14d or 3w")
}
