"""The program of window.py: pictures on standard input, answers and keys on standard output.

In: HEAD, then width * height * 3 bytes of RGB. Out, a JSON object a line: {"ready": true},
{"drawn": true} for each picture, {"key": "Left"}, {"failed": "why"}.
"""

from __future__ import annotations

import json
import struct
import sys
import threading
from typing import IO

HEAD = struct.Struct("<II")
LARGEST = 2**26


def tell(**message: object) -> None:
    """Write a line."""
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def read(pictures: IO[bytes]) -> bytes | None:
    """The next picture as a PPM file; None at the end."""
    head = pictures.read(HEAD.size)
    if len(head) < HEAD.size:
        return None
    width, height = HEAD.unpack(head)
    size = width * height * 3
    pixels = pictures.read(size) if size <= LARGEST else b""
    return b"P6 %d %d 255\n" % (width, height) + pixels if len(pixels) == size else None


def main() -> int:
    """Until the input ends or the window is closed."""
    try:
        import tkinter
    except ImportError:
        tell(failed="Python's tkinter is not installed (python3-tk)")
        return 1
    try:
        root = tkinter.Tk()
    except tkinter.TclError as error:
        tell(failed=str(error))
        return 1
    root.title("tpvideo live")
    root.configure(background="black")
    label = tkinter.Label(root, borderwidth=0, background="black")
    label.pack()
    waiting: list[bytes | None] = []
    held: list[tkinter.PhotoImage] = []

    def receive() -> None:
        while True:
            picture = read(sys.stdin.buffer)
            waiting.append(picture)
            if picture is None:
                return

    def look() -> None:
        while waiting:
            picture = waiting.pop(0)
            if picture is None:
                root.destroy()
                return
            held[:] = [tkinter.PhotoImage(data=picture, format="ppm")]
            label.configure(image=held[0])
            root.update_idletasks()
            tell(drawn=True)
        root.after(3, look)

    def press(event: tkinter.Event[tkinter.Misc]) -> None:
        if event.keysym in ("Escape", "q"):
            root.destroy()
        else:
            tell(key=event.keysym)

    root.bind("<Key>", press)
    threading.Thread(target=receive, daemon=True).start()
    tell(ready=True)
    root.after(0, look)
    root.mainloop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
