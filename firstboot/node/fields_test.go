package node_test

import (
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/going-mobile/imagebuilder/firstboot/node"
)

// inTheOpen are the fields whose text sealing leaves on the boot partition. A new field belongs
// here if it never holds a secret; otherwise Seal removes it. The claims of k3s.seed.restore are
// left too; they are packed, so their text is not found.
var inTheOpen = strings.Fields(`
	node board site role page timezone dataDisk.path ownerKey
	headscale.url headscale.ca control.acme control.email control.cert control.backup.path control.backup.s3.endpoint control.backup.s3.region control.backup.s3.bucket control.backup.s3.prefix control.backup.s3.accessKey control.names.hosts control.names.nodes
	k3s.servers k3s.serverTags k3s.labels k3s.taints k3s.seed.manifests
	k3s.seed.restore.systemBackup k3s.seed.restore.namespaces k3s.seed.restore.manifests
	ssh.authorizedKeys firewall.lan firewall.public
	network.interfaces.name network.interfaces.addresses network.interfaces.gateway network.interfaces.dns
	network.wifi.ssid network.wifi.country network.ntp network.noProxy
	longhorn.disk.path storage.holders storage.holderTags
	files.path files.owner`)

// TestSealRemovesWhatIsNotInTheOpen plants a text in every field of node.yaml
// and looks for it in what sealing leaves.
func TestSealRemovesWhatIsNotInTheOpen(t *testing.T) {
	var c node.Config
	plant(reflect.ValueOf(&c).Elem(), "")
	planted, left := planted(t, &c), planted(t, c.Seal())
	slices.Sort(inTheOpen)
	if !slices.Equal(left, inTheOpen) {
		t.Errorf("sealing leaves %v\nwant %v", left, inTheOpen)
	}
	for _, secret := range []string{"headscale.authKey", "control.key", "control.backup.s3.secretKey", "ssh.hostKey", "k3s.token", "k3s.config", "k3s.seed.secrets.data", "network.wifi.psk", "network.proxy", "files.content"} {
		if !slices.Contains(planted, secret) || slices.Contains(left, secret) {
			t.Errorf("%s: planted and gone is wanted", secret)
		}
	}
}

// plant fills every field with its own path.
func plant(v reflect.Value, path string) {
	switch v.Kind() {
	case reflect.String:
		v.SetString("PLANT:" + path + ":")
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		plant(v.Elem(), path)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		plant(v.Index(0), path)
	case reflect.Map:
		text := "PLANT:" + path + ":"
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(reflect.ValueOf(text), reflect.ValueOf(text).Convert(v.Type().Elem()))
	case reflect.Struct:
		for i := range v.NumField() {
			name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("yaml"), ",")
			plant(v.Field(i), strings.TrimPrefix(path+"."+name, "."))
		}
	}
}

// planted lists the paths that the text of a configuration has.
func planted(t *testing.T, c *node.Config) []string {
	t.Helper()
	b, err := node.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, m := range regexp.MustCompile(`PLANT:([\w.]+):`).FindAllStringSubmatch(string(b), -1) {
		found = append(found, m[1])
	}
	slices.Sort(found)
	return slices.Compact(found)
}
