"""A system call filter: what no model-written program needs and what namespaces and limits do not cover."""

from __future__ import annotations

import platform
import struct

PID_MARK = b"\xf1\x5a\x0d\xed"
"""Stands for the worker's process id in a filter, which only the worker knows."""

_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_X32_BIT = 0x40000000
_NEW_NAMESPACES = 0x7E020000
_EPERM, _ENOSYS = 1, 38
_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCH, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data

# Numbers on x86_64 and aarch64.
_FORBIDDEN: dict[str, tuple[int | None, int | None]] = {
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "kcmp": (312, 272),
    "pidfd_getfd": (438, 438),
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "bpf": (321, 280),
    "userfaultfd": (323, 282),
    "perf_event_open": (298, 241),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    # Memory that no limit counts.
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "shmget": (29, 194),
    "msgget": (68, 186),
    "semget": (64, 190),
    "mq_open": (240, 180),
}
_NO_NETWORK = {"socket": (41, 198)}  # socketpair stays
_NO_METADATA: dict[str, tuple[int | None, int | None]] = {
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "chown": (92, None),
    "fchown": (93, 55),
    "lchown": (94, None),
    "fchownat": (260, 54),
    "utime": (132, None),
    "utimes": (235, None),
    "futimesat": (261, None),
    "utimensat": (280, 88),
    "truncate": (76, 45),  # Landlock covers it from version 3
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "setxattrat": (463, 463),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    "removexattrat": (466, 466),
}
_NO_OTHER_PROCESSES = {
    "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "pidfd_open": (434, 434),
    "pidfd_send_signal": (424, 424),
    "setpriority": (141, 140),
    "ioprio_set": (251, 30),
    "process_madvise": (440, 440),
    "process_mrelease": (448, 448),
    "migrate_pages": (256, 238),
    "move_pages": (279, 239),
}
_ONLY_ITSELF = {
    # Allowed where the first argument is 0 or the worker's own id.
    "kill": (62, 129),
    "tgkill": (234, 131),
    "prlimit64": (302, 261),
    "sched_setaffinity": (203, 122),
    "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119),
    "sched_setattr": (314, 274),
}
_CLONE, _CLONE3 = (56, 220), (435, 435)


def system_call_filter(*, sees_host: bool = False, sees_processes: bool = False, is_owner: bool = False) -> bytes:
    """A seccomp program as an array of `sock_filter`; empty on an architecture whose numbers are not known here.

    Args:
        sees_host: the host's network or the names of its sockets are within reach: no sockets but `socketpair`.
        sees_processes: other processes are within reach: nothing that acts on them; `PID_MARK` must be replaced by the
            worker's id.
        is_owner: files of the host belong to the program's user: no changes of their rights and times, which Landlock
            does not cover.
    """
    machine = platform.machine()
    if machine not in _ARCHITECTURES:
        return b""
    column = list(_ARCHITECTURES).index(machine)
    forbidden = dict(_FORBIDDEN)
    forbidden |= _NO_NETWORK if sees_host else {}
    forbidden |= _NO_OTHER_PROCESSES if sees_processes else {}
    forbidden |= _NO_METADATA if is_owner else {}
    parts = [
        _step(_LOAD, _ARCH) + _step(_EQUAL, _ARCHITECTURES[machine], 1, 0) + _step(_RETURN, _KILL),
        _step(_LOAD, _NUMBER) + _step(_AT_LEAST, _X32_BIT, 0, 1) + _step(_RETURN, _KILL),
        # Without clone3 the C library uses clone, whose flags a filter can read.
        _step(_EQUAL, _CLONE3[column], 0, 1) + _step(_RETURN, _ERRNO | _ENOSYS),
        _step(_EQUAL, _CLONE[column], 0, 4) + _step(_LOAD, _ARGUMENTS),
        _step(_ANY_BIT, _NEW_NAMESPACES, 0, 1) + _step(_RETURN, _ERRNO | _EPERM) + _step(_RETURN, _ALLOW),
    ]
    numbers = [pair[column] for pair in forbidden.values()]
    parts += [_step(_EQUAL, number, 0, 1) + _step(_RETURN, _ERRNO | _EPERM) for number in numbers if number is not None]
    if sees_processes:
        for pair in _ONLY_ITSELF.values():
            parts.append(_step(_EQUAL, pair[column], 0, 5) + _step(_LOAD, _ARGUMENTS) + _step(_EQUAL, 0, 2, 0))
            parts.append(_step(_EQUAL, int.from_bytes(PID_MARK, "little"), 1, 0))
            parts.append(_step(_RETURN, _ERRNO | _EPERM) + _step(_RETURN, _ALLOW))
    return b"".join(parts) + _step(_RETURN, _ALLOW)


def _step(code: int, value: int, jump_if: int = 0, jump_else: int = 0) -> bytes:
    return struct.pack("=HBBI", code, jump_if, jump_else, value)
