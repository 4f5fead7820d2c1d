"""ClusterConfigurations of kubeadm in both shapes of its extraArgs."""

from __future__ import annotations

from pathlib import Path

from aggctl.core.persist.configuration import read_configuration
from aggctl.core.persist.edit import edit_configuration

FOLDER = Path(__file__).parent.parent / "core" / "kubeadm_configs"
FILES = sorted(FOLDER.iterdir())
"""What `kubeadm config print init-defaults` of 1.37 prints, and such as kubeadm 1.28 and 1.37 upload."""

MAPPING, LIST = "v1beta3", "v1beta4"


def configuration(body: str, version: str = LIST) -> str:
    """A ClusterConfiguration with these lines."""
    return f"apiVersion: kubeadm.k8s.io/{version}\nkind: ClusterConfiguration\n{body}"


def edited(text: str, **flags: str) -> str:
    """The text once the flags (with `_` for `-`) are set."""
    wanted = {name.replace("_", "-"): value for name, value in flags.items()}
    return edit_configuration(read_configuration(text), wanted)
