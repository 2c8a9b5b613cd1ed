// Package boards embeds the boards that come with imagebuilder, one YAML file
// each. See README.md beside it for how to add one.
package boards

import "embed"

// FS holds NAME.yaml for every built-in board.
//
//go:embed *.yaml
var FS embed.FS

// Hardware holds hardware/NAME/*.modalias: what machines are made of.
//
//go:embed hardware
var Hardware embed.FS
