"""A seccomp filter: the system calls that a confined worker is refused (seccomp(2)).

The filter is a list of what is forbidden and lets everything else pass, because the C library and
Python change which calls they use from release to release. Forbidden is what a worker that was
taken over by its target could use beyond its one connection: further sockets, other processes, new
namespaces, memory beyond its limit, files that are made, changed or removed, and passing
descriptors. A refused call fails with EPERM. Touches only this process.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys

from iscsid.process.prctl import Option, prctl

_MODE_FILTER = 2
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_LOAD, _RETURN = 0x20, 0x06
"""BPF_LD|BPF_W|BPF_ABS, BPF_RET|BPF_K."""
_JUMP_EQUAL, _JUMP_GREATER_EQUAL, _JUMP_SET = 0x15, 0x35, 0x45
"""BPF_JMP and BPF_K with BPF_JEQ, BPF_JGE, BPF_JSET."""
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16
"""Offsets in struct seccomp_data."""
_X32 = 0x40000000
"""On x86_64, numbers from here on are those of the x32 interface."""
_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

_SOL_SOCKET, _SO_LINGER = 1, 13

_NUMBERS: dict[str, tuple[int | None, int | None]] = {
    # name: (x86_64, aarch64)
    "accept": (43, 202),
    "accept4": (288, 242),
    "add_key": (248, 217),
    "bind": (49, 200),
    "bpf": (321, 280),
    "chmod": (90, None),
    "chown": (92, None),
    "clone": (56, 220),
    "connect": (42, 203),
    "creat": (85, None),
    "execve": (59, 221),
    "execveat": (322, 281),
    "fanotify_init": (300, 262),
    "fchmodat": (268, 53),
    "fchownat": (260, 54),
    "fork": (57, None),
    "inotify_init": (253, None),
    "inotify_init1": (294, 26),
    "io_uring_setup": (425, 425),
    "keyctl": (250, 219),
    "kill": (62, 129),
    "lchown": (94, None),
    "link": (86, None),
    "linkat": (265, 37),
    "listen": (50, 201),
    "lsetxattr": (189, 6),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "mkdir": (83, None),
    "mkdirat": (258, 34),
    "mknod": (133, None),
    "mknodat": (259, 33),
    "mount": (165, 40),
    "mq_open": (240, 180),
    "msgget": (68, 186),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "openat2": (437, 437),
    "perf_event_open": (298, 241),
    "personality": (135, 92),
    "pidfd_getfd": (438, 438),
    "pidfd_open": (434, 434),
    "pidfd_send_signal": (424, 424),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "ptrace": (101, 117),
    "rename": (82, None),
    "renameat": (264, 38),
    "renameat2": (316, 276),
    "request_key": (249, 218),
    "rmdir": (84, None),
    "rt_sigqueueinfo": (129, 138),
    "semget": (64, 190),
    "sendmmsg": (307, 269),
    "sendmsg": (46, 211),
    "setns": (308, 268),
    "setrlimit": (160, 164),
    "setxattr": (188, 5),
    "shmget": (29, 194),
    "socket": (41, 198),
    "socketpair": (53, 199),
    "symlink": (88, None),
    "symlinkat": (266, 36),
    "tgkill": (234, 131),
    "tkill": (200, 130),
    "truncate": (76, 45),
    "unlink": (87, None),
    "unlinkat": (263, 35),
    "unshare": (272, 97),
    "userfaultfd": (323, 282),
    "utimensat": (280, 88),
    "vfork": (58, None),
}
_CLONE3 = 435
_OPEN: dict[str, int | None] = {"x86_64": 2, "aarch64": None}
_OPENAT = {"x86_64": 257, "aarch64": 56}
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_SETSOCKOPT = {"x86_64": 54, "aarch64": 208}
_PRLIMIT64 = {"x86_64": 302, "aarch64": 261}
_PRCTL = {"x86_64": 157, "aarch64": 167}

SOCKETS = frozenset(
    {"accept", "accept4", "bind", "connect", "listen", "sendmmsg", "sendmsg", "socket"}
)
"""What the worker that asks a name server needs."""


def install(allowed: frozenset[str] = frozenset()) -> None:
    """Forbid all calls of the table but the ``allowed`` ones, for good.

    The process must have given up new privileges before. Raises ``OSError`` if the kernel has no
    seccomp, or the processor is of no kind that the table knows.
    """
    machine = os.uname().machine
    if machine not in _AUDIT_ARCH or struct.calcsize("P") != 8 or sys.byteorder != "little":
        raise OSError(errno.ENOSYS, f"the numbers of {machine}'s system calls are not known")
    program = b"".join(_filter(machine, allowed))
    octets = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog
    header = struct.pack("@HP", len(program) // 8, ctypes.addressof(octets))
    found = ctypes.create_string_buffer(header, len(header))
    prctl(Option.SET_SECCOMP, _MODE_FILTER, ctypes.addressof(found))


def _filter(machine: str, allowed: frozenset[str]) -> list[bytes]:
    column = 0 if machine == "x86_64" else 1
    numbers = sorted(
        number
        for name, row in _NUMBERS.items()
        if name not in allowed and (number := row[column]) is not None
    )
    refuse = _instruction(_RETURN, _ERRNO | errno.EPERM)
    rules = [
        # Another interface of the same kernel has other numbers: refuse all of its calls.
        _load(_ARCHITECTURE),
        _instruction(_JUMP_EQUAL, _AUDIT_ARCH[machine], 1, 0),
        refuse,
        _load(_NUMBER),
        _instruction(_JUMP_GREATER_EQUAL, _X32, 0, 1),
        refuse,
    ]
    for number in numbers:
        rules += [_instruction(_JUMP_EQUAL, number, 0, 1), refuse]
    # The C library falls back to clone(2), which is refused above, if this one is unknown.
    rules += [
        _instruction(_JUMP_EQUAL, _CLONE3, 0, 1),
        _instruction(_RETURN, _ERRNO | errno.ENOSYS),
    ]
    # A file may be opened for reading: Python loads modules and codecs late.
    opens = ((_OPEN[machine], _argument(1)), (_OPENAT[machine], _argument(2)))
    for number, flags in opens:
        if number is not None:
            rules += [
                _instruction(_JUMP_EQUAL, number, 0, 4),
                _load(flags),
                _instruction(_JUMP_SET, _WRITES, 0, 1),
                refuse,
                _instruction(_RETURN, _ALLOW),
            ]
    rules += [
        # setsockopt(fd, SOL_SOCKET, SO_LINGER): closing such a socket blocks its last holder.
        _instruction(_JUMP_EQUAL, _SETSOCKOPT[machine], 0, 6),
        _load(_argument(1)),
        _instruction(_JUMP_EQUAL, _SOL_SOCKET, 0, 2),
        _load(_argument(2)),
        _instruction(_JUMP_EQUAL, _SO_LINGER, 1, 0),
        _instruction(_RETURN, _ALLOW),
        refuse,
        # prlimit64(pid, resource, new limit): reading the limits is allowed, a pointer is not.
        _instruction(_JUMP_EQUAL, _PRLIMIT64[machine], 0, 6),
        _load(_argument(2)),
        _instruction(_JUMP_EQUAL, 0, 0, 3),
        _load(_argument(2) + 4),
        _instruction(_JUMP_EQUAL, 0, 0, 1),
        _instruction(_RETURN, _ALLOW),
        refuse,
        # prctl: the name of the process is all that changes between two jobs.
        _instruction(_JUMP_EQUAL, _PRCTL[machine], 0, 3),
        _load(_argument(0)),
        _instruction(_JUMP_EQUAL, Option.SET_NAME, 1, 0),
        refuse,
        _instruction(_RETURN, _ALLOW),
    ]
    return rules


def _instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    """struct sock_filter; the jumps count instructions to skip."""
    return struct.pack("=HBBI", code, if_true, if_false, value)


def _load(offset: int) -> bytes:
    return _instruction(_LOAD, offset)


def _argument(index: int) -> int:
    """The offset of the low half of an argument, which is what the kernel takes of an int."""
    return _ARGUMENTS + 8 * index
