"""System calls that Python has no function for. Each raises OSError where the kernel refuses."""

from __future__ import annotations

import ctypes
import os
import struct

TYPE_CHECKING = False  # typing takes longer to import than the rest together
if TYPE_CHECKING:
    from collections.abc import Sequence

CLONE_NEWNS, CLONE_NEWIPC, CLONE_NEWUSER = 0x00020000, 0x08000000, 0x10000000
CLONE_NEWPID, CLONE_NEWNET = 0x20000000, 0x40000000
CAP_DAC_READ_SEARCH = 1 << 2
_PR_SET_PDEATHSIG, _PR_SET_KEEPCAPS, _PR_SET_SECCOMP, _PR_SET_SUBREAPER, _PR_SET_NO_NEW_PRIVS = 1, 8, 22, 36, 38
_MS_NOSUID, _MS_NODEV, _MS_REC, _MS_PRIVATE = 2, 4, 1 << 14, 1 << 18
_CAPABILITY_VERSION_3 = 0x20080522
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same on every architecture
_RULE_PATH_BENEATH = 1

# Landlock's file rights: bits by the order in which they came.
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 2, 4, 8
_MAKE_CHAR, _MAKE_BLOCK = 1 << 6, 1 << 11

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def _prctl(option: int, value: int, pointer: ctypes.Array[ctypes.c_char] | int = 0) -> None:
    third = pointer if isinstance(pointer, ctypes.Array) else ctypes.c_ulong(pointer)
    _checked(_libc.prctl(option, ctypes.c_ulong(value), third, ctypes.c_ulong(0), ctypes.c_ulong(0)), f"prctl {option}")


def die_with_parent(signal: int) -> None:
    """Send this process the signal when the thread that started it ends."""
    _prctl(_PR_SET_PDEATHSIG, signal)


def adopt_orphans() -> None:
    """Descendants whose parent ends become this process's children."""
    _prctl(_PR_SET_SUBREAPER, 1)


def forbid_new_privileges() -> None:
    """No set-uid program gives more from here on."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def filter_system_calls(program: bytes) -> None:
    """Install a seccomp filter: an array of `sock_filter`."""
    array = ctypes.create_string_buffer(program, len(program))
    header = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(array)))
    _prctl(_PR_SET_SECCOMP, 2, header)


def become(uid: int, capabilities: int = 0) -> None:
    """Leave root for this user and group, without supplementary groups, keeping only these capabilities."""
    _prctl(_PR_SET_KEEPCAPS, 1)
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    set_capabilities(capabilities)


def set_capabilities(bits: int) -> None:
    """Keep only these capabilities, a bit each (of the first 32)."""
    header = struct.pack("Ii", _CAPABILITY_VERSION_3, 0)
    _checked(_libc.capset(header, struct.pack("6I", bits, bits, 0, 0, 0, 0)), "capset")


def unshare(flags: int) -> None:
    """Leave namespaces for new ones; a new user namespace maps only the present user."""
    uid, gid = os.geteuid(), os.getegid()
    _checked(_libc.unshare(flags), "unshare")
    if flags & CLONE_NEWUSER:
        for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)


def mount_memory(folder: str, num_bytes: int, uid: int) -> None:
    """Mount an empty file system of bounded size over the folder, in this mount namespace only."""
    _mount(None, "/", None, _MS_REC | _MS_PRIVATE, None)
    options = f"size={num_bytes},nr_inodes={max(1024, num_bytes // 4096)},mode=0700,uid={uid},gid={uid}"
    _mount("tmpfs", folder, "tmpfs", _MS_NOSUID | _MS_NODEV, options)


def _mount(source: str | None, target: str, kind: str | None, flags: int, options: str | None) -> None:
    texts = [None if text is None else text.encode() for text in (source, target, kind, options)]
    _checked(_libc.mount(*texts[:3], ctypes.c_ulong(flags), texts[3]), f"mount {target}")


def landlock_version() -> int:
    """Version of Landlock's interface, 0 without Landlock."""
    return max(0, int(_libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), 1)))


class Landlock:
    """Confines this process and its children to a few places in the file system (landlock(7))."""

    def __init__(self, readable: Sequence[str], devices: Sequence[str], folder: str) -> None:
        """Open the places, so that `enforce` works after the user has changed."""
        version = landlock_version()
        all_rights = (1 << (13 if version < 2 else 14 if version < 3 else 15 if version < 5 else 16)) - 1
        # From version 4 TCP, from 6 abstract sockets and signals to processes that are not confined with this one.
        attributes = struct.pack("3Q", all_rights, 3, 3)[: 8 if version < 4 else 16 if version < 6 else 24]
        self._rules = _checked(
            _libc.syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0), "landlock"
        )
        for path in readable:
            self._allow(path, _EXECUTE | _READ_FILE | (_READ_DIR if os.path.isdir(path) else 0))
        for path in devices:
            self._allow(path, _READ_FILE | _WRITE_FILE)
        self._allow(folder, all_rights & ~(_MAKE_CHAR | _MAKE_BLOCK))

    def _allow(self, path: str, rights: int) -> None:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            rule = struct.pack("=Qi", rights, place)
            _checked(_libc.syscall(_ADD_RULE, self._rules, _RULE_PATH_BENEATH, rule, 0), f"landlock {path}")
        finally:
            os.close(place)

    def enforce(self) -> None:
        """From here on, for good; needs `forbid_new_privileges` first."""
        _checked(_libc.syscall(_RESTRICT_SELF, self._rules, 0), "landlock")
        os.close(self._rules)
