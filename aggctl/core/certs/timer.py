"""Units by which systemd renews certificates before they expire."""

from __future__ import annotations

SERVICE_NAME, TIMER_NAME = "aggctl-certs.service", "aggctl-certs.timer"
FOLDER = "/etc/systemd/system"
MARK = "# Written by: aggctl certs timer install"
NOT_IN_PROGRAMS = frozenset("'\"\\")
"""Signs that systemd takes in no name of a program, quoted or not (config_parse_exec, string_is_safe)."""


def service(words: tuple[str, ...]) -> bytes:
    """Runs the command `words` once; it writes below /etc/kubernetes and /var/lib/aggctl alone."""
    program, *arguments = words
    command = " ".join((_quoted(program), *(_quoted(word.replace("$", "$$")) for word in arguments)))
    return f"""{MARK}
[Unit]
Description=Renew certificates of the Kubernetes aggregation layer
After=network-online.target kubelet.service
Wants=network-online.target

[Service]
Type=oneshot
ExecStart={command}
NoNewPrivileges=yes
PrivateTmp=yes
""".encode()


def timer(calendar: str, random_delay: str) -> bytes:
    """Starts the service by a calendar, at another moment on each node, also after a time slept away."""
    return f"""{MARK}
[Unit]
Description=Renew certificates of the Kubernetes aggregation layer

[Timer]
OnCalendar={calendar}
RandomizedDelaySec={random_delay}
Persistent=true

[Install]
WantedBy=timers.target
""".encode()


def _quoted(word: str) -> str:
    """As systemd.syntax(7) and systemd.unit(5) read it back; `$` is no sign in the name of the program."""
    safe = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{safe}"' if not safe or any(sign in safe for sign in " \t'\"\\;") else safe
