package fleet

import _ "embed"

// Example is the fleet that the README tells of.
//
//go:embed example/going-mobile.yaml
var Example []byte
