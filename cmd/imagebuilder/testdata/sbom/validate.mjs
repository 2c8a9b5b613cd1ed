// Validate a CycloneDX 1.6 document with the project's own library, which
// carries the official JSON schema.
import { readFileSync } from 'node:fs'
import { Validation } from '@cyclonedx/cyclonedx-library'

const problems = await new Validation.JsonStrictValidator('1.6').validate(readFileSync(process.argv[2], 'utf8'))
if (problems !== null) {
  console.error(JSON.stringify(problems, null, 2))
  process.exit(1)
}
