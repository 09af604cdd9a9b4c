"""Attempts to get out of a sandbox, each a program that runs inside. One that succeeds prints a line with ESCAPED."""

from collections.abc import Mapping
from dataclasses import dataclass
from string import Template

HEAD = """
import ctypes, errno, mmap, os, signal, socket, struct, subprocess, sys
from pathlib import Path
libc = ctypes.CDLL(None, use_errno=True)
MACHINE = 0 if os.uname().machine == "x86_64" else 1
def call(numbers, *arguments):
    "A system call by its number on x86-64 and on 64-bit ARM. Raises OSError."
    found = libc.syscall(numbers[MACHINE], *arguments)
    if found < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return found
def attempt(what, do):
    "Succeeds if it raises nothing and gives something."
    try:
        found = do()
    except (OSError, subprocess.SubprocessError, ValueError):
        return
    if found is None or found:
        print("ESCAPED:", what, str(found)[:200])
def connect(family, address, kind=socket.SOCK_STREAM):
    with socket.socket(family, kind) as one:
        one.settimeout(2)
        one.connect(address)
def read(path, size=4096):
    with open(path, "rb", buffering=0) as file:
        return file.read(size) or b"empty"
def struct_of(*numbers):
    return ctypes.byref(ctypes.create_string_buffer(struct.pack(f"={len(numbers)}I", *numbers), 128))
def fault(do, *arguments):
    "The name of the error that it ends with."
    try:
        do(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno]
    return ""
def opened(path, flags):
    os.close(os.open(path, flags))
def room(size=256):
    return ctypes.byref(ctypes.create_string_buffer(size))
"""


@dataclass(frozen=True)
class Probe:
    """One attempt. `tells`: without a sandbox it gets through on a machine of ours, run as root; so it can fail."""

    script: str
    tells: bool = True


PROBES = {
    "network: TCP": Probe("attempt('tcp', lambda: connect(socket.AF_INET, ('127.0.0.1', $tcp)))"),
    "network: UDP": Probe(
        """
def ask():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.settimeout(0.5)
        one.sendto(b"ping", ("127.0.0.1", $udp))
        return one.recv(10)
attempt("udp", ask)
"""
    ),
    "network: DNS": Probe(
        """
def ask():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        return one.sendto(b"x" * 30, ("9.9.9.9", 53))
attempt("dns", ask)
attempt("name", lambda: socket.gethostbyname("example.com"))
""",
        tells=False,
    ),
    "network: metadata address": Probe(
        "attempt('metadata', lambda: connect(socket.AF_INET, ('169.254.169.254', 80)))", tells=False
    ),
    "network: abstract socket": Probe("attempt('abstract', lambda: connect(socket.AF_UNIX, '\\0$abstract'))"),
    "network: socket in a folder": Probe("attempt('unix', lambda: connect(socket.AF_UNIX, '$socket'))"),
    "network: other families": Probe(
        """
for name, family, kind in (("vsock", 40, 1), ("packet", 17, 3), ("crypto", 38, 5), ("raw", 2, 3), ("xdp", 44, 3)):
    attempt(name, lambda: socket.socket(family, kind, 1 if name == "raw" else 0).close())
"""
    ),
    "files: home": Probe("attempt('home', lambda: read('$home'))"),
    "files: our data": Probe("attempt('data', lambda: read('$data/token'))"),
    "files: other workspaces": Probe(
        """
for way in ("", "/proc/1/root", "/proc/self/root/../..", "/workspace/../..", "/proc/1/cwd/../../.."):
    attempt("read by " + way, lambda: read(way + "$other/secret"))
    attempt("write by " + way, lambda: Path(way + "$other/written").write_text("x"))
"""
    ),
    "files: passwords of the machine": Probe(
        """
for path in ("/etc/shadow", "/etc/gshadow", "/etc/ssh/sshd_config", "/etc/machine-id", "/var/log/dpkg.log"):
    attempt(path, lambda: read(path))
""",
    ),
    "files: system": Probe(
        """
for path in (*("/usr/probe", "/etc/probe", "/probe", "/dev/probe"), sys.prefix + "/probe"):
    def write():
        Path(path).write_text("x")
        os.unlink(path)
    attempt(path, write)
attempt("hosts", lambda: opened("/etc/hosts", os.O_WRONLY))
""",
    ),
    "links: symbolic": Probe(
        """
os.symlink("$other/secret", "link")
attempt("read", lambda: read("link"))
os.symlink("$other", "folder")
attempt("write", lambda: Path("folder/written").write_text("x"))
""",
    ),
    "links: hard": Probe(
        """
attempt("system", lambda: os.link("/usr/bin/env", "env"))
attempt("other", lambda: os.link("$other/secret", "secret"))
""",
    ),
    "processes: environment and memory": Probe(
        """
attempt("environment", lambda: read("/proc/$victim/environ"))
attempt("memory", lambda: opened("/proc/$victim/mem", os.O_RDONLY))
attempt("root", lambda: os.listdir("/proc/$victim/root/"))
for entry in os.listdir("/proc"):
    if entry.isdigit():
        attempt("environment of " + entry, lambda: b"$word" in read(f"/proc/{entry}/environ", 1 << 20))
""",
    ),
    "processes: signals": Probe(
        """
attempt("kill", lambda: os.kill($victim, 0))
attempt("pidfd", lambda: os.pidfd_open($victim))
attempt("group", lambda: os.killpg($victim, 0))
""",
    ),
    "processes: ptrace": Probe(
        """
def attach():
    call((101, 117), 16, $victim, 0, 0)
    os.waitpid($victim, 0x40000000)
    call((101, 117), 17, $victim, 0, 0)
attempt("attach", attach)
""",
    ),
    "kernel: settings": Probe(
        """
for name in ("kernel/core_pattern", "kernel/modprobe", "kernel/hostname", "vm/swappiness", "vm/drop_caches",
             "fs/binfmt_misc/register", "net/ipv4/ip_forward"):
    attempt(name, lambda: opened("/proc/sys/" + name, os.O_WRONLY))
attempt("sysrq", lambda: opened("/proc/sysrq-trigger", os.O_WRONLY))
attempt("oom", lambda: opened("/proc/1/oom_score_adj", os.O_WRONLY) if $walled else None)
"""
    ),
    "kernel: memory and log": Probe(
        """
for path in ("/dev/mem", "/dev/kmem", "/dev/port", "/proc/kcore", "/dev/kmsg", "/proc/kmsg", "/sys/kernel/debug"):
    attempt(path, lambda: opened(path, os.O_RDONLY))
attempt("syslog", lambda: call((103, 116), 10, 0, 0))
"""
    ),
    "kernel: rare calls": Probe(
        """
attempt("bpf", lambda: call((321, 280), 0, struct_of(2, 4, 4, 1), 72))
attempt("userfaultfd", lambda: call((323, 282), 1))
attempt("perf", lambda: call((298, 241), struct_of(1, 128, 0), 0, -1, -1, 0))
attempt("io_uring", lambda: call((425, 425), 4, room()))
attempt("fanotify", lambda: call((300, 262), 0, 0))
attempt("module", lambda: fault(call, (175, 105), room(), 0, room()) != "EPERM")
attempt("kexec", lambda: fault(call, (246, 104), 0, 0, 0, 99) != "EPERM")
"""
    ),
    "kernel: keyrings": Probe(
        """
def key():
    found = call((250, 219), 10, -3, b"user", b"$word", 0)
    text = ctypes.create_string_buffer(100)
    call((250, 219), 11, found, text, 100)
    return text.value
attempt("key", key)
attempt("add", lambda: call((248, 217), b"user", b"x", b"abc", 3, -3))
"""
    ),
    "mounts": Probe(
        """
attempt("tmpfs", lambda: call((165, 40), b"tmpfs", b"/tmp", b"tmpfs", 0, 0))
attempt("remount", lambda: call((165, 40), 0, b"/usr", 0, 0x1000 | 32, 0))
attempt("bind", lambda: call((165, 40), b"/usr", b"/tmp", 0, 4096, 0))
attempt("proc", lambda: call((165, 40), b"proc", b"/proc", b"proc", 0, 0))
attempt("cgroup", lambda: call((165, 40), b"cgroup", b"/tmp", b"cgroup2", 0, 0))
attempt("umount", lambda: call((166, 39), b"/proc", 2))
attempt("pivot", lambda: call((155, 41), b"/tmp", b"/tmp"))
attempt("fsopen", lambda: call((430, 430), b"tmpfs", 0))
attempt("open_tree", lambda: call((428, 428), -100, b"/", 1))
attempt("handle", lambda: call((304, 265), -100, room(), 0))
attempt("chroot", lambda: os.chroot("/tmp"))
""",
        tells=False,
    ),
    "namespaces": Probe(
        """
for flag in (0x10000000, 0x10000000 | 0x20000, 0x10000000 | 0x40000000, 0x20000, 0x20000000, 0x2000000):
    if not os.fork():
        attempt(f"unshare {flag:x}", lambda: call((272, 97), flag))
        sys.stdout.flush()
        os._exit(0)
    os.wait()
def cloned():
    pid = call((56, 220), 0x10000000 | 17, 0, 0, 0, 0)
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
attempt("clone", cloned)
for kind in ("user", "mnt", "pid", "net"):
    attempt("setns " + kind, lambda: call((308, 268), os.open(f"/proc/1/ns/{kind}", os.O_RDONLY), 0))
attempt("program", lambda: subprocess.run(["unshare", "-Urm", "true"], check=True, stderr=subprocess.DEVNULL))
"""
    ),
    "capabilities": Probe(
        """
status = dict(line.split(":\\t") for line in Path("/proc/self/status").read_text().splitlines() if ":\\t" in line)
for name in ("CapEff", "CapPrm", "CapBnd", "CapInh", "CapAmb"):
    attempt(name, lambda: int(status[name], 16))
attempt("new privileges", lambda: status["NoNewPrivs"] != "1")
Path("mine").write_text("x")
attempt("chown", lambda: os.chown("mine", 0 if os.getuid() else 1, -1))
attempt("clock", lambda: call((227, 112), 4, room()))
attempt("priority", lambda: os.nice(-10) > -100)
attempt("host name", lambda: (socket.sethostname(socket.gethostname()), True)[1])
"""
    ),
    "setuid programs": Probe(
        """
import shutil
shutil.copy("/usr/bin/id", "id")
os.chmod("id", 0o6755)
attempt("own", lambda: os.getuid() and subprocess.run(["./id", "-u"], capture_output=True).stdout.strip() == b"0")
for program in ("su", "sudo", "mount", "newuidmap", "pkexec"):
    attempt(program, lambda: int(subprocess.run(
        [program, *(["root", "-c", "grep CapEff /proc/self/status"] if program == "su" else ["-n", "true"])],
        capture_output=True, timeout=5, stdin=subprocess.DEVNULL,
    ).stdout.partition(b"CapEff:")[2] or b"0", 16))
"""
    ),
    "devices": Probe(
        """
import stat
for name, kind, number in (("memory", stat.S_IFCHR, (1, 1)), ("disk", stat.S_IFBLK, (254, 0))):
    attempt("make " + name, lambda: os.mknod(name, kind | 0o600, os.makedev(*number)))
for path in ("vda", "sda", "nvme0n1", "kvm", "fuse", "net/tun", "loop-control", "rtc0"):
    attempt(path, lambda: opened("/dev/" + path, os.O_RDONLY))
attempt("shown", lambda: sorted(set(os.listdir("/dev")) & {"mem", "vda", "sda", "kmsg", "vsock", "console"}))
"""
    ),
    "cgroups": Probe(
        """
for folder in ("/sys/fs/cgroup", "/sys/fs/cgroup/pids", "/sys/fs/cgroup/unified"):
    attempt(folder, lambda: (os.mkdir(folder + "/waggle-probe"), os.rmdir(folder + "/waggle-probe")) and True)
    attempt("leave " + folder, lambda: opened(folder + "/cgroup.procs", os.O_WRONLY))
attempt("shown", lambda: os.path.exists("/sys"))
"""
    ),
    "open files": Probe(
        """
for number in range(3, 256):
    attempt(f"file {number}", lambda: os.pread(number, 100, 0))
    attempt(f"folder {number}", lambda: os.open("..", os.O_RDONLY, dir_fd=number))
"""
    ),
    "environment": Probe(
        """
for name, value in os.environ.items():
    attempt(name, lambda: "$word" in value or name.startswith(("LD_", "WAGGLE_", "PYTHONPATH", "DJANGO", "DATABASE")))
""",
        tells=False,
    ),
}


def program(names: list[str], facts: Mapping[str, object]) -> str:
    """One program that makes these attempts one after the other, each in a process and a folder of its own."""
    lines = [HEAD]
    for number, name in enumerate(names):
        script = Template(PROBES[name].script).substitute(facts)
        lines += [
            f"print({f'## {name}'!r}, flush=True)",
            "if not os.fork():",
            f"    os.mkdir('{number}')",
            f"    os.chdir('{number}')",
            f"    exec({script!r}, globals())",
            "    print('tried', flush=True)",
            "    os._exit(0)",
            "os.wait()",
        ]
    return "\n".join(lines)


def said(output: str) -> dict[str, str]:
    """What each attempt of a program printed, by its name."""
    parts = [part.partition("\n") for part in output.split("## ")[1:]]
    return {name: text for name, _, text in parts}
