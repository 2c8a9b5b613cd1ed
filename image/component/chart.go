package component

import (
	"context"
	"fmt"
	"io"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/going-mobile/imagebuilder/image/tree"
)

// maxIndex bounds the index of a chart repository, in bytes; large ones list every release
// ever made.
const maxIndex = 64 << 20

// indexDigest reads the digest of a chart from its repository's index (helm.sh, "The Chart
// Repository Guide"). Like every list of digests, it is fetched over https and never from a
// mirror.
func (q *request) indexDigest(ctx context.Context, version string) (string, error) {
	list, err := q.trusted(ctx, q.Index, maxIndex)
	if err != nil {
		return "", fmt.Errorf("no digest of version %s: %w", version, err)
	}
	r, err := list.Open()
	if err != nil {
		return "", err
	}
	defer r.Close()
	sum, err := chartDigest(r, q.Chart, version)
	if err != nil {
		return "", fmt.Errorf("%s: %w", q.Index, err)
	}
	return sum, nil
}

func chartDigest(r io.Reader, chart, version string) (string, error) {
	var index struct {
		Entries map[string][]struct{ Version, Digest string }
	}
	if err := yaml.NewDecoder(r).Decode(&index); err != nil {
		return "", fmt.Errorf("is no index of a chart repository: %w", err)
	}
	for _, e := range index.Entries[chart] {
		if e.Version != version {
			continue
		}
		if !isDigest(e.Digest) {
			return "", fmt.Errorf("has no sha256 digest of %s %s", chart, version)
		}
		return strings.ToLower(e.Digest), nil
	}
	return "", fmt.Errorf("has no %s %s", chart, version)
}

// checkChart refuses an archive that is not a chart, or is another chart: otherwise Helm
// would only report it in a pod on the node.
func (q *request) checkChart(ctx context.Context, file tree.Content) error {
	meta, err := q.member(ctx, file, "Chart.yaml")
	if err != nil {
		return fmt.Errorf("is no Helm chart: %w", err)
	}
	r, err := meta.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	var chart struct{ Name string }
	if err := yaml.NewDecoder(io.LimitReader(r, maxSums)).Decode(&chart); err != nil {
		return fmt.Errorf("its Chart.yaml cannot be read: %w", err)
	}
	if chart.Name != q.Chart {
		return fmt.Errorf("is the chart %q, want %s", chart.Name, q.Chart)
	}
	return nil
}
