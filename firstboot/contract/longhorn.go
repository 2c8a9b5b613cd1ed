package contract

// LonghornSpace is the namespace into which a cluster's seed puts Longhorn, and in which the
// nodes and the owner look for what it keeps.
const LonghornSpace = "longhorn-system"

// LonghornAPI is the path of Longhorn's objects there in the cluster's API; the plural of a kind
// follows.
const LonghornAPI = "/apis/longhorn.io/v1beta2/namespaces/longhorn-system/"
