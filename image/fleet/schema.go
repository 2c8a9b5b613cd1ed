package fleet

import _ "embed"

// Schema is the JSON Schema (draft 2020-12) of fleet.yaml, for editors. It is
// made from the types and comments of this package by its test.
//
//go:embed schema.json
var Schema []byte
