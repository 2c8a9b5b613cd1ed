package plan

import (
	"fmt"

	"github.com/going-mobile/imagebuilder/image/fleet"
)

// headscaleCopy warns if no copy of Headscale's database leaves its machine: a copy on the
// same disk is lost with the database.
func headscaleCopy(f *fleet.Fleet, _ *Plan) []Warning {
	name := f.Control()
	if name == "" || f.Cluster.Headscale.Server.Backup.S3 != nil {
		return nil
	}
	return one("headscale-copy", fmt.Sprintf("Headscale's database and its copies lie on the one disk of %s: with that every node loses the tailnet, and needs a new key at its own place.", name),
		"Name a bucket for the copies: cluster: headscale: server: backup: {s3: {endpoint: …, region: …, bucket: …, accessKey: …, secretKey: {file: …}}}.")
}
