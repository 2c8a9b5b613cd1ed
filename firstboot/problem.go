package firstboot

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Problem is a fault in words: what is wrong and what to do.
type Problem struct {
	Code    string `json:"code"`
	Summary string `json:"summary"`
	Remedy  string `json:"remedy"`
	// Args are the values in Summary and Remedy that do not come from the
	// table, in order, for a reader that has these texts in another language.
	Args []string `json:"args,omitempty"`
	// Person means that somebody must act; otherwise waiting may help.
	Person bool `json:"person"`
	pace   pace
	err    error
}

func (p *Problem) Error() string {
	if p.err != nil {
		return p.Summary + ": " + p.err.Error()
	}
	return p.Summary
}

func (p *Problem) Unwrap() error { return p.err }

// pace is how soon to look again. Even what only a person can fix is looked at
// again, slowly: they may fix it elsewhere, on the server or at the cable.
type pace int

const (
	retry pace = iota // with backoff
	wait              // expected to take a while: look often
	look              // every now and then: being asked is work for the other side, too
	stay              // trying again changes nothing; a new node.yaml or "firstboot retry" does, or what is done elsewhere
)

func (p *Problem) pause(attempt int) time.Duration {
	switch p.pace {
	case wait:
		if attempt > 75 { // about five minutes
			return lookPause
		}
		return min(time.Second<<min(attempt, 10), waitingPause)
	case look:
		return lookPause
	case stay:
		return stayPause
	}
	return backoff(attempt)
}

// text is one row of the table of problems. Each %s takes one argument of
// problem, in order, first those of the summary, then those of the remedy.
type text struct {
	summary, remedy string
	person          bool
	pace            pace
}

const newKey = "Ask the owner for a new key (imagebuilder key --link) and open its link with a phone in this network; or write the key into node.yaml on the boot partition (headscale: authKey:), then switch the node off and on."

const linkRemedy = "Check the cable's other end; switch the router off and on. The node restarts its port, then itself, ever more seldom, until the router answers."

// texts has every fault that this package can name. Each text is short enough
// for a small screen, and the remedy is something that a layman can do.
var texts = map[string]text{
	"node-missing":    {"There is no node.yaml on the boot partition.", "Write node.yaml for this node onto the boot partition: imagebuilder personalize.", true, retry},
	"node-empty":      {"node.yaml is empty: this card was never personalised.", "Write node.yaml for this node onto the boot partition: imagebuilder personalize.", true, retry},
	"node-binary":     {"node.yaml is not a text file.", "Replace node.yaml on the boot partition by the right file, saved as plain text (UTF-8).", true, retry},
	"node-too-large":  {"node.yaml is too large.", "Replace node.yaml on the boot partition by the right file; the limit is 32 KiB.", true, retry},
	"node-version":    {"node.yaml is for another version of this program: %s", "Write node.yaml with the imagebuilder that made this image, or flash a newer image.", true, retry},
	"bad-field":       {"node.yaml has a mistake: %s", "Correct node.yaml on the boot partition, then switch the node off and on.", true, retry},
	"unsigned":        {"node.yaml changes %s without the owner's signature, so none of it is used.", "Ask the owner for a signed node.yaml. Without a signature only a new key, tokens and the network may change.", true, retry},
	"signature-wrong": {"The owner's signature in node.yaml %s; none of the file is used.", "Copy the owner's file onto the boot partition again, whole and unchanged. If that does not help, the owner must sign it again.", true, retry},
	"signature-node":  {"node.yaml was signed for node %s, this is %s; none of it is used.", "Write the file that was made for this node onto the boot partition.", true, retry},
	"signature-old":   {"node.yaml was signed %s and one signed %s is in use; none of it is used.", "Ask the owner for the newest file, or to sign this one again.", true, retry},

	"offer-unsigned": {"What was handed over does not bear the signature of this node's owner; none of it is used.", "Ask the owner for a new link (imagebuilder key --link).", true, retry},
	"offer-wrong":    {"What was handed over bears no valid signature of this node's owner; none of it is used.", "Open the owner's link again, whole and unchanged. If that does not help, ask the owner for a new one.", true, retry},
	"offer-node":     {"What was handed over is for node %s, this is %s; none of it is used.", "Open the page of that node, or ask the owner for the link for this one.", true, retry},
	"offer-old":      {"What was handed over was signed %s, and one signed %s was taken already; none of it is used.", "Ask the owner for a new link (imagebuilder key --link).", true, retry},
	"offer-ahead":    {"What was handed over was signed %s, and here it is only %s; none of it is used.", "The owner sets the clock of their computer right, then makes a new link (imagebuilder key --link) or applies again.", true, retry},
	"offer-owner":    {"This node does not know its owner's key, so it takes nothing through its page.", "Put node.yaml onto the boot partition: take the card or disk to a computer.", true, retry},
	"offer-mistake":  {"What was handed over has a mistake: %s", "Ask the owner for a new link (imagebuilder key --link).", true, retry},
	"offer-large":    {"What was handed over is too large.", "Ask the owner for a new link (imagebuilder key --link).", true, retry},
	"offer-write":    {"What was handed over cannot be written to the boot partition: %s", "Switch off, check the card in a computer, and write the image again if it is damaged.", true, retry},
	"page":           {"The page for a phone is not there: %s", "Wait a minute. If it stays, switch the node off and on.", false, retry},

	"boot-missing":   {"The boot partition cannot be read: %s", "Switch off, check the card in a computer, and write the image again if it is damaged.", true, retry},
	"boot-readonly":  {"The boot partition cannot be written, so the secrets on it cannot be removed: %s", "Check whether the card is write-protected or damaged; run a file system check on its first partition.", true, retry},
	"wrong-board":    {"node.yaml is for board %s, this image is for %s.", "Write the image for the right board, or the node.yaml of this node.", true, retry},
	"foreign-data":   {"The data on this disk belongs to node %s, node.yaml says %s.", "Put the right card or disk into this machine. To use the disk for the new node, erase its data partition.", true, retry},
	"data-lost":      {"The disk with this node's data (%s) is gone.", "Plug it in again, check its cable and power, and switch the node off and on. Once an hour it restarts itself.", true, retry},
	"data-failed":    {"The disk with this node's data (%s) had an error and is not written to any more.", "Switch the node off and on: it checks the disk. Once an hour it restarts itself. If this comes back, the disk or its cable is worn out.", true, retry},
	"data-restart":   {"node.yaml names a data disk, which a node takes only when it starts.", "Switch the node off and on.", true, retry},
	"data-stays":     {"node.yaml names a data disk, but this node lives on its boot disk already, and stays there.", "Remove dataDisk: from node.yaml. To move, write the image anew: the node then begins as a new one.", true, retry},
	"slot-worn":      {"Part of the system in slot %s does not read as it was written (seen %s).", "The node works on with the rest. The owner sends it an update (imagebuilder update), which goes to another place. If this comes back, the card or disk is worn out: replace it.", true, retry},
	"disk-too-small": {"The disk is too small: %s of space for data, at least %s is needed.", "Use a larger card or disk.", true, retry},
	"disk-full":      {"The disk is full: %s free, at least %s is needed.", "Make room on the data partition or use a larger disk.", true, retry},
	"no-link":        {"No network cable is connected.", "Plug the network cable in at both ends; the lights at the socket must be on.", true, retry},
	"no-port":        {"This computer has no network port that this system can use.", "Plug in a USB network adapter. A socket that is there may be switched off in the BIOS, or its driver be missing: the report on the boot partition tells the owner (imagebuilder report).", true, retry},
	"no-radio":       {"The Wi-Fi of this computer was not found, so %s cannot be reached.", "Plug in a network cable, with a USB network adapter where there is no socket. The report on the boot partition tells the owner what is missing (imagebuilder report).", true, retry},
	"no-dhcp":        {"The network gives this node no address (no answer from DHCP on %s).", "Check the cable's other end and the router; switch the router off and on.", true, retry},
	"no-wifi":        {"The Wi-Fi %s is not connected.", "Check that it is on and near enough; its name and password are in node.yaml (network: wifi:). A network cable helps, too.", true, retry},
	"no-dhcp-wifi":   {"The Wi-Fi %s gives this node no address.", "Switch the router off and on. A network cable helps, too.", true, retry},
	"lan-overlaps":   {"This network (%s) uses addresses of the cluster (%s); k3s would cut this node off from it.", "Give the router another network, such as 192.168.77.0/24, then switch the node off and on. A cluster that does not exist yet can have other addresses instead (k3s: config: cluster-cidr:, service-cidr:).", true, look},
	"dns-down":       {"The name server does not answer, so %s cannot be found.", "Check that the internet works at this place; switch the router off and on.", false, retry},
	"no-dns":         {"This network names no name server, so %s cannot be found.", "Let the router's DHCP name one (DNS), or write its ADDRESS, often the router's, into node.yaml: network: {interfaces: [{name: %s, dns: [ADDRESS]}]}", true, retry},
	"unknown-host":   {"The name %s does not exist.", "Check the address in node.yaml (headscale: url:). If it is right, the name server of this network is wrong.", true, retry},
	"unreachable":    {"Headscale at %s does not answer.", "Check that the internet works here and that the Headscale server is running. The node keeps trying.", false, retry},
	"captive-portal": {"This network asks for a login in a browser before it lets anything through.", "Use another network, or let this node through in the network's settings.", true, retry},
	"not-headscale":  {"At %s there is something else than a Headscale server.", "Check the address in node.yaml (headscale: url:).", true, retry},
	"untrusted":      {"The certificate of %s is not trusted: %s", "Put the certificate of your authority into node.yaml (headscale: ca:), or repair the server's certificate.", true, retry},
	"clock-wrong":    {"The clock is wrong (%s) and no time server answers.", "Connect the node to the internet, or name a time server in node.yaml (network: ntp:).", true, retry},
	"clock-served":   {"This network's time server set the clock to %s, which cannot be.", "Correct it (often it is the router), or name another time server in node.yaml (network: ntp:).", true, retry},
	"cert-date":      {"The certificate of %s is not valid today; or the clock, %s, is wrong, which this network's time server set.", "If that is not today's date, correct the time server (often the router) or name another in node.yaml (network: ntp:). If it is, renew the certificate.", true, retry},

	"link-silent":  {"The router (%s) does not answer on %s, though the cable is plugged in.", linkRemedy, false, look},
	"link-router":  {"The router (%s) does not answer on %s; others on this network do.", "Switch the router off and on. If there is another one now, wait: within a quarter of an hour the node asks it for an address by itself, unless node.yaml gives it a fixed one (network: interfaces:).", false, look},
	"link-aside":   {"The router (%s) does not answer on %s; that port is off until %s, and another one does its work.", "Check the cable's other end; switch the router off and on. The node tries that port again by itself.", false, look},
	"link-bounced": {"The router (%s) does not answer on %s; the port was switched off and on.", linkRemedy, false, look},
	"link-no-eee":  {"The router (%s) does not answer on %s; the port was switched off and on, without energy saving (EEE). The node restarts itself at %s.", linkRemedy, false, look},
	"link-restart": {"The router (%s) does not answer on %s; the node restarts itself, for the %s. time.", linkRemedy, false, look},

	"key-missing":   {"node.yaml has no key and this node is not a member yet.", newKey, true, stay},
	"key-lost":      {"This node is no longer a member of the tailnet and its key is used up.", newKey, true, stay},
	"key-spent":     {"The key in node.yaml was used before; it works only once.", newKey, true, stay},
	"key-expired":   {"The key in node.yaml has expired.", newKey, true, stay},
	"key-unknown":   {"Headscale does not know the key in node.yaml.", newKey, true, retry}, // Headscale says so as well when it cannot look the key up (0.26 to 0.29, db/preauth_keys.go)
	"login-failed":  {"Headscale could not take this node in: %s", "Wait; the node keeps trying with the same key. If this stays, look at the Headscale server.", false, retry},
	"name-taken":    {"Another node is called %s already; Headscale named this one %s.", "In Headscale, delete the old node and then rename this one to %s. The node keeps trying.", true, retry},
	"control":       {"Headscale does not run on this node: %s", "Wait a minute. If it stays, read: journalctl -u headscale.", false, retry},
	"control-name":  {"The name of this node's Headscale, %s, does not exist.", "Make a DNS record for it that leads to this machine (%s), or correct headscale: url: in node.yaml. The node keeps looking.", true, look},
	"control-away":  {"The name of this node's Headscale, %s, leads to %s, not to this machine.", "Let its DNS records (A and AAAA) lead to %s alone. What was known before may be remembered for an hour; the node keeps looking.", true, look},
	"control-ends":  {"Headscale's certificate ends %s and was not renewed; after that no node gets in.", "Let its name lead to this machine alone and everybody reach its ports 80 and 443: it is renewed within an hour then. One of your own: its owner puts a new one into fleet.yaml (headscale: server: cert:, key:), and says: imagebuilder apply %s --risky.", true, retry},
	"control-waits": {"Headscale runs here, but this node has no key of its own yet.", "On the owner's computer: imagebuilder headscale init.", true, stay},

	"acme-asks":     {"Headscale asks for a certificate for %s.", "Wait: this takes a minute or two.", false, wait},
	"acme-unproved": {"The certificate authority found no proof that %s is this machine.", "Let everybody reach its ports 80 and %s (tcp), in the provider's firewall, too; and let its name lead here alone. The node keeps asking.", true, look},
	"acme-refused":  {"The certificate authority refuses a certificate for %s: %s", "The owner mends what it names, in DNS or in node.yaml (headscale: url:, control:). The node keeps asking.", true, look},
	"acme-limit":    {"The certificate authority was asked too often for %s: %s", "Look whether its name leads to this machine alone and everybody reaches ports 80 and 443. Then wait: the node asks again by itself.", false, look},
	"acme-down":     {"The certificate authority cannot be asked: %s", "Check that the internet works here. One of your own: its address is control: acme: in node.yaml, and headscale: ca: must have its certificate.", false, look},

	"tailscaled": {"The tailnet program does not run: %s", "Wait a minute. If it stays, switch the node off and on.", false, retry},

	"component-down":   {"%s cannot be downloaded: %s", "Check that the internet works here. The node keeps trying.", false, retry},
	"component-digest": {"%s was downloaded but is not the expected file (wrong digest).", "Do not use this network for it; tell who made the image. Then: firstboot retry.", true, retry},
	"component-none":   {"The image says nothing about its components: %s", "Write the image again.", true, retry},

	"firewall": {"The firewall is not up: %s", "Wait a minute. If it stays, write the image again.", false, retry},

	"storage-none":  {"The data cannot be encrypted: the file system that has %s was made without that.", "Write the image anew: a newer one makes the file systems for it.", true, retry},
	"storage-data":  {"node.yaml wants the data encrypted, but there are some in the clear already (%s).", "Write the image anew: only a new node can be encrypted. Or remove storage: from node.yaml.", true, retry},
	"storage-lost":  {"This node's share of the key for its data is gone or damaged (%s), and the data with it.", "Write the image anew; the node then begins as a new one.", true, stay},
	"storage-waits": {"The data are encrypted only when the update that waits for a restart has proved itself.", "Restart the node. Or the owner takes the update back (imagebuilder update --rollback).", true, look},
	"storage-trial": {"The data are encrypted only when the update that is on trial has proved itself.", "Wait: the node goes on by itself.", false, look},
	"storage-newer": {"A newer image keeps this node's data in a way that this one does not know (%s).", "Do not write the image anew: the data are there. The owner sends it the newest one (imagebuilder update).", true, stay},
	"tpm-changed":   {"The data stay locked: the firmware of this machine, its Secure Boot or the keys for that are not what they were, so the TPM keeps this node's share of the key.", "If its owner changed that, or updated the firmware, they agree by: imagebuilder unlock %s. The node then goes on by itself. If nobody did, find out first who had the machine.", true, look},
	"tpm-other":     {"The data stay locked: the TPM of another machine sealed this node's share of the key, or the one of this machine was cleared.", "Put the disk back into its machine. If its mainboard is a new one, or the TPM was cleared, the owner agrees by: imagebuilder unlock %s. The node then goes on by itself.", true, look},
	"tpm-none":      {"The data stay locked: this machine's TPM sealed this node's share of the key, and it is not there.", "Switch it on in the firmware's setup (TPM 2.0, PTT or fTPM), or put the disk back into its machine. Or the owner agrees by: imagebuilder unlock %s. The node then goes on by itself.", true, look},
	"tpm-failed":    {"The data stay locked: this machine's TPM sealed this node's share of the key, and it does not work: %s", "Switch the machine off, and take it off its power for a minute. If this comes back, the owner agrees by: imagebuilder unlock %s. The node then goes on by itself.", true, look},
	"share-nobody":  {"Nobody gives this node the other share of the key for its data: %s.", "Switch on the nodes that keep it, at the other places, and check the internet there. The node goes on by itself.", false, look},
	"share-place":   {"The data stay locked: the node is at an address where it never was (%s).", "The owner agrees by: imagebuilder unlock %s. The node then goes on by itself.", true, look},
	"share-relayed": {"The data stay locked: the nodes that keep the key cannot see where this node is, as they only hear of it through a relay.", "Let UDP out at this place. Or the owner agrees by: imagebuilder unlock %s. The node then goes on by itself.", true, look},
	"share-joined":  {"The data stay locked: the node has joined the tailnet anew.", "The owner agrees by: imagebuilder unlock %s. The node then goes on by itself.", true, look},
	"share-unseen":  {"The nodes that keep the key for the data only hear of this node through a relay: after its next start it stays locked.", "Let UDP out at this place. Or be ready to agree then by: imagebuilder unlock %s.", false, look},
	"share-unread":  {"This node's own copy of the other share of the key for its data cannot be read (%s), so the nodes that keep it hear nothing of this one any more: after its next start it may stay locked.", "Do not switch it off. Its disk may be worn out: the owner moves the data away while they are open, then writes the image anew.", true, look},
	"share-refused": {"A node that keeps the key for the data does not do so any more: %s. After its next start this one may stay locked.", "Do not switch it off, and tell the owner: if this was not meant, they look at the node that is named.", true, look},
	"share-untold":  {"None of the nodes that keep the key for the data has heard of this one for hours (%s): after its next start it may stay locked.", "Switch on the nodes that keep it, at the other places, and check the internet there. Do not switch this one off before.", false, look},
	"share-sealing": {"After the next start the data may stay locked, as this node's own share of the key is not kept as it should be: %s.", "If the owner changed this machine or its firmware, they agree then by: imagebuilder unlock %s. If nobody did, find out first who had the machine.", true, look},
	"share-revoked": {"This node was revoked. Its data stay locked for ever.", "Give it back to its owner, who can write the image anew.", true, stay},

	"longhorn-disk":    {"%s Seen: %s.", "%s", true, retry},
	"longhorn-foreign": {"The disk for Longhorn's volumes was encrypted by an earlier %s, whose key is gone: nobody can read what is on it.", "If nothing on it is needed, erase it in another computer, both its beginning and its end. Otherwise use another disk.", true, retry},
	"longhorn-restart": {"node.yaml names another disk for Longhorn's volumes than the one in use.", "Switch the node off and on.", true, retry},
	"longhorn-volumes": {"There are volumes in /var/lib/longhorn already, so the disk for them is not used.", "Move them away in Longhorn and empty that directory, or remove longhorn: disk: from node.yaml.", true, retry},
	"longhorn-damaged": {"The disk for Longhorn's volumes is damaged, and repairing it by itself could lose data: %s", "Log in and run e2fsck -f on that device, or use another disk.", true, retry},
	"longhorn-failed":  {"The disk for Longhorn's volumes (%s) had an error and is not written to any more.", "Switch the node off and on: it checks the disk. If this comes back, the disk or its cable is worn out.", true, retry},

	"restore-waiting": {"The volumes' backup %s waits to be brought back: %s.", "Switch on the nodes with disks for volumes. If this stays for an hour, the owner looks whether the bucket can be reached and has what is named. If it has not: imagebuilder resurrect again, with another --system-backup.", false, look},
	"restore-running": {"The volumes come back from the backup %s (%s).", "Wait: this may take hours. What runs on the cluster begins afterwards.", false, look},
	"restore-failed":  {"Longhorn could not bring back the volumes of the backup %s: %s", "The owner mends what it names, then: kubectl -n longhorn-system delete systemrestore %s. The node begins anew.", true, retry},
	"restore-partial": {"Longhorn has brought back the backup %s, but not the volumes of %s.", "The owner restores them in Longhorn's page (kubectl -n longhorn-system port-forward svc/longhorn-frontend 8080:80) as their claims, makes empty claims for the rest, or tries again: kubectl -n longhorn-system delete systemrestore %s. The node goes on by itself.", true, look},

	"role-conflict":  {"This node was set up as %s, node.yaml says %s.", "Write the old role into node.yaml, or erase the data partition to start anew.", true, retry},
	"token-missing":  {"node.yaml has no cluster token and this node is not in the cluster yet.", "Write the token into node.yaml on the boot partition (k3s: token:).", true, stay},
	"waiting-server": {"Waiting for a server of the cluster: %s.", "Switch the first server on; this node then joins by itself.", false, wait},
	"strange-server": {"The %s of this tailnet is no server of the cluster for certain (it lacks %s), so it gets no token.", "In Headscale, give the server the tag of its key, or rename the device that took its name. The node keeps trying.", true, retry},
	"server-twice":   {"Two servers of the tailnet are called %s.", "In Headscale, delete or rename the one that is not meant. The node keeps trying.", true, retry},
	"maybe-cluster":  {"Server %s is known but does not answer; a cluster may exist there, so none is created.", "Switch that server on. If it is gone for good, delete it in Headscale.", true, retry},
	"k3s-starting":   {"The cluster program is starting: %s", "Wait; the first start takes a few minutes.", false, wait},
	"k3s-token":      {"The cluster refused this node's token.", "Make a new token and write it into node.yaml (k3s:), then switch the node off and on.", true, retry},
	"k3s-refused":    {"The cluster does not let this node in yet.", "A server that is starting refuses everybody: wait ten minutes. If it stays, write a new token into node.yaml (k3s:), then switch the node off and on.", false, wait},
	"servers-unlike": {"Server %s runs with other settings than this one: %s.", "Give all servers of the cluster the same settings (k3s: config: in node.yaml). Until then, this node works.", true, retry},
	"k3s-password":   {"The cluster remembers another machine of this name.", "On a server: k3s kubectl delete node %s. In Headscale, delete the old machine of this name, too, if it is still there. The node keeps trying.", true, retry},
	"k3s-config":     {"The cluster program refuses its settings: %s", "Correct k3s: config: in node.yaml.", true, retry},
	"k3s-behind":     {"The store of the cluster goes by a newer version than this node has: its update fell back, after all others had theirs.", "The owner sends it the image that the others run, or a mended one: imagebuilder update %s --image FILE --reboot --no-drain.", true, look},
	"k3s-failed":     {"The cluster program stopped and is started again: %s", "Wait some minutes. If this comes back, read: journalctl -u k3s.", false, wait},
	"k3s-restarted":  {"The cluster program stopped and was started again.", "Wait half a minute. If this comes back, read: journalctl -u k3s.", false, look},
	"k3s-silent":     {"The cluster does not answer as it should: %s", "Wait some minutes. If this stays, switch this node off and on, then the servers.", false, wait},
	"k3s-slow":       {"The cluster answers late, after %s.", "Wait. If this stays, a server's disk or the network between the sites is too slow; a USB disk is faster than a memory card.", false, look},
	"seed-refused":   {"The cluster did not take %s: %s", "Wait some minutes: the node keeps trying. If this stays, the owner must correct node.yaml and sign it.", false, retry},
	"k3s-unready":    {"The cluster does not call this node ready: %s", "Wait some minutes. If this stays, switch the node off and on.", false, wait},
	"unexpected":     {"Something unexpected: %s", "Wait; the node keeps trying. If it stays, read: journalctl -u firstboot.", false, retry},
}

// problem returns the Problem that the table has for a code. An unknown code
// gets the texts of "unexpected", a missing argument becomes "?".
func problem(code string, args ...any) *Problem {
	t, ok := texts[code]
	if !ok {
		t = texts["unexpected"]
	}
	n := strings.Count(t.summary, "%s")
	for len(args) < n+strings.Count(t.remedy, "%s") {
		args = append(args, "?")
	}
	p := &Problem{
		Code:    code,
		Summary: plain(fmt.Sprintf(t.summary, args[:n]...)),
		Remedy:  plain(fmt.Sprintf(t.remedy, args[n:n+strings.Count(t.remedy, "%s")]...)),
		Person:  t.person, pace: t.pace,
	}
	for _, a := range args {
		p.Args = append(p.Args, plain(fmt.Sprint(a)))
	}
	return p
}

// because returns a copy of p with its technical cause, which only the journal
// shows. p itself stays as it is: the status of an earlier pass may have it.
func (p *Problem) because(err error) *Problem {
	q := *p
	q.err = err
	return &q
}

// state is the State of a node with this problem.
func (p *Problem) state() State {
	if p.Person {
		return NeedsPerson
	}
	return Waiting
}

// asProblem returns err if it holds a Problem or is nil, and else an
// "unexpected" one.
func asProblem(err error) error {
	var p *Problem
	if err == nil || errors.As(err, &p) {
		return err
	}
	return problem("unexpected", err.Error()).because(err)
}

// plain makes of s one line of at most 300 printable ASCII characters, which
// every console font has: texts of servers end up on the screen.
func plain(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\r' || r == '\t':
			return ' '
		case r < ' ' || r == 0x7f || r > '~':
			return '?'
		}
		return r
	}, s)
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > 300 {
		s = s[:297] + "..."
	}
	return s
}
