"""The user's own manifests for `aggctl register -f`: read, validated as a set, put in order.

`read_set` takes what upstream projects and tutorials ship, and refuses, with place and reason, what is no set
of objects. `check_set` says what cannot work, `apply_order` what comes first. What a set lacks for TLS is in
`aggctl.core.serving`.
"""

from aggctl.core.manifestset.apiservice import check_api_service, check_group_version, port_of
from aggctl.core.manifestset.checks import check_set, service_for
from aggctl.core.manifestset.model import Item
from aggctl.core.manifestset.order import apply_order, in_namespace
from aggctl.core.manifestset.reader import read_set

__all__ = [
    "Item",
    "apply_order",
    "check_api_service",
    "check_group_version",
    "check_set",
    "in_namespace",
    "port_of",
    "read_set",
    "service_for",
]
