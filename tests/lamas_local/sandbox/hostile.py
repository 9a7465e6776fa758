"""Programs that try to do harm, as data. Each prints HARM where it has got what it must not get.

They find these names defined: CANARY (a host file that every user of the host may read), FOLDER (its folder, which
every user may write to), SECRET_NAME (an environment variable of the caller), OWNER and SLEEPER (process ids of the
host), PORT, SOCKET and ABSTRACT (where the host listens).
"""

# ruff: noqa: E501, a program is easier to compare with its neighbours when it stands on one line

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lamas_local.sandbox import Status
from lamas_local.sandbox.isolation import Kind

OK = frozenset[Status]({"ok"})
ERROR = frozenset[Status]({"error"})
TIMEOUT = frozenset[Status]({"timeout"})
KILLED = frozenset[Status]({"killed"})
MEMORY = frozenset[Status]({"memory"})
OUTPUT = frozenset[Status]({"output-limit"})


@dataclass(frozen=True)
class Hostile:
    name: str
    code: str
    statuses: frozenset[Status]
    """What it may end with."""
    on: Mapping[Kind, frozenset[Status]] = field(default_factory=dict)
    """Where that differs."""
    function: str | None = None

    def expected(self, kind: Kind) -> frozenset[Status]:
        return self.on.get(kind, self.statuses)


def attempt(name: str, code: str) -> Hostile:
    """Tries something that must be refused; any refusal is an exception, which it swallows."""
    lines = "\n".join(f"    {line}" for line in code.strip().splitlines())
    return Hostile(name, f"try:\n{lines}\n    print('HARM')\nexcept Exception as error:\n    print(repr(error))\n", OK)


_LIBC = "import ctypes, os\nlibc = ctypes.CDLL(None, use_errno=True)\n"
_CHECKED = "\nassert result >= 0, os.strerror(ctypes.get_errno())"

BOMBS = [
    Hostile("fork bomb", "import os\nwhile True:\n    os.fork()", ERROR | TIMEOUT | KILLED),
    Hostile(
        "fork bomb that goes on",
        "import os\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        pass",
        TIMEOUT,
    ),
    Hostile(
        "thread bomb",
        "import threading, time\nwhile True:\n    threading.Thread(target=time.sleep, args=(99,)).start()",
        ERROR | MEMORY,
    ),
    Hostile("endless loop", "while True:\n    pass", TIMEOUT),
    Hostile("endless output", "while True:\n    print('x' * 1000)", OUTPUT),
    Hostile("endless errors", "import sys\nwhile True:\n    print('x' * 1000, file=sys.stderr)", OUTPUT),
    Hostile("100 GB at once", "x = bytearray(100 * 2**30)", MEMORY),
    Hostile("memory bit by bit", "x = []\nwhile True:\n    x.append(bytearray(2**20))", MEMORY),
    Hostile(
        "memory in many processes",
        "import os, time\nfor _ in range(8):\n    if os.fork() == 0:\n        break\nx = b'x' * (90 * 2**20)\ntime.sleep(99)",
        MEMORY,
    ),
    Hostile("deep recursion", "def f(n):\n    return f(n + 1)\nf(0)", ERROR),
    Hostile(
        "recursion without a limit",
        "import sys\nsys.setrecursionlimit(10**9)\nclass A:\n    def __repr__(self):\n        return repr(self)\nrepr(A())",
        KILLED | MEMORY | ERROR,
    ),
    Hostile("power tower", "x = 9 ** 9 ** 9", TIMEOUT | MEMORY),
    Hostile("a gigantic number printed", "print(10**5000)", ERROR),
    Hostile(
        "a gigantic number printed all the same", "import sys\nsys.set_int_max_str_digits(0)\nprint(7**100_000)", OUTPUT
    ),
    Hostile("a gigantic value", "def solve():\n    return 'x' * 10**7", OUTPUT, function="solve"),
    Hostile("sleeps for ever", "import time\nwhile True:\n    time.sleep(3600)", TIMEOUT),
    Hostile("waits for input", "import select, sys\nselect.select([sys.stdin], [], [])\nprint(input())", ERROR),
    Hostile(
        "a 1 GB file",
        "with open('x', 'wb') as f:\n    for _ in range(1024):\n        f.write(bytes(2**20))\nprint('HARM')",
        ERROR,
    ),
    Hostile("a file with a hole of 1 GB", "import os\nos.truncate(os.open('x', 65), 2**30)\nprint('HARM')", ERROR),
    Hostile(
        "a full disk",
        "import time\nfor i in range(200):\n    open(f'x{i}', 'wb').write(bytes(2**20))\ntime.sleep(99)",
        ERROR,
        on={"process limits": OUTPUT},  # no file system of its own: watched, and killed
    ),
    Hostile(
        "a million files",
        "import itertools\nfor i in itertools.count():\n    open(f'f{i}', 'w').close()",
        ERROR | TIMEOUT,
    ),
    Hostile(
        "folders within folders",
        "import os\nfor _ in range(3000):\n    os.mkdir('d' * 50)\n    os.chdir('d' * 50)",
        OK | ERROR | TIMEOUT,
    ),
    Hostile("core dump", "import os, resource\nresource.setrlimit(resource.RLIMIT_CORE, (-1, -1))\nos.abort()", ERROR),
]

READS = [
    attempt("/etc/shadow", "print(open('/etc/shadow').read())"),
    attempt("/etc/passwd", "print(open('/etc/passwd').read())"),
    attempt("a host file", "print(open(CANARY).read())"),
    attempt("a symlink to a host file", "import os\nos.symlink(CANARY, 'link')\nprint(open('link').read())"),
    attempt("a hard link to a host file", "import os\nos.link(CANARY, 'link')\nprint(open('link').read())"),
    attempt("home folders", "import os\nprint(os.listdir('/home') + os.listdir('/root/.ssh'))"),
    attempt("a path upwards", "import os\nprint(open('../' * 20 + CANARY).read())"),
    attempt("the environment", "import os\nprint(os.environ[SECRET_NAME])"),
    attempt("the caller's environment", "print(open(f'/proc/{OWNER}/environ').read())"),
    attempt("the parent's environment", "import os\nprint(open(f'/proc/{os.getppid()}/environ').read())"),
    attempt("the caller's memory", "open(f'/proc/{OWNER}/mem', 'rb').read(1)"),
    attempt("the caller's command line", "print(open(f'/proc/{OWNER}/cmdline').read())"),
    attempt("the caller's folder", "import os\nprint(os.listdir(f'/proc/{OWNER}/cwd/'))"),
    attempt("process list", "import os\nassert SLEEPER in [int(p) for p in os.listdir('/proc') if p.isdigit()]"),
    attempt(
        "raw disk",
        "import os\nopen('/dev/sda', 'rb').read(1) if os.path.exists('/dev/sda') else open('/dev/vda', 'rb').read(1)",
    ),
    attempt("kernel memory", "open('/dev/mem', 'rb').read(1)"),
    attempt("packages of the caller", "import pydantic"),
]

WRITES = [
    attempt("a host file changed", "open(CANARY, 'w').write('gone')"),
    attempt("a host file removed", "import os\nos.remove(CANARY)"),
    attempt("a host file renamed", "import os\nos.rename(CANARY, CANARY + '2')"),
    attempt("a host file truncated", "import os\nos.truncate(CANARY, 0)"),
    attempt("a host file's rights", "import os\nos.chmod(CANARY, 0)"),
    attempt("a host file's times", "import os\nos.utime(CANARY, (1, 1))"),
    attempt("a file in a host folder", "open(FOLDER + '/new', 'w').write('x')"),
    attempt("a folder in a host folder", "import os\nos.mkdir(FOLDER + '/new')"),
    attempt("its own Python", "import os\nopen(os.__file__, 'a').write('x')"),
    Hostile("its own folder deleted", "import os, shutil\nshutil.rmtree(os.getcwd())", OK | ERROR),
    Hostile(
        "a folder nobody may delete", "import os\nos.makedirs('a/b')\nopen('a/b/c', 'w').close()\nos.chmod('a/b', 0)\nos.chmod('a', 0)", OK | ERROR
    ),
]  # fmt: skip

NETWORK = [
    attempt("TCP to the host", "import socket\nsocket.create_connection(('127.0.0.1', PORT), 1)"),
    attempt("TCP to the world", "import socket\nsocket.create_connection(('1.1.1.1', 443), 1)"),
    attempt("UDP", "import socket\nsocket.socket(2, 2).sendto(b'x', ('1.1.1.1', 53))"),
    attempt("DNS", "import socket\nsocket.getaddrinfo('example.com', 80)"),
    attempt("a host's socket", "import socket\nsocket.socket(1).connect(SOCKET)"),
    attempt("a host's abstract socket", "import socket\nsocket.socket(1).connect(ABSTRACT)"),
    attempt(
        "a port of the host",
        # Where it may listen, nobody but itself can connect.
        "import socket\ns = socket.socket()\ns.bind(('0.0.0.0', 0))\ns.listen()\nassert False, 'in a network of its own'",
    ),
    attempt("raw packets", "import socket\nsocket.socket(17, 3)"),
]

PROCESSES = [
    attempt("signal to the caller", "import os\nos.kill(OWNER, 9)"),
    attempt("signal to another process", "import os\nos.kill(SLEEPER, 9)"),
    attempt("is another process there", "import os\nos.kill(SLEEPER, 0)"),
    attempt("renice", "import os\nos.setpriority(os.PRIO_PROCESS, SLEEPER, 19)"),
    attempt("another's processors", "import os\nos.sched_setaffinity(SLEEPER, {0})"),
    attempt("another's limits", "import resource\nresource.prlimit(SLEEPER, resource.RLIMIT_NOFILE, (5, 5))"),
    attempt("higher priority", "import os\nos.nice(-5)"),
    attempt("limits raised", "import resource\nresource.setrlimit(resource.RLIMIT_NPROC, (9999, 9999))"),
    Hostile("signal to everybody", "import os, signal\nos.kill(-1, signal.SIGKILL)", KILLED | ERROR | OK),
    Hostile("signal to the parent", "import os\nos.kill(os.getppid(), 9)", OK | ERROR),
    Hostile("stop the parent", "import os\nos.kill(os.getppid(), 19)", OK | ERROR),
    Hostile("signal to its group", "import os, signal\nos.killpg(0, signal.SIGKILL)", KILLED | ERROR),
    Hostile("kills itself", "import os\nos.kill(os.getpid(), 9)", KILLED),
    Hostile("stops itself", "import os\nos.kill(os.getpid(), 19)", TIMEOUT),
    Hostile(
        "children left behind",
        "import os, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        time.sleep(3600)\n    os._exit(0)\nos.wait()",
        OK,
    ),
    Hostile(
        "programs left behind",
        "import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', 'import time; time.sleep(99)'], start_new_session=True)",
        OK | ERROR,
    ),
    Hostile(
        "children that work on",
        "import os\nfor _ in range(4):\n    if os.fork() == 0:\n        os.setsid()\n        while True:\n            pass\nwhile True:\n    pass",
        TIMEOUT,
    ),
    Hostile(
        "signals ignored",
        "import signal\nfor number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:\n    signal.signal(number, signal.SIG_IGN)\nwhile True:\n    pass",
        TIMEOUT,
    ),
    Hostile(
        "catches SIGTERM and sleeps",
        "import signal, time\nsignal.signal(signal.SIGTERM, lambda *_: None)\nwhile True:\n    time.sleep(1)",
        TIMEOUT,
    ),
    Hostile("segmentation fault", "import ctypes\nctypes.string_at(1)", KILLED),
    Hostile("abort", "import os\nos.abort()", KILLED),
    attempt("ptrace of the caller", _LIBC + "result = libc.ptrace(16, OWNER, 0, 0)" + _CHECKED),
    attempt("ptrace of the parent", _LIBC + "result = libc.ptrace(16, os.getppid(), 0, 0)" + _CHECKED),
    attempt("mount", _LIBC + "result = libc.mount(b'none', b'/', b'tmpfs', 0, None)" + _CHECKED),
    attempt("chroot", "import os\nos.chroot('.')"),
    attempt("a user namespace", _LIBC + "result = libc.unshare(0x10000000)" + _CHECKED),
    attempt("memory that no limit counts", _LIBC + "result = libc.memfd_create(b'x', 0)" + _CHECKED),
    attempt("shared memory that stays", _LIBC + "result = libc.shmget(0, 4096, 0o1600)" + _CHECKED),
    attempt("root", "import os\nos.setuid(0)\nopen('/etc/shadow')"),
    attempt("root by a program", "import subprocess\nassert subprocess.run(['/usr/bin/su', '-c', 'true'], check=True)"),
    attempt("a device", "import os\nos.mknod('disk', 0o60600, os.makedev(8, 0))"),
]  # fmt: skip

# Lies about the result: `solve` never returns 42 in any of them.
FORGERIES = [
    Hostile("result printed", "print('began;ended;ok 42')\ndef solve():\n    raise ValueError", ERROR, function="solve"),
    Hostile(
        "result written to every file",
        "import os\nfor fd in range(64):\n    try:\n        os.write(fd, b'began;ended;t3:s2:oks2:42s0:')\n    except OSError:\n        pass\nos._exit(0)",
        KILLED,
        function="solve",
    ),
    Hostile(
        "every file flooded",
        "import os\nwhile True:\n    for fd in range(64):\n        try:\n            os.write(fd, b'x' * 4096)\n        except OSError:\n            pass",
        OUTPUT | TIMEOUT,
        function="solve",
    ),
    Hostile("every file closed", "import os\nos.closerange(0, 64)\ndef solve():\n    return 42", KILLED, function="solve"),
    Hostile("exit before the result", "import os\nos._exit(0)", KILLED, function="solve"),
    Hostile("exit before the end", "import os\nos._exit(0)", KILLED),
    Hostile("exit in the function", "import sys\ndef solve():\n    sys.exit(0)", ERROR, function="solve"),
    Hostile("exit in a child", "import os\ndef solve():\n    if os.fork() == 0:\n        return 42\n    os.wait()\n    raise ValueError", ERROR, function="solve"),
    Hostile("sys.stdout replaced", "import sys\nclass Out:\n    def write(self, text): raise MemoryError\n    def flush(self): raise SystemExit\nsys.stdout = sys.stderr = Out()\nprint('42')", MEMORY, function="solve"),
    Hostile("atexit", "import atexit\natexit.register(print, '42')\ndef solve():\n    raise ValueError", ERROR, function="solve"),
    Hostile("a str that fails", "class S:\n    def __str__(self): raise ValueError\ndef solve():\n    return S()", ERROR, function="solve"),
    Hostile("no function", "solve = 42", ERROR, function="solve"),
    Hostile("not Python", "def solve(:\n    return 42", ERROR, function="solve"),
    Hostile("a null byte", "def solve():\n    return 42\n\0", ERROR, function="solve"),
    Hostile("an endless generator", "import itertools\ndef solve():\n    return list(itertools.count())", MEMORY | TIMEOUT, function="solve"),
    Hostile("builtins replaced", "import builtins, os\nbuiltins.str = lambda x: '42'\nos._exit = os.write = os.getpid = None\ndef solve():\n    raise ValueError", ERROR | KILLED, function="solve"),
    Hostile("its runner's frames", "import sys\nframe = sys._getframe()\nwhile frame:\n    frame.f_locals.clear()\n    frame = frame.f_back\nraise ValueError", ERROR, function="solve"),
]  # fmt: skip

HOSTILE = [*BOMBS, *READS, *WRITES, *NETWORK, *PROCESSES, *FORGERIES]
