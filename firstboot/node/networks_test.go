package node

import (
	"fmt"
	"testing"
)

// TestNetworksOfTheCluster: as k3s takes them, a list or one text, one for each family.
func TestNetworksOfTheCluster(t *testing.T) {
	for _, c := range []struct {
		s    Settings
		want string
	}{
		{nil, "[10.42.0.0/16] [10.43.0.0/16]"},
		{Settings{"cluster-cidr": "10.52.0.0/16, 2001:db8:42::/56"}, "[10.52.0.0/16 2001:db8:42::/56] [10.43.0.0/16]"},
		{Settings{"service-cidr": []any{"10.53.0.7/16", "2001:db8:43::/112"}}, "[10.42.0.0/16] [10.53.0.0/16 2001:db8:43::/112]"},
	} {
		if got := fmt.Sprint(c.s.PodNetworks(), " ", c.s.ServiceNetworks()); got != c.want {
			t.Errorf("%v: %s, want %s", c.s, got, c.want)
		}
	}
}
