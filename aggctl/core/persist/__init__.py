"""Changes that outlive `kubeadm upgrade`: what kubeadm writes the manifest from says them, too."""
