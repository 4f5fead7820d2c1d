"""A real control plane on loopback: etcd and kube-apiserver as processes, run by a stand-in kubelet."""
