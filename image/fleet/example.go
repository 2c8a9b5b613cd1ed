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

// Example is the fleet that the README tells of, with a Headscale of its own.
//
//go:embed example/going-mobile.yaml
var Example []byte

// ofTheVPS are the lines that it has for the sake of that, and marks how they are marked.
var (
	ofTheVPS = regexp.MustCompile(`(?m)^.*# of the VPS.*\n`)
	marks    = regexp.MustCompile(`(?m) # of the VPS$`)
)

// withVPS is the example without its marks.
func withVPS() string {
	return strings.ReplaceAll(marks.ReplaceAllString(string(Example), ""), "# of the VPS: ", "# ")
}

// elsewhere is the example for whom somebody else runs Headscale.
func elsewhere() string {
	return strings.Replace(ofTheVPS.ReplaceAllString(string(Example), ""), "{file: secrets/headscale.key}", "{env: HEADSCALE_API_KEY}", 1)
}
