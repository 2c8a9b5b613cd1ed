package k3sconfig

// Containerd is a part of containerd's configuration (containerd-config.toml(5)), which k3s' own
// imports. containerd writes down durably that a layer is unpacked, but not the layer: after a
// power cut within minutes its files are empty, and stay so, as no snapshot is ever looked at
// again (containerd/containerd#5854). A node writes to its card even later than others (see
// 60-imagebuilder.conf of the overlay base). With this, each layer is written out before it is
// said to be there, whether it was pulled or comes from an archive of the image.
const Containerd = `version = 3

[plugins.'io.containerd.service.v1.diff-service']
  sync_fs = true
`
