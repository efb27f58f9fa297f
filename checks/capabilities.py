"""File capabilities: the text of rpm and setcap (`cap_net_raw=ep`) and the kernel's own form (capability.h). Pure."""

from __future__ import annotations

import re
import struct

NAMES = (
    "chown", "dac_override", "dac_read_search", "fowner", "fsetid", "kill", "setgid", "setuid", "setpcap",
    "linux_immutable", "net_bind_service", "net_broadcast", "net_admin", "net_raw", "ipc_lock", "ipc_owner",
    "sys_module", "sys_rawio", "sys_chroot", "sys_ptrace", "sys_pacct", "sys_admin", "sys_boot", "sys_nice",
    "sys_resource", "sys_time", "sys_tty_config", "mknod", "lease", "audit_write", "audit_control", "setfcap",
    "mac_override", "mac_admin", "syslog", "wake_alarm", "block_suspend", "audit_read", "perfmon", "bpf",
    "checkpoint_restore",
)  # fmt: skip
"""In the order of their numbers."""

_NUMBERS = {f"cap_{name}": number for number, name in enumerate(NAMES)}
_CLAUSE = re.compile(r"(?P<names>[a-z0-9_,]*)(?P<actions>([=+-][eip]*)+)")
_ACTION = re.compile(r"([=+-])([eip]*)")
_REVISION, _EFFECTIVE, _MASK = 0x02000000, 0x1, 0xFF000000


def encode(text: str) -> str | None:
    """The attribute `security.capability` in hex; empty for none, None when the text is not understood."""
    sets = dict.fromkeys("eip", 0)
    for clause in text.lower().split():
        match = _CLAUSE.fullmatch(clause)
        if match is None:
            return None
        names = [name for name in match["names"].split(",") if name]
        if any(name not in _NUMBERS and name != "all" for name in names):
            return None
        every = (1 << len(NAMES)) - 1
        bits = 0
        for name in names or ["all"]:
            bits |= every if name == "all" else 1 << _NUMBERS[name]
        for sign, letters in _ACTION.findall(match["actions"]):
            if sign == "=":
                sets = {letter: held & ~bits for letter, held in sets.items()}
            for letter in letters:
                sets[letter] = sets[letter] & ~bits if sign == "-" else sets[letter] | bits
    permitted, inheritable = sets["p"], sets["i"]
    if not any(sets.values()):
        return ""
    magic = _REVISION | (_EFFECTIVE if sets["e"] else 0)
    low, high = 0xFFFFFFFF, 32
    return struct.pack(
        "<5I", magic, permitted & low, inheritable & low, permitted >> high, inheritable >> high
    ).hex()  # fmt: skip


def decode(value: str) -> str:
    """The hex as text for people; what is not understood stays hex."""
    if not value:
        return "none"
    data = bytes.fromhex(value)
    if len(data) < 20 or struct.unpack("<I", data[:4])[0] & _MASK not in {_REVISION, 0x03000000}:
        return value
    magic, low, inherited, high, inherited_high = struct.unpack("<5I", data[:20])
    permitted, inheritable = low | high << 32, inherited | inherited_high << 32
    words = []
    for bits, letters in ((permitted, "ep" if magic & _EFFECTIVE else "p"), (inheritable, "i")):
        names = [f"cap_{name}" for number, name in enumerate(NAMES) if bits >> number & 1]
        if names:
            words.append(f"{','.join(names)}={letters}")
    return " ".join(words) or "empty"
