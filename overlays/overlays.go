// Package overlays embeds the overlays that come with imagebuilder, one
// directory each. See README.md beside it for how to add one.
package overlays

import "embed"

// FS holds NAME/overlay.yaml and NAME/files for every built-in overlay.
//
//go:embed all:base all:longhorn all:k3s all:tailscale all:firewall all:headscale all:firstboot all:e1000e all:wifi all:light all:apps
var FS embed.FS
