package fleet

import "github.com/going-mobile/imagebuilder/firstboot/node"

// Network is node.Network with its secrets by reference.
type Network struct {
	// Interfaces are ports with fixed addresses, or VLANs on them.
	Interfaces []node.Interface `yaml:"interfaces"`
	// WiFi is one network of WPA2 or WPA3.
	WiFi *WiFi `yaml:"wifi"`
	// NTP are servers that tell the time, for places that do not reach Debian's.
	NTP []string `yaml:"ntp"`
	// Proxy is an address like http://proxy.example.net:3128, by reference, as it may have
	// a password in it.
	Proxy Ref `yaml:"proxy"`
	// NoProxy lists further names and networks that are reached directly.
	NoProxy []string `yaml:"noProxy"`
}

// WiFi is node.WiFi with its passphrase by reference.
type WiFi struct {
	// SSID is the network's name.
	SSID string `yaml:"ssid"`
	// PSK is its passphrase; without one it is open.
	PSK Ref `yaml:"psk"`
	// Country is the two-letter code whose radio rules apply, like PT.
	Country string `yaml:"country"`
}
