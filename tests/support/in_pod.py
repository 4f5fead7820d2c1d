"""The console script as in a Pod: what the kubelet mounts there for its ServiceAccount lies elsewhere.

Usage: in_pod.py FOLDER WORDS...
"""

from __future__ import annotations

import sys

from kubernetes.config import incluster_config

from aggctl.cli.app import run


def main(folder: str, words: list[str]) -> int:
    """Run the command."""
    incluster_config.SERVICE_TOKEN_FILENAME = f"{folder}/token"
    incluster_config.SERVICE_CERT_FILENAME = f"{folder}/ca.crt"
    sys.argv = ["aggctl", *words]
    return run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
