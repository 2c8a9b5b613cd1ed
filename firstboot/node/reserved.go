package node

import (
	"bytes"
	"reflect"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// unsigned says of every field whether a file without the owner's signature may change it on a node
// that has joined. It may change what brings a lost node back, but not who the node is or who may
// do what on it.
var unsigned = map[string]bool{
	"version": true, // only one version exists
	"sealed":  true, // says nothing about the node
	"install": true, // nor does this, once the system is installed: see Install

	"headscale.authKey":  true,
	"k3s.token":          true,
	"k3s.agentToken":     true,
	"k3s.bootstrapToken": true,
	"network.interfaces": true,
	"network.wifi":       true,
	"network.ntp":        true,
	"network.proxy":      true,
	"network.noProxy":    true,

	"node":               false,
	"board":              false,
	"site":               false,
	"role":               false,
	"headscale.url":      false,
	"headscale.ca":       false,
	"control":            false, // whether the node runs Headscale at all
	"k3s.init":           false,
	"k3s.ca":             false,
	"k3s.servers":        false,
	"k3s.serverTags":     false, // decides who may be shown the token
	"k3s.labels":         false,
	"k3s.taints":         false,
	"k3s.config":         false,
	"k3s.seed.manifests": false, // programs
	"k3s.seed.secrets":   false,
	"k3s.seed.restore":   false, // programs, and the choice of data
	"ssh.authorizedKeys": false,
	"ssh.lan":            false, // decides who can connect
	"ssh.hostKey":        false,
	"firewall.lan":       false,
	"firewall.public":    false,
	"page":               false, // decides who can connect
	"timezone":           false,
	"dataDisk":           false,
	"longhorn.disk":      false,
	"storage.encrypt":    false,
	"storage.holders":    false, // decides who may be shown a share of the key
	"storage.holderTags": false,
	"storage.hold":       false,
	"files":              false,
	"ownerKey":           false,

	"control.acme":        false,
	"control.email":       false,
	"control.cert":        false,
	"control.key":         false,
	"control.backup.path": false,
	"control.backup.s3":   false,
	"control.names.hosts": false,
	"control.names.nodes": false,
}

// Reserved lists the fields that differ in next and that only the owner may change.
func (c *Config) Reserved(next *Config) []string {
	return slices.DeleteFunc(c.Changes(next), func(path string) bool { return unsigned[path] })
}

// Changes lists the fields that differ in next, by their paths in the file. The fields of a
// section that only one of the two has are not listed, but the section itself.
func (c *Config) Changes(next *Config) (paths []string) {
	mine, theirs := reflect.ValueOf(c).Elem(), reflect.ValueOf(next).Elem()
	eachField(mine.Type(), "", nil, func(path string, index []int) {
		a, noneHere := mine.FieldByIndexErr(index)
		b, noneThere := theirs.FieldByIndexErr(index)
		if noneHere == nil && noneThere == nil && !same(a, b) {
			paths = append(paths, path)
		}
	})
	return paths
}

// controlSection is the section whose fields are visited besides the section itself, which
// a node may lack.
var controlSection = reflect.TypeFor[*ControlServer]()

// eachField visits the fields that hold values, with their paths in the file.
func eachField(t reflect.Type, path string, index []int, visit func(path string, index []int)) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		at, in := strings.TrimPrefix(path+"."+name, "."), append(index[:len(index):len(index)], i)
		if f.Type.Kind() == reflect.Struct && !f.Type.Implements(reflect.TypeFor[yaml.Marshaler]()) {
			eachField(f.Type, at, in, visit)
			continue
		}
		visit(at, in)
		if f.Type == controlSection {
			eachField(f.Type.Elem(), at, in, visit)
		}
	}
}

// same compares the values as the file represents them: an empty list equals a missing one.
func same(a, b reflect.Value) bool {
	if a.Type() == controlSection && !a.IsNil() && !b.IsNil() {
		return true // its fields are compared one by one
	}
	x, errX := yaml.Marshal(a.Interface())
	y, errY := yaml.Marshal(b.Interface())
	return errX == nil && errY == nil && bytes.Equal(x, y)
}
