"""The least rights that `aggctl doctor` and `aggctl status` need, as YAML to apply."""

from __future__ import annotations

LEAST = """\
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: aggctl-doctor}
rules:
# doctor and status
- {apiGroups: [apiregistration.k8s.io], resources: [apiservices], verbs: [list, watch]}
- {apiGroups: [""], resources: [services], verbs: [get, list]}
- {apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [list, watch]}
- {apiGroups: [coordination.k8s.io], resources: [leases], verbs: [list]}
- {apiGroups: [""], resources: [pods], verbs: [list]}
- apiGroups: [""]
  resources: [configmaps]
  resourceNames: [extension-apiserver-authentication, kubeadm-config]
  verbs: [get]
- {nonResourceURLs: [/metrics], verbs: [get]}
# doctor, to say why
- {apiGroups: [""], resources: [pods/log, pods/proxy], verbs: [get]}
- {apiGroups: [""], resources: [pods/portforward], verbs: [get, create]}
- {apiGroups: [""], resources: [events], verbs: [list]}
- {apiGroups: [""], resources: [namespaces], verbs: [get, list]}
- {apiGroups: [apps], resources: [deployments, statefulsets, daemonsets], verbs: [list]}
- {apiGroups: [networking.k8s.io], resources: [networkpolicies], verbs: [list]}
- {apiGroups: [autoscaling], resources: [horizontalpodautoscalers], verbs: [list]}
- {apiGroups: [authorization.k8s.io], resources: [subjectaccessreviews], verbs: [create]}
"""
