"""Which checkpoints and galleries there are, and which of them are in use. Signals, no widgets.

Files are read in a thread; the engine loads and verifies what is chosen. A choice that fails
leaves the former one in place.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from PySide6.QtCore import QObject, QThreadPool, Signal, Slot

from app.card import Card, NoCardError, View, identity_of, read_card
from app.manifest import MANIFEST_NAME, Manifest, read_manifest
from app.messages import (
    CheckpointImported,
    DeviceChanged,
    Event,
    GalleryOpened,
    ImportCheckpoint,
    OpenGallery,
    Problem,
    Progress,
    UserError,
    Warm,
    Warmed,
)
from app.paths import data_dir, demo, resources, shipped_checkpoints
from app.ui.session import Engine

FOREIGN_ENDINGS = (".pth", ".pth.tar", ".pt", ".ckpt")  # of published weights, to be imported


@dataclass(frozen=True, slots=True)
class CheckpointEntry:
    """``card`` is None where ``problem`` says why the file is not usable."""

    path: Path
    card: Card | None
    sha256: str = ""  # empty until it is computed
    problem: Problem | None = None
    foreign: bool = False  # of another program: it can be imported

    @property
    def finds_objects(self) -> bool:
        return self.card is not None and self.card.task == "object"

    @property
    def ships(self) -> bool:
        return self.path.is_relative_to(resources())


@dataclass(frozen=True, slots=True)
class GalleryEntry:
    """``manifest`` is None where ``problem`` says why the folder is not usable."""

    path: Path
    manifest: Manifest | None
    problem: Problem | None = None


@dataclass(frozen=True, slots=True)
class _Scan:
    checkpoints: tuple[CheckpointEntry, ...]
    galleries: tuple[GalleryEntry, ...]


_Stamp = tuple[Path, int, int]  # a file, its time and its size


class Library(QObject):
    changed = Signal()  # the lists
    chosen = Signal()  # checkpoint or gallery in use
    finder_chosen = Signal(object)  # CheckpointEntry for clicks that the user chose
    state_changed = Signal()  # loading, loaded, device
    moved = Signal(object)  # DeviceChanged that says something new
    paired = Signal(object)  # CheckpointEntry put in use because the gallery needs it
    failed = Signal(object)  # Problem
    noted = Signal(str)  # what the engine remarked on opening a gallery
    foreign = Signal(object)  # ImportCheckpoint of a chosen file that another program wrote
    imported = Signal(object)  # CheckpointImported
    import_failed = Signal(object, object)  # ImportCheckpoint, Problem
    _scanned = Signal(object)

    def __init__(
        self,
        engine: Engine,
        *,
        checkpoints: Iterable[str] = (),
        galleries: Iterable[str] = (),
        finders: Mapping[str, Path] | None = None,
        parent: QObject | None = None,
    ) -> None:
        """The lists are the recent ones; what ships and what lies in the user's data is added.

        ``finders`` were chosen for clicks on photos of each view.
        """
        super().__init__(parent)
        self._engine = engine
        self._finders = dict(finders or {})
        known = (*(Path(path) for path in checkpoints), *self._finders.values())
        self._known_checkpoints = list(dict.fromkeys(known))
        self._known_galleries = [Path(path) for path in galleries]
        self._hashes: dict[_Stamp, str] = {}
        self._pool = QThreadPool(self)
        self._pool.setMaxThreadCount(1)
        self._checkpoints: tuple[CheckpointEntry, ...] = ()
        self._galleries: tuple[GalleryEntry, ...] = ()
        self._checkpoint: CheckpointEntry | None = None
        self._gallery: GalleryEntry | None = None
        self._wanted_checkpoint: Path | None = None
        self._wanted_gallery: Path | None = None
        self._warm_job: int | None = None
        self._open_job: int | None = None
        self._imports: dict[int, ImportCheckpoint] = {}
        self._pair = False
        self.device = ""
        self._last_move: tuple[str, str] | None = None  # device and reason, told already
        self._scanned.connect(self._on_scanned)
        engine.told.connect(self._on_told)

    # --- what there is ---

    @property
    def checkpoints(self) -> tuple[CheckpointEntry, ...]:
        return self._checkpoints

    @property
    def locators(self) -> tuple[CheckpointEntry, ...]:
        """Those that locate photos, and those that cannot be read."""
        return tuple(e for e in self._checkpoints if not e.finds_objects)

    @property
    def photo_view(self) -> View | None:
        """Of the photos that are located now; None: no checkpoint is in use."""
        return (
            None
            if self._checkpoint is None or (card := self._checkpoint.card) is None
            else (card.query_view)
        )

    @property
    def finders(self) -> tuple[CheckpointEntry, ...]:
        """Those that find clicked objects in the photos that are located now."""
        view = self.photo_view
        return tuple(
            e
            for e in self._checkpoints
            if e.card is not None and e.finds_objects and view in (None, e.card.query_view)
        )

    @property
    def finder(self) -> CheckpointEntry | None:
        """The one in use for clicks: the user's choice for this view, else what ships."""
        finders, view = self.finders, self.photo_view
        chosen = None if view is None else self._finders.get(view)
        ranked = sorted(finders, key=lambda e: (e.path != chosen, not e.ships))
        return ranked[0] if ranked else None

    @property
    def galleries(self) -> tuple[GalleryEntry, ...]:
        return self._galleries

    @property
    def checkpoint(self) -> CheckpointEntry | None:
        return self._checkpoint

    @property
    def gallery(self) -> GalleryEntry | None:
        return self._gallery

    @property
    def is_warming(self) -> bool:
        return self._warm_job is not None

    @property
    def is_opening(self) -> bool:
        return self._open_job is not None

    @property
    def is_choosing(self) -> bool:
        """A choice was made and its file is being read."""
        return self._wanted_checkpoint is not None or self._wanted_gallery is not None

    def fits(self, gallery: GalleryEntry, checkpoint: CheckpointEntry) -> bool | None:
        """Whether the gallery was described by this checkpoint; None: not known yet."""
        if gallery.manifest is None or not checkpoint.sha256:
            return None
        return gallery.manifest.checkpoint == checkpoint.sha256

    # --- what the user does ---

    def choose_checkpoint(self, path: Path) -> None:
        """For locating, or for clicks: what it is for stands in its card."""
        self._wanted_checkpoint = path
        self._pair = False  # the user's own choice stands
        self._scan(checkpoint=path)

    def learn(self, checkpoint: Path) -> None:
        """Read its card, and list it; what is in use stays."""
        known = checkpoint in self._known_checkpoints
        if not known and checkpoint.suffix == ".safetensors" and checkpoint.is_file():
            self._scan(checkpoint=checkpoint)

    def choose_gallery(self, path: Path) -> None:
        """The checkpoint that described it is put in use as well, if it is among the known."""
        self._wanted_gallery = path
        self._pair = True
        self._scan(gallery=path)

    def choose(self, *, checkpoint: Path | None, gallery: Path | None) -> None:
        self._wanted_checkpoint, self._wanted_gallery = checkpoint, gallery
        self._pair = checkpoint is None
        self._scan(checkpoint=checkpoint, gallery=gallery)

    def start_import(self, request: ImportCheckpoint) -> None:
        """What becomes of it is put in use."""
        if request not in self._imports.values():
            self._imports[self._engine.send(request)] = request

    def close(self) -> None:
        self._pool.clear()
        self._pool.waitForDone()

    # --- reading files, in the thread ---

    def _scan(self, *, checkpoint: Path | None = None, gallery: Path | None = None) -> None:
        if checkpoint is not None and checkpoint not in self._known_checkpoints:
            self._known_checkpoints.insert(0, checkpoint)
        if gallery is not None and gallery not in self._known_galleries:
            self._known_galleries.insert(0, gallery)
        checkpoints, galleries = tuple(self._known_checkpoints), tuple(self._known_galleries)
        self._pool.start(lambda: self._read(checkpoints, galleries))

    def _read(self, recent_checkpoints: tuple[Path, ...], recent: tuple[Path, ...]) -> None:
        mine = sorted((data_dir() / "checkpoints").glob("*.safetensors"))
        paths = dict.fromkeys((*recent_checkpoints, *shipped_checkpoints(), *mine))
        entries = tuple(_read_checkpoint(path) for path in paths)
        folders = dict.fromkeys((*recent, *_galleries_in(demo()), *_galleries_in(data_dir())))
        galleries = tuple(_read_gallery(folder) for folder in folders)
        self._scanned.emit(_Scan(entries, galleries))
        hashed = tuple(
            CheckpointEntry(e.path, e.card, self._hash(e.path)) if e.card is not None else e
            for e in entries
        )
        self._scanned.emit(_Scan(hashed, galleries))

    def _hash(self, path: Path) -> str:
        """Empty for a file that went away meanwhile."""
        try:
            state = path.stat()
            stamp = (path, state.st_mtime_ns, state.st_size)
            if stamp not in self._hashes:
                self._hashes[stamp] = identity_of(path)
            return self._hashes[stamp]
        except (OSError, UserError):
            return ""

    # --- taking into use ---

    @Slot(object)
    def _on_scanned(self, scan: _Scan) -> None:
        foreign = {entry.path for entry in scan.checkpoints if entry.foreign}
        self._known_checkpoints = [p for p in self._known_checkpoints if p not in foreign]
        self._checkpoints = tuple(e for e in scan.checkpoints if not e.foreign)
        self._galleries = scan.galleries
        self.changed.emit()
        if (wanted := self._wanted_checkpoint) in foreign and wanted is not None:
            self._wanted_checkpoint = None
            self.foreign.emit(ImportCheckpoint(wanted))
        before = (self._checkpoint, self._gallery)
        self._take_checkpoint()
        self._take_gallery()
        self._take_pair()
        if (self._checkpoint, self._gallery) != before:
            self.chosen.emit()

    def _take_checkpoint(self) -> None:
        if self._wanted_checkpoint is None:
            if self._checkpoint is not None:  # its hash may be known now
                self._checkpoint = next(
                    (e for e in self._checkpoints if e.path == self._checkpoint.path and e.card),
                    self._checkpoint,
                )
            return
        entry = next((e for e in self._checkpoints if e.path == self._wanted_checkpoint), None)
        if entry is None:
            return  # this scan was asked for before the wish
        self._wanted_checkpoint = None
        if entry.problem is not None:
            self.failed.emit(entry.problem)
        elif entry.finds_objects and entry.card is not None:
            self._finders[entry.card.query_view] = entry.path
            self.finder_chosen.emit(entry)
        else:
            self._use_checkpoint(entry)

    def _use_checkpoint(self, entry: CheckpointEntry) -> None:
        self._checkpoint = entry
        if self._warm_job is not None:
            self._engine.cancel(self._warm_job)
        self._warm_job = self._engine.send(Warm(entry.path))
        if self._gallery is not None:
            self._open()
        self.state_changed.emit()

    def _take_gallery(self) -> None:
        if self._wanted_gallery is None:
            return
        entry = next((e for e in self._galleries if e.path == self._wanted_gallery), None)
        if entry is None:
            return
        self._wanted_gallery = None
        if entry.problem is not None:
            self.failed.emit(entry.problem)
        else:
            self._gallery = entry
            self._open()

    def _take_pair(self) -> None:
        """Put the checkpoint in use that described the gallery, once it is known which."""
        gallery, current = self._gallery, self._checkpoint
        if not self._pair or gallery is None:
            return
        if current is not None and self.fits(gallery, current):
            self._pair = False
            return
        for entry in self._checkpoints:
            if self.fits(gallery, entry):
                self._pair = False
                self._use_checkpoint(entry)
                self.paired.emit(entry)
                return

    def _open(self) -> None:
        if self._gallery is None:
            return
        if self._open_job is not None:
            self._engine.cancel(self._open_job)
        checkpoint = None if self._checkpoint is None else self._checkpoint.path
        self._open_job = self._engine.send(OpenGallery(self._gallery.path, checkpoint))
        self.state_changed.emit()

    # --- hearing ---

    @Slot(object)
    def _on_told(self, event: Event) -> None:
        if isinstance(event.body, DeviceChanged):
            self._on_moved(event.body)
            return
        if event.job in self._imports and not isinstance(event.body, Progress):
            self._on_import_ended(self._imports.pop(event.job), event.body)
            return
        if event.job not in (self._warm_job, self._open_job) or isinstance(event.body, Progress):
            return
        if event.job == self._warm_job:
            self._warm_job = None
        else:
            self._open_job = None
        match event.body:
            case Warmed(device=device):
                self.device = device
            case GalleryOpened(note=note) if note:
                self.noted.emit(note)
            case Problem() as problem:
                self.failed.emit(problem)
            case _:
                pass  # opened without a remark, or cancelled for a newer choice
        self.state_changed.emit()

    def _on_moved(self, change: DeviceChanged) -> None:
        """The same for another network is no news."""
        if self._checkpoint is not None and self._checkpoint.path in change.checkpoints:
            self.device = change.device
            self.state_changed.emit()
        if self._last_move != (change.device, change.reason):
            self._last_move = (change.device, change.reason)
            self.moved.emit(change)

    def _on_import_ended(self, request: ImportCheckpoint, body: object) -> None:
        match body:
            case CheckpointImported() as done:
                self.imported.emit(done)
                self.choose_checkpoint(done.checkpoint)
            case Problem() as problem:
                self.import_failed.emit(request, problem)
            case _:
                pass  # cancelled: nothing was written


def _read_checkpoint(path: Path) -> CheckpointEntry:
    try:
        return CheckpointEntry(path, read_card(path))
    except UserError as error:
        published = path.name.lower().endswith(FOREIGN_ENDINGS) and path.is_file()
        foreign = published or isinstance(error, NoCardError)
        return CheckpointEntry(path, None, problem=Problem(str(error), error.hint), foreign=foreign)


def _read_gallery(folder: Path) -> GalleryEntry:
    try:
        return GalleryEntry(folder, read_manifest(folder))
    except UserError as error:
        return GalleryEntry(folder, None, Problem(str(error), error.hint))


def _galleries_in(folder: Path) -> list[Path]:
    return sorted(path.parent for path in (folder / "galleries").glob(f"*/{MANIFEST_NAME}"))
