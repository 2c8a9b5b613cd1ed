package words

var english = Language{
	Tag: "en",
	States: map[string]string{
		"working":      "Please wait – the node is working",
		"waiting":      "Waiting – the node keeps trying by itself",
		"needs-person": "Please help – somebody must do something",
		"joined":       "Done – everything is fine",
	},
	Steps: map[string]string{
		"config":     "reading node.yaml",
		"identity":   "name, keys and network settings",
		"clock":      "setting the time",
		"components": "downloading programs",
		"control":    "starting the private network's own server",
		"tailnet":    "joining the private network",
		"firewall":   "keeping everybody else out",
		"k3s":        "starting the cluster program",
		"verify":     "looking whether the cluster accepts this node",
		"seal":       "removing the secrets",
		"longhorn":   "preparing the disk for volumes",
	},
	Labels: Labels{
		Node: "Node", Site: "Site", Address: "Address", Step: "Step", Code: "Code",
		Time: "As of", NextTry: "Next try", Problem: "Problem", Remedy: "What to do", Notice: "Also",
		StepOf:   "%d of %d: %s",
		Starting: "The node is starting and says nothing yet.",
		Quiet:    "The node does not answer at the moment. This is what it said last; the page goes on by itself.",
		Bye:      "You are done: the node needs you no more, and this page will close.",
		HandOver: "Did the owner send you something for this node?",
		Choose:   "A link: open it on this phone. A file: choose it here.",
		Sending:  "Handing it over …",
		Taken:    "Thank you! The node has it and goes on in a few seconds.",
		Busy:     "Too many tries. Please wait half a minute and try again.",
		Lost:     "The node did not answer. Please try again.",
		About:    "This page comes from the node itself and works without the internet. Nobody can change anything here without the owner's signature.",
	},
}
