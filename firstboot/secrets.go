package firstboot

import (
	"regexp"
	"slices"

	"github.com/going-mobile/imagebuilder/firstboot/contract"
	"github.com/going-mobile/imagebuilder/firstboot/secret"
)

// secretFiles are where secrets of node.yaml stay when sealing took them from
// there, and what a node made for itself.
var secretFiles = []string{k3sToken, k3sAgents, wifiFile, proxyEnv, contract.HeadscaleStores, hostKeyFile, nodePassword, storageFile, storageNext, peerShare, spareShare, keptConfig}

// assigned is a line NAME=VALUE or NAME: VALUE.
var assigned = regexp.MustCompile(`(?m)^\s*(?:- )?\w+(?:=|: *)["']?(.+?)["']?\s*$`)

// Secrets are what this node must tell nobody: those of node.yaml while they
// are in it, and those of the files that are written from it, whose values are
// listed besides the whole. What is not there yet is no secret yet.
func Secrets(files Files) (found []secret.String) {
	h := &Host{Files: files}
	names := slices.Clone(secretFiles)
	if g, err := load(files); err == nil {
		found = g.cfg.Secrets()
		for _, f := range g.cfg.Files { // of a sealed node.yaml the names are left
			names = append(names, f.Path)
		}
	}
	for i, name := range names {
		text, err := h.read(name)
		if err != nil {
			continue
		}
		found = append(found, secret.String(text))
		if i >= len(secretFiles) { // a person's: any word of it may be in every log
			continue
		}
		for _, m := range assigned.FindAllSubmatch(text, -1) {
			found = append(found, secret.String(m[1]))
		}
	}
	return found
}
