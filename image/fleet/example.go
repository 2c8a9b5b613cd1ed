package fleet

import (
	_ "embed"
	"regexp"
	"strings"
)

// The example's name, and the address of its Headscale.
const (
	ExampleName      = "going-mobile"
	ExampleHeadscale = "https://headscale.example.net"
)

// Example is the fleet that the README describes, with its own Headscale.
//
//go:embed example/going-mobile.yaml
var Example []byte

// ofTheVPS matches the lines that are there for its own Headscale only, marks their marks.
var (
	ofTheVPS = regexp.MustCompile(`(?m)^.*# of the VPS.*\n`)
	marks    = regexp.MustCompile(`(?m) # of the VPS$`)
)

// withVPS is the example without its marks.
func withVPS() string {
	return strings.ReplaceAll(marks.ReplaceAllString(string(Example), ""), "# of the VPS: ", "# ")
}

// elsewhere is the example for a fleet whose Headscale is run by somebody else.
func elsewhere() string {
	return strings.Replace(ofTheVPS.ReplaceAllString(string(Example), ""), "{file: secrets/headscale.key}", "{env: HEADSCALE_API_KEY}", 1)
}
