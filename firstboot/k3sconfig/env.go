package k3sconfig

import (
	"strings"

	"github.com/going-mobile/imagebuilder/firstboot/node"
)

// EnvFile is the environment of k3s' unit.
const EnvFile = Dir + "/k3s.env"

const roleIs = "FIRSTBOOT_ROLE="

// Env returns that environment: K3S_ROLE is the command that the unit runs, and the last line
// is the node's own role, which Role reads.
func Env(role node.Role) string {
	mode := "server"
	if role == node.Agent {
		mode = "agent"
	}
	return "K3S_ROLE=" + mode + "\n" + roleIs + string(role) + "\n"
}

// Role returns the role for which an environment was made.
func Role(env string) node.Role {
	env = strings.TrimSpace(env)
	return node.Role(strings.TrimPrefix(env[strings.LastIndexByte(env, '\n')+1:], roleIs))
}
