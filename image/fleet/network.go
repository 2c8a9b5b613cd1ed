package fleet

import "github.com/going-mobile/imagebuilder/firstboot/node"

// Network is node.Network with its secrets by reference.
type Network struct {
	// Interfaces are network ports with fixed addresses, or VLANs on them. Other wired ports
	// use DHCP.
	Interfaces []node.Interface `yaml:"interfaces"`
	// WiFi is a wireless network with WPA2 or WPA3, or an open one.
	WiFi *WiFi `yaml:"wifi"`
	// NTP are time servers, for places that cannot reach Debian's.
	NTP []string `yaml:"ntp"`
	// Proxy is a URL such as http://proxy.example.net:3128; a reference, as it may contain a
	// password.
	Proxy Ref `yaml:"proxy"`
	// NoProxy are further names and networks that are reached without the proxy.
	NoProxy []string `yaml:"noProxy"`
}

// WiFi is node.WiFi with its passphrase by reference.
type WiFi struct {
	// SSID is the name of the network.
	SSID string `yaml:"ssid"`
	// PSK is the passphrase; without one the network is open.
	PSK Ref `yaml:"psk"`
	// Country is the two-letter code of the country whose radio rules apply, such as PT.
	Country string `yaml:"country"`
}
