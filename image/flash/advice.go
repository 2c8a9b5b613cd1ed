package flash

// This file has what users are advised to do on each system. It is built on every system so
// that it is tested on every system.

// asRoot is how to run the program as root without hiding from it the variables in which a
// fleet's secrets may be.
const asRoot = "run it with sudo --preserve-env=HEADSCALE_API_KEY,IMAGEBUILDER_AGE_IDENTITY (and name there what else fleet.yaml has by {env: NAME})"

// macAllowed: on macOS root is not enough if the terminal has no permission to use
// removable volumes.
const macAllowed = asRoot + "; and allow your terminal the use of removable volumes (System Settings, Privacy & Security)"
