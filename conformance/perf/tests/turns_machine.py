"""A stand-in for `bringup run --turns` (docs/turns.md): answers each request with the next of its arguments.

An argument is output text, in which \\n is a newline; byte i of all output was sent at instruction 100 * i. After the
last one the machine powers off; `die` ends it at once instead.
"""

import socket
import struct
import sys

POWER_OFF = 1


def main() -> None:
    *texts, option, endpoint = sys.argv[1:]
    assert option == "--turns"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(endpoint.removeprefix("unix:"))
        listener.listen(1)
        connection, _ = listener.accept()

    def frame(body: bytes) -> None:
        connection.sendall(struct.pack("<I", len(body)) + body)

    def read(size: int) -> bytes:
        data = connection.recv(size, socket.MSG_WAITALL)
        if len(data) < size:
            sys.exit(129)
        return data

    frame(struct.pack("<cHBBQQ", b"H", 1, 4, 5, 0, 0))
    sent = 0
    for last, text in [*((False, text) for text in texts), (True, "")]:
        read(struct.unpack("<I", read(4))[0])
        if text == "die":
            print("out of luck", file=sys.stderr)
            sys.exit(70)
        output = text.replace("\\n", "\n").encode()
        counts = struct.pack(f"<{len(output)}Q", *(100 * (sent + at) for at in range(len(output))))
        sent += len(output)
        event, status = (POWER_OFF, 0) if last else (0, -1)
        head = struct.pack("<cBBhIQQ", b"A", 2 if last else 0, event, status, 0, 100 * sent, 100 * sent)
        frame(head + struct.pack("<4I5I", 0, 0, 0, 0, len(output), 0, 0, 0, 0) + output + counts)


main()
