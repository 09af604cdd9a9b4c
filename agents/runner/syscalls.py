"""Which of the kernel's doors a confined command finds shut, as a seccomp filter: bytes of classic BPF.

Namespaces hide what has a name; these have none, or lead around them: kernel keyrings (a session's keys are
inherited), sockets to the hypervisor, input faked on a terminal, new user namespaces with their rights over the kernel,
and parts of the kernel that no build or test needs and that faults were often found in. Who asks gets an error, and
lives.
Where the kind of processor is not known here there is no filter; all other walls stand.
"""

import errno
import os
import platform
import struct
from collections.abc import Iterator
from contextlib import contextmanager

_LOAD, _EQUAL, _GREATER, _ANY_BIT, _RETURN = 0x20, 0x15, 0x25, 0x45, 0x06
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16
"""Where the kernel shows a call's number, its architecture and its arguments, eight bytes each."""
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000
_NAMESPACES = 0x7E020080
"""Flags of clone and unshare that make a namespace, whichever."""
_FAKED_INPUT = (0x5412, 0x541C)
"""TIOCSTI and TIOCLINUX."""
FAMILIES = {"AF_UNIX": 1, "AF_INET": 2, "AF_INET6": 10, "AF_NETLINK": 16}
"""Sockets that network namespaces hold. Others are not held (AF_VSOCK), or are parts of the kernel nobody needs."""
SEGMENT_BYTES = 65_536
"""Of a System V memory segment, which no limit counts. Postgres makes one of 56 bytes."""

_X86, _ARM = 0xC000003E, 0xC00000B7
_X32 = 0x40000000
_KERNELS = {"x86_64": _X86, "aarch64": _ARM}
_CALLS: dict[str, tuple[int, int]] = {
    "acct": (163, 89),
    "add_key": (248, 217),
    "bpf": (321, 280),
    "clone": (56, 220),
    "clone3": (435, 435),
    "delete_module": (176, 106),
    "fanotify_init": (300, 262),
    "finit_module": (313, 273),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fsopen": (430, 430),
    "fspick": (433, 433),
    "init_module": (175, 105),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "io_uring_setup": (425, 425),
    "ioctl": (16, 29),
    "kexec_file_load": (320, 294),
    "kexec_load": (246, 104),
    "keyctl": (250, 219),
    "mount": (165, 40),
    "mount_setattr": (442, 442),
    "move_mount": (429, 429),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "open_tree": (428, 428),
    "perf_event_open": (298, 241),
    "pivot_root": (155, 41),
    "quotactl": (179, 60),
    "reboot": (169, 142),
    "request_key": (249, 218),
    "setns": (308, 268),
    "shmget": (29, 194),
    "socket": (41, 198),
    "swapoff": (168, 225),
    "swapon": (167, 224),
    "syslog": (103, 116),
    "umount2": (166, 39),
    "unshare": (272, 97),
    "userfaultfd": (323, 282),
}
"""Numbers of calls on x86-64 and on 64-bit ARM."""
_WITH_ARGUMENTS = frozenset({"clone", "clone3", "ioctl", "shmget", "socket", "unshare"})
REFUSED = frozenset(_CALLS) - _WITH_ARGUMENTS
"""Whatever their arguments."""


@contextmanager
def filter_file() -> Iterator[tuple[int, ...]]:
    """An open file with the filter for this machine, to be inherited; none where there is no filter."""
    program = filter_for(platform.machine())
    if not program:
        yield ()
        return
    file = os.memfd_create("filter", os.MFD_CLOEXEC)
    try:
        os.write(file, program)
        os.lseek(file, 0, os.SEEK_SET)
        yield (file,)
    finally:
        os.close(file)


def filter_for(machine: str) -> bytes:
    """The filter for a kind of processor, as `uname -m` calls it; empty when it is not known here. Pure."""
    if machine not in _KERNELS:
        return b""
    kernel = _KERNELS[machine]
    column = list(_KERNELS).index(machine)
    number = {name: numbers[column] for name, numbers in _CALLS.items()}
    program = [
        _load(_ARCHITECTURE),
        # Programs for other processors, 32-bit ones too, have other numbers: they get none through.
        _jump(_EQUAL, kernel, 1, 0),
        _refuse(errno.ENOSYS),
        _load(_NUMBER),
    ]
    if kernel == _X86:
        program += [_jump(_GREATER, _X32 - 1, 0, 1), _refuse(errno.ENOSYS)]
    for name in sorted(REFUSED):
        program += [_jump(_EQUAL, number[name], 0, 1), _refuse(errno.EPERM)]
    # Its flags lie in memory, where no filter sees them; the C library then uses clone.
    program += [_jump(_EQUAL, number["clone3"], 0, 1), _refuse(errno.ENOSYS)]
    for name in ("clone", "unshare"):
        test = [_load(_ARGUMENTS), _jump(_ANY_BIT, _flags(name), 0, 1), _refuse(errno.EPERM), _allow()]
        program += [_jump(_EQUAL, number[name], 0, len(test)), *test]
    test = [_load(_ARGUMENTS + 8)]
    for request in _FAKED_INPUT:
        test += [_jump(_EQUAL, request, 0, 1), _refuse(errno.EPERM)]
    program += [_jump(_EQUAL, number["ioctl"], 0, len(test) + 1), *test, _allow()]
    test = [_load(_ARGUMENTS)]
    for family in FAMILIES.values():
        test += [_jump(_EQUAL, family, 0, 1), _allow()]
    program += [_jump(_EQUAL, number["socket"], 0, len(test) + 1), *test, _refuse(errno.EAFNOSUPPORT)]
    test = [
        _load(_ARGUMENTS + 12),
        _jump(_EQUAL, 0, 1, 0),
        _refuse(errno.ENOMEM),
        _load(_ARGUMENTS + 8),
        _jump(_GREATER, SEGMENT_BYTES, 0, 1),
        _refuse(errno.ENOMEM),
    ]
    program += [_jump(_EQUAL, number["shmget"], 0, len(test) + 1), *test, _allow(), _allow()]
    return b"".join(program)


def _flags(call: str) -> int:
    # The low byte of clone's flags is a signal's number; unshare has the flag of time namespaces there.
    return _NAMESPACES if call == "unshare" else _NAMESPACES & ~0xFF


def _load(offset: int) -> bytes:
    return struct.pack("=HBBI", _LOAD, 0, 0, offset)


def _jump(test: int, value: int, if_so: int, if_not: int) -> bytes:
    return struct.pack("=HBBI", test, if_so, if_not, value)


def _refuse(error: int) -> bytes:
    return struct.pack("=HBBI", _RETURN, 0, 0, _REFUSE | error)


def _allow() -> bytes:
    return struct.pack("=HBBI", _RETURN, 0, 0, _ALLOW)


LOADER = """
import ctypes, os, sys
file = int(sys.argv[1])
program = ctypes.create_string_buffer(os.read(file, 65536))
os.close(file)
class Filter(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("program", ctypes.c_void_p)]
loaded = Filter((len(program) - 1) // 8, ctypes.addressof(program))
if ctypes.CDLL(None).prctl(22, ctypes.c_ulong(2), ctypes.byref(loaded), ctypes.c_ulong(0), ctypes.c_ulong(0)):
    sys.exit("The filter of system calls cannot be loaded.")
os.execvp(sys.argv[2], sys.argv[2:])
"""
"""Python that loads the filter in the open file of this number, and becomes the command that follows."""
