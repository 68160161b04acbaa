"""Attacks that connect to a socket of the test, or open one that the test can reach."""

from poziomka.environments.sandbox.interpreter import Surface
from poziomka.testing.attacks.attack import Attack

NETWORK = Surface.NETWORK
FAST_OPEN = 0x20000000  # MSG_FASTOPEN of linux/socket.h

NETWORKING = (
    Attack("connects by TCP", NETWORK,
        "import socket\nsocket.create_connection(('127.0.0.1', TCP), 0.2).send(b'reached')", quick=True),
    Attack("connects to a name", NETWORK,
        "import socket\nsocket.create_connection(('localhost', TCP), 0.2).send(b'reached')"),
    Attack("connects to every address of this machine", NETWORK,
        "import socket\nsocket.create_connection(('0.0.0.0', TCP), 0.2).send(b'reached')"),
    Attack("connects over IPv6", NETWORK,
        "import socket\nsocket.create_connection(('::1', TCP6), 0.2).send(b'reached')",
        needs=("ipv6",)),
    Attack("connects over IPv6 to IPv4", NETWORK,
        "import socket\nsocket.create_connection(('::ffff:127.0.0.1', TCP), 0.2).send(b'reached')", needs=("ipv6",)),
    Attack("sends by UDP", NETWORK,
        "import socket\nsocket.socket(type=socket.SOCK_DGRAM).sendto(b'reached', ('127.0.0.1', UDP))", quick=True),
    Attack("connects by UDP, then sends", NETWORK, """
import socket
end = socket.socket(type=socket.SOCK_DGRAM)
end.connect(("127.0.0.1", UDP))
end.send(b"reached")
"""),
    Attack("asks for a name", NETWORK, """
import socket
question = b"\\x12\\x34\\x01\\0\\0\\x01\\0\\0\\0\\0\\0\\0\\x07reached\\x03org\\0\\0\\x10\\0\\x01"
socket.socket(type=socket.SOCK_DGRAM).sendmsg([question], [], 0, ("127.0.0.1", UDP))
"""),
    Attack("sends with the first packet of a connection", NETWORK,
        f"import socket\nsocket.socket().sendto(b'reached', {FAST_OPEN}, ('127.0.0.1', TCP))", needs=("linux",)),
    Attack("connects by the C library", NETWORK, """
address = b"\\x02\\0" + TCP.to_bytes(2, "big") + b"\\x7f\\0\\0\\x01" + bytes(8)
libc.connect(libc.socket(2, 1, 0), address, 16)
""", needs=("linux",)),
    Attack("connects by system calls", NETWORK, """
address = b"\\x02\\0" + TCP.to_bytes(2, "big") + b"\\x7f\\0\\0\\x01" + bytes(8)
syscall(42, syscall(41, 2, 1, 0), address, 16)
""", needs=("linux", "x86")),
    Attack("connects without waiting", NETWORK, """
import asyncio
async def reach():
    await asyncio.open_connection("127.0.0.1", TCP)
asyncio.run(reach())
"""),
    Attack("fetches a page", NETWORK,
        "import urllib.request\nurllib.request.urlopen(f'http://127.0.0.1:{TCP}/', timeout=0.1)", quick=True),
    Attack("connects by a child process", NETWORK, """
import subprocess, sys
code = f"import socket; socket.create_connection(('127.0.0.1', {TCP}), 0.2)"
subprocess.run([sys.executable, "-I", "-S", "-c", code])
"""),
    Attack("connects by a shell", NETWORK,
        "import subprocess\nsubprocess.run(['bash', '-c', f'echo reached > /dev/tcp/127.0.0.1/{TCP}'])",
        needs=("bash",)),
    Attack("connects to a Unix socket", NETWORK, "import socket\nsocket.socket(socket.AF_UNIX).connect(UNIX)",
        quick=True),
    Attack("sends to a Unix socket", NETWORK,
        "import socket\nsocket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b'reached', LETTERS)"),
    Attack("connects to a Unix socket by way of a link", NETWORK, """
import os, socket
os.symlink(UNIX, "link")
socket.socket(socket.AF_UNIX).connect("link")
"""),
    Attack("connects to a Unix socket without a file", NETWORK,
        "import socket\nsocket.socket(socket.AF_UNIX).connect(ABSTRACT)", needs=("linux",)),
    Attack("waits for connections", NETWORK, """
import socket
end = socket.create_server(("127.0.0.1", LISTEN))
end.settimeout(SECONDS / 2)
end.accept()
""", knock=True, quick=True),
    Attack("waits for connections at a port that it did not choose", NETWORK, """
import socket
end = socket.socket()
end.listen(1)
socket.create_connection(end.getsockname(), 0.2)
proof()
"""),
    Attack("asks the kernel for the network cards", NETWORK, """
import socket
end = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
end.settimeout(0.2)
end.send(b"\\x20\\0\\0\\0\\x12\\0\\x01\\x03" + bytes(24))
while True:
    print(end.recv(65536).hex())
""", needs=("linux", "address")),
    Attack("reads the network cards' addresses", NETWORK, """
import glob
for path in glob.glob("/sys/class/net/*/address"):
    print(open(path).read().replace(":", ""))
""", needs=("linux", "address")),
    Attack("asks for the network cards' addresses", NETWORK,
        "import uuid\nprint(uuid._ifconfig_getnode() if uuid._ifconfig_getnode() else '')\n"
        "import fcntl, socket, struct\nend = socket.socket(type=socket.SOCK_DGRAM)\n"
        "for _, name in socket.if_nameindex():\n"
        "    print(fcntl.ioctl(end, 0x8927, struct.pack('256s', name.encode()))[18:24].hex())\n",
        needs=("linux", "address")),
    Attack("sends a packet of its own making", NETWORK, """
import socket, struct
load = b"reached"
here = bytes([127, 0, 0, 1])
head = struct.pack("!BBHHHBBH4s4s", 69, 0, 28 + len(load), 1, 0, 64, 17, 0, here, here)
packet = head + struct.pack("!HHHH", 4444, UDP, 8 + len(load), 0) + load
socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW).sendto(packet, ("127.0.0.1", 0))
""", needs=("linux", "root")),
    Attack("listens to every packet", NETWORK, """
import socket
socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
proof()
""", needs=("linux", "root")),
    Attack("takes a network of its own", NETWORK, "assert libc.unshare(0x40000000) == 0\nproof()",
        needs=("linux", "root")),
    Attack("writes to what descriptors it inherited", NETWORK, """
import os, stat
for number in range(3, 256):
    try:
        if stat.S_ISFIFO(os.fstat(number).st_mode):
            os.set_blocking(number, False)
            os.write(number, b"reached")
    except OSError:
        pass
"""),
)  # fmt: skip
