"""What kubeadm, kubelet, containerd, kube-proxy and the network of a node are told."""

from __future__ import annotations

VERSION = "v1.37.2"
PAUSE = "registry.k8s.io/pause:3.10.2"
SOCKET = "unix:///run/containerd/containerd.sock"
SERVICES = "10.96.0.0/16"
TOKEN = "abcdef.0123456789abcdef"  # noqa: S105 -- of a cluster that lives for one test

CONTAINERD = f"""\
version = 2
[plugins."io.containerd.grpc.v1.cri"]
  restrict_oom_score_adj = true
  sandbox_image = "{PAUSE}"
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
[plugins."io.containerd.internal.v1.opt"]
  path = "/var/lib/containerd/opt"
"""

KUBELET = """\
until [ -f /var/lib/kubelet/config.yaml ] && [ -f /var/lib/kubelet/kubeadm-flags.env ] &&
    { [ -f /etc/kubernetes/kubelet.conf ] || [ -f /etc/kubernetes/bootstrap-kubelet.conf ]; }; do
  sleep 0.1
done
. /var/lib/kubelet/kubeadm-flags.env
exec kubelet --bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf \\
    --kubeconfig=/etc/kubernetes/kubelet.conf --config=/var/lib/kubelet/config.yaml $KUBELET_KUBEADM_ARGS
"""
"""As systemd starts it from kubeadm's drop-in, once kubeadm has written its files."""


def network(number: int) -> str:
    """The CNI's configuration: Pods of node `number` are in 10.88.`number`.0/24."""
    return f"""\
{{"cniVersion": "1.0.0", "name": "pods", "plugins": [
  {{"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false, "hairpinMode": true,
    "ipam": {{"type": "host-local", "ranges": [[{{"subnet": "10.88.{number}.0/24"}}]],
              "routes": [{{"dst": "0.0.0.0/0"}}]}}}},
  {{"type": "portmap", "capabilities": {{"portMappings": true}}}}
]}}
"""


def init(name: str, address: str, etcd: str, cgroup: str) -> str:
    """For `kubeadm init` on the first node."""
    return f"""\
apiVersion: kubeadm.k8s.io/v1beta4
kind: InitConfiguration
localAPIEndpoint: {{advertiseAddress: {address}, bindPort: 6443}}
bootstrapTokens: [{{token: {TOKEN}, ttl: 2h0m0s, usages: [signing, authentication],
                   groups: ["system:bootstrappers:kubeadm:default-node-token"]}}]
{_registration(name, address, cgroup)}
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
kubernetesVersion: {VERSION}
controlPlaneEndpoint: {address}:6443
networking: {{serviceSubnet: {SERVICES}, podSubnet: 10.88.0.0/16}}
etcd: {{external: {{endpoints: ["{etcd}"]}}}}
controllerManager: {{extraArgs: [{{name: allocate-node-cidrs, value: "false"}}]}}
---
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
cgroupDriver: cgroupfs
failCgroupV1: false
failSwapOn: false
evictionHard: {{memory.available: 10Mi, nodefs.available: 1%, imagefs.available: 1%}}
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
"""


def join(name: str, address: str, cgroup: str) -> str:
    """For `kubeadm join --control-plane`; the CAs are in the node's folder already."""
    return f"""\
apiVersion: kubeadm.k8s.io/v1beta4
kind: JoinConfiguration
controlPlane: {{localAPIEndpoint: {{advertiseAddress: {address}, bindPort: 6443}}}}
discovery: {{file: {{kubeConfigPath: /srv/discovery.conf}}, tlsBootstrapToken: {TOKEN}}}
{_registration(name, address, cgroup)}
"""


def proxy(name: str) -> str:
    """For kube-proxy, which is a process here."""
    return f"""\
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
hostnameOverride: {name}
mode: iptables
clusterCIDR: 10.88.0.0/16
clientConnection: {{kubeconfig: /etc/kubernetes/admin.conf}}
conntrack: {{maxPerCore: 0}}
"""


def _registration(name: str, address: str, cgroup: str) -> str:
    return f"""\
nodeRegistration:
  name: {name}
  criSocket: {SOCKET}
  taints: []
  imagePullPolicy: Never
  kubeletExtraArgs: [{{name: node-ip, value: {address}}}, {{name: cgroup-root, value: /{cgroup}}}]"""
