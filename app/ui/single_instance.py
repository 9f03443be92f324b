"""One window for a user: a second start hands what it was asked for to the first, and ends.

A lock file says who is first; it frees itself when its process is gone. The words travel through a
local socket that other users cannot open. Where the first does not answer, the second opens after
all: two windows are better than none.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from PySide6.QtCore import (
    QElapsedTimer,
    QLockFile,
    QObject,
    QStandardPaths,
    QThread,
    QTimer,
    Signal,
    Slot,
)
from PySide6.QtNetwork import QLocalServer, QLocalSocket

from app.ui.demo_cases import KINDS, Kind

ANSWER_MS = 3000  # a first window that is just coming up answers within it
RETRY_MS = 50
MOST_BYTES = 4 << 20  # the names of twenty thousand photos
MOST_PATH = 100  # a socket's path has at most 107 bytes
_TAKEN = b"taken\n"


@dataclass(frozen=True, slots=True)
class Asked:
    """What a start was asked to open; paths are absolute."""

    photos: tuple[str, ...] = ()
    demo: Kind | None = None
    gallery: str = ""
    checkpoint: str = ""


class SingleInstance(QObject):
    asked = Signal(object)  # Asked: of a second start

    def __init__(self, folder: Path, parent: QObject | None = None) -> None:
        """Instances are told apart by ``folder``, that of the settings."""
        super().__init__(parent)
        self._name = _socket_name(folder)
        self._lock = QLockFile(str(folder / "window.lock"))
        self._lock.setStaleLockTime(0)  # a window may stay open for weeks
        self._server = QLocalServer(self)
        self._server.setSocketOptions(QLocalServer.SocketOption.UserAccessOption)
        self._server.newConnection.connect(self._on_connection)

    def is_first(self) -> bool:
        """Whether this process is the first; from then on it hears the others.

        In a folder where nobody can lock, everybody is.
        """
        if not self._lock.tryLock(0) and self._lock.error() == QLockFile.LockError.LockFailedError:
            return False
        QLocalServer.removeServer(self._name)  # of one that was killed
        self._server.listen(self._name)
        return True

    def hand_over(self, asked: Asked, *, limit_ms: int = ANSWER_MS) -> bool:
        """Whether the first window has taken it; needs no event loop."""
        clock = QElapsedTimer()
        clock.start()
        words = json.dumps(asdict(asked)).encode("ascii") + b"\n"
        while clock.elapsed() < limit_ms:
            socket = QLocalSocket()
            socket.connectToServer(self._name)
            if socket.waitForConnected(limit_ms):
                socket.write(words)
                return _hears_answer(socket, limit_ms)
            QThread.msleep(RETRY_MS)
        return False

    def close(self) -> None:
        self._server.close()
        self._lock.unlock()

    @Slot()
    def _on_connection(self) -> None:
        while (socket := self._server.nextPendingConnection()) is not None:
            _Caller(socket, self).said.connect(self.asked)


class _Caller(QObject):
    """A second start on the line; goes when it hangs up."""

    said = Signal(object)  # Asked

    def __init__(self, socket: QLocalSocket, parent: QObject) -> None:
        super().__init__(parent)
        self._socket = socket
        socket.setParent(self)
        socket.readyRead.connect(self._on_words)
        socket.disconnected.connect(self.deleteLater)
        QTimer.singleShot(0, self, self._on_words)  # they may have come before we listened

    @Slot()
    def _on_words(self) -> None:
        if self._socket.bytesAvailable() > MOST_BYTES:
            self._socket.abort()
        if not self._socket.canReadLine():
            return
        asked = parse(bytes(self._socket.readLine().data()))
        if asked is None:
            self._socket.abort()
            return
        self._socket.write(_TAKEN)
        self._socket.flush()
        self.said.emit(asked)  # the second hangs up when it has read the answer


def parse(line: bytes) -> Asked | None:
    """None for what no start of this program would say."""
    try:
        raw = json.loads(line)
    except ValueError:
        return None
    if not isinstance(raw, Mapping) or raw.keys() != Asked.__dataclass_fields__.keys():
        return None
    photos, demo = raw["photos"], raw["demo"]
    if not isinstance(photos, list) or not _are_texts(*photos, raw["gallery"], raw["checkpoint"]):
        return None
    if demo is not None and demo not in KINDS:
        return None
    return Asked(tuple(photos), demo, raw["gallery"], raw["checkpoint"])


def _are_texts(*values: Any) -> bool:
    return all(isinstance(value, str) for value in values)


def _hears_answer(socket: QLocalSocket, limit_ms: int) -> bool:
    socket.waitForBytesWritten(limit_ms)
    while not socket.canReadLine():
        if not socket.waitForReadyRead(limit_ms):
            return False
    return bytes(socket.readLine().data()) == _TAKEN


def _socket_name(folder: Path) -> str:
    """Short whatever the home is called; in the folder that the user alone may enter, if any."""
    name = "skyfix-" + hashlib.sha256(str(folder).encode("utf-8", "replace")).hexdigest()[:16]
    place = QStandardPaths.writableLocation(QStandardPaths.StandardLocation.RuntimeLocation)
    path = f"{place}/{name}"
    return path if place.startswith("/") and len(path.encode()) <= MOST_PATH else name
