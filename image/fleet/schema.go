package fleet

import _ "embed"

// Schema is the JSON Schema (draft 2020-12) of fleet.yaml, for editors. This package's test
// makes it from the types and their field comments, which are therefore user documentation.
//
//go:embed schema.json
var Schema []byte
