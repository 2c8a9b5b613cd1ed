package firstboot

import (
	"regexp"
	"slices"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/k3sconfig"
	"github.com/going-mobile/imagebuilder/firstboot/secret"
)

// secretFiles have the secrets that sealing removed from node.yaml, and those
// that the node made for itself.
var secretFiles = []string{k3sconfig.Token, k3sconfig.AgentToken, wifiFile, proxyEnv, contract.HeadscaleStores, hostKeyFile, nodePassword, storageFile, storageNext, peerShare, spareShare, keptConfig}

// assigned matches a line NAME=VALUE or NAME: VALUE.
var assigned = regexp.MustCompile(`(?m)^\s*(?:- )?\w+(?:=|: *)["']?(.+?)["']?\s*$`)

// Secrets returns what this node must show nobody: the secrets in node.yaml
// while they are there, and the files that are written from it, each as a whole
// and by its values. A file that does not exist yet has no secret yet.
func Secrets(files Files) (found []secret.String) {
	h := &Host{Files: files}
	names := slices.Clone(secretFiles)
	if g, err := load(files); err == nil {
		found = g.cfg.Secrets()
		for _, f := range g.cfg.Files { // a sealed node.yaml still has their names
			names = append(names, f.Path)
		}
	}
	for i, name := range names {
		text, err := h.read(name)
		if err != nil {
			continue
		}
		found = append(found, secret.String(text))
		if i >= len(secretFiles) { // a person's file: its single words may be in every log
			continue
		}
		for _, m := range assigned.FindAllSubmatch(text, -1) {
			found = append(found, secret.String(m[1]))
		}
	}
	return found
}
