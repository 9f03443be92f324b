"""The folium page in a QWebEngineView, sealed off: the only file that imports QtWebEngine.

Everything the page loads comes through one scheme, ``skyfix://``, from an allow-list of assets
and from basemaps that were opened by ``show_ground``. An interceptor blocks and counts the rest.
Data goes in as JSON; a pick and the pointer's place come back through the few slots of ``Bridge``.
"""

import json
import logging
import math
from collections.abc import Mapping
from dataclasses import asdict
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any

import shiboken6
from PySide6.QtCore import QBuffer, QByteArray, QFile, QIODevice, QObject, Qt, QUrl, Signal, Slot
from PySide6.QtGui import QColor
from PySide6.QtWebChannel import QWebChannel
from PySide6.QtWebEngineCore import (
    QWebEngineDownloadRequest,
    QWebEnginePage,
    QWebEngineProfile,
    QWebEngineSettings,
    QWebEngineUrlRequestInfo,
    QWebEngineUrlRequestInterceptor,
    QWebEngineUrlRequestJob,
    QWebEngineUrlScheme,
    QWebEngineUrlSchemeHandler,
)
from PySide6.QtWebEngineWidgets import QWebEngineView
from PySide6.QtWidgets import QVBoxLayout, QWidget

from app import paths
from app.errors import UserError
from app.geo import Area, LatLon
from app.messages import Candidate, Claim
from app.ui.map_marks import (
    Ground,
    ObjectMark,
    candidate_lines,
    claim_lines,
    heading_wedge,
    ink_on,
    length_text,
    object_view,
    rank_colour,
)
from app.ui.map_tiles import TileKey, TileReader, mime_of
from app.ui.theme import DARK, LIGHT

SCHEME = b"skyfix"
PAGE = QUrl("skyfix://assets/map.html")
NO_TILE = bytes.fromhex(  # a transparent PNG of one pixel
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154"
    "789c6360000000020001e221bc330000000049454e44ae426082"
)
MIME = {".html": b"text/html", ".js": b"text/javascript", ".css": b"text/css", ".png": b"image/png"}
CONSOLE_LEVEL = {
    QWebEnginePage.JavaScriptConsoleMessageLevel.InfoMessageLevel: logging.INFO,
    QWebEnginePage.JavaScriptConsoleMessageLevel.WarningMessageLevel: logging.WARNING,
    QWebEnginePage.JavaScriptConsoleMessageLevel.ErrorMessageLevel: logging.ERROR,
}
ALLOWED = (
    QWebEngineSettings.WebAttribute.JavascriptEnabled,
    QWebEngineSettings.WebAttribute.AutoLoadImages,
)

log = logging.getLogger(__name__)


def new_profile() -> QWebEngineProfile:
    """A profile that keeps nothing on disk. The first one starts Chromium: some 50 ms."""
    if QWebEngineUrlScheme.schemeByName(SCHEME).name() != SCHEME:
        scheme = QWebEngineUrlScheme(SCHEME)
        scheme.setSyntax(QWebEngineUrlScheme.Syntax.Host)
        scheme.setFlags(QWebEngineUrlScheme.Flag.SecureScheme)
        QWebEngineUrlScheme.registerScheme(scheme)  # too late once there is a profile
    return QWebEngineProfile()


def assets() -> Mapping[str, Path]:
    """What ``skyfix://assets/NAME`` may hand out; for the page no other file exists."""
    ours = paths.resources() / "map"
    leaflet = _package("js_lib_leaflet") / "static" / "js_lib_leaflet"
    jquery = _package("xstatic.pkg.jquery") / "data"
    return {
        "map.html": ours / "map.html",
        "map.js": ours / "map.js",
        "map.css": ours / "map.css",
        "leaflet.js": leaflet / "leaflet.js",
        "leaflet.css": leaflet / "leaflet.css",
        "images/layers.png": leaflet / "images" / "layers.png",
        "images/layers-2x.png": leaflet / "images" / "layers-2x.png",
        "jquery.js": jquery / "jquery.min.js",
    }


def _package(name: str) -> Path:
    """Where a package lies, without running it."""
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise UserError(f"The package {name} is missing", "Install Skyfix again.")
    return Path(next(iter(spec.submodule_search_locations)))


class Gate(QWebEngineUrlRequestInterceptor):
    """Blocks and counts every request that does not stay in the program."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.blocked: list[str] = []

    def interceptRequest(self, info: QWebEngineUrlRequestInfo) -> None:
        url = info.requestUrl()
        if url.scheme().encode() == SCHEME:
            return
        info.block(True)
        self.blocked.append(url.toString()[:200])
        log.error("the map asked for %s, which was blocked", self.blocked[-1])


class Assets(QWebEngineUrlSchemeHandler):
    """Answers ``skyfix://assets/NAME`` and ``skyfix://tiles/TOKEN/ZOOM/COLUMN/ROW``."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._files = assets()
        self._reader = TileReader(self)
        self._tokens = count(1)
        self._basemap: tuple[str, Path] | None = None
        self.tiles_served = 0

    def open_basemap(self, path: Path) -> str:
        """The token under which its tiles are found; the one before ends."""
        token = f"g{next(self._tokens)}"  # a new one each time: no tile of the old is taken for new
        self._basemap = token, path
        return token

    def close(self) -> None:
        self._reader.close()

    def requestStarted(self, job: QWebEngineUrlRequestJob) -> None:
        url = job.requestUrl()
        name = url.path().removeprefix("/")
        if job.requestMethod() != b"GET":
            job.fail(QWebEngineUrlRequestJob.Error.RequestDenied)
        elif url.host() == "assets":
            self._asset(job, name)
        elif url.host() == "tiles":
            self._tile(job, name)
        else:
            job.fail(QWebEngineUrlRequestJob.Error.UrlInvalid)

    def _asset(self, job: QWebEngineUrlRequestJob, name: str) -> None:
        if name == "qwebchannel.js":
            script = QFile(":/qtwebchannel/qwebchannel.js")
            script.open(QIODevice.OpenModeFlag.ReadOnly)
            _reply(job, MIME[".js"], bytes(script.readAll().data()))
        elif name in self._files:
            path = self._files[name]
            _reply(job, MIME[path.suffix], path.read_bytes())
        else:
            job.fail(QWebEngineUrlRequestJob.Error.UrlNotFound)

    def _tile(self, job: QWebEngineUrlRequestJob, name: str) -> None:
        token, _, rest = name.partition("/")
        try:
            zoom, column, row = (int(part) for part in rest.split("/"))
            key = TileKey(zoom, column, row)
        except ValueError:
            job.fail(QWebEngineUrlRequestJob.Error.UrlInvalid)
            return
        if self._basemap is None or token != self._basemap[0]:
            job.fail(QWebEngineUrlRequestJob.Error.UrlNotFound)
            return
        number = self._reader.ask(self._basemap[1], key, lambda tile: self._answer(job, tile))
        job.destroyed.connect(lambda: self._reader.forget(number))

    def _answer(self, job: QWebEngineUrlRequestJob, tile: bytes | None) -> None:
        if not shiboken6.isValid(job):
            return
        if tile is not None:
            self.tiles_served += 1
        content = tile or NO_TILE
        _reply(job, mime_of(content), content)


def _reply(job: QWebEngineUrlRequestJob, mime: bytes, content: bytes) -> None:
    body = QBuffer(job)  # lives as long as the request
    body.setData(QByteArray(content))
    body.open(QIODevice.OpenModeFlag.ReadOnly)
    job.reply(QByteArray(mime), body)


class Bridge(QObject):
    """All that the page can call. It believes nothing: the numbers are checked here."""

    arrived_ = Signal()
    picked = Signal(int)
    hovered = Signal(object)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.ranks: frozenset[int] = frozenset()

    @Slot()
    def arrived(self) -> None:
        self.arrived_.emit()

    @Slot(int)
    def pick(self, rank: int) -> None:
        if rank in self.ranks:
            self.picked.emit(rank)

    @Slot(float, float)
    def hover(self, lat: float, lon: float) -> None:
        if math.isfinite(lat) and math.isfinite(lon) and abs(lat) <= 90:
            self.hovered.emit(LatLon(lat, (lon + 180) % 360 - 180))

    @Slot()
    def leave(self) -> None:
        self.hovered.emit(None)


class Page(QWebEnginePage):
    """Goes nowhere, opens nothing, asks nothing; what it says on its console is logged."""

    def acceptNavigationRequest(
        self, url: QUrl | str, kind: QWebEnginePage.NavigationType, is_main_frame: bool
    ) -> bool:
        return url == PAGE

    def createWindow(self, kind: QWebEnginePage.WebWindowType) -> QWebEnginePage | None:  # type: ignore[override] # the stub forgets that null is the way to refuse
        return None

    def javaScriptConsoleMessage(
        self,
        level: QWebEnginePage.JavaScriptConsoleMessageLevel,
        message: str,
        line: int,
        source: str,
    ) -> None:
        log.log(CONSOLE_LEVEL[level], "map page: %s (%s:%d)", message, source, line)

    def javaScriptAlert(self, origin: QUrl | str, message: str) -> None:
        log.warning("map page wanted to say: %s", message)


class WebMap(QWidget):
    picked = Signal(int)
    hovered = Signal(object)  # LatLon | None
    ready = Signal()
    failed = Signal(str)  # why there is no web map (any more)

    def __init__(
        self, profile: QWebEngineProfile, *, dark: bool = False, parent: QWidget | None = None
    ) -> None:
        """Takes the profile over: it ends with this map."""
        super().__init__(parent)
        self._profile = profile
        self.gate = Gate(self)
        self.assets = Assets(self)
        self._profile.setUrlRequestInterceptor(self.gate)
        self._profile.installUrlSchemeHandler(SCHEME, self.assets)
        self._profile.downloadRequested.connect(self._on_download)
        self.view = QWebEngineView(self)
        self.page = Page(self._profile, self)
        self.page.setBackgroundColor(QColor((DARK if dark else LIGHT).stage))  # no white flash
        _harden(self.page.settings())
        self._bridge = Bridge(self)
        channel = QWebChannel(self)
        channel.registerObject("bridge", self._bridge)
        self.page.setWebChannel(channel)
        self.view.setPage(self.page)
        self.view.setContextMenuPolicy(Qt.ContextMenuPolicy.NoContextMenu)
        self.view.setAcceptDrops(False)  # a photo dropped here is the window's
        self.view.setAccessibleName("Map")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.view)
        # A profile has to die after its pages; children die in the order of this list.
        self._profile.setParent(self)
        self.setFocusProxy(self.view)
        self._has_arrived = False
        self._bridge.arrived_.connect(self._on_arrived)
        self._bridge.picked.connect(self.picked)
        self._bridge.hovered.connect(self.hovered)
        self.page.loadFinished.connect(self._on_load_finished)
        self.page.renderProcessTerminated.connect(self._on_terminated)
        self.page.load(PAGE)

    def show_ground(self, ground: Ground) -> None:
        tiles = None
        if ground.basemap is not None:
            tiles = {
                "token": self.assets.open_basemap(ground.basemap.path),
                "min_zoom": ground.basemap.min_zoom,
                "max_zoom": ground.basemap.max_zoom,
                "bounds": _bounds(ground.basemap.area),
            }
        ground_json = {
            "tiles": tiles,
            "area": _bounds(ground.area),
            "attribution": ground.attribution,
        }
        self._call("showGround", ground_json)

    def show_candidates(
        self, candidates: tuple[Candidate, ...], claim: Claim | None, fit: Area | None
    ) -> None:
        self._bridge.ranks = frozenset(c.rank for c in candidates)
        pins = [_pin(c, len(candidates)) for c in candidates]
        shown_claim = None if claim is None else _claim(claim, candidates)
        self._call("showCandidates", {"pins": pins, "claim": shown_claim, "fit": _bounds(fit)})

    def show_objects(self, objects: tuple[ObjectMark, ...]) -> None:
        self._call("showObjects", [_object(mark) for mark in objects])

    def select(self, rank: int | None) -> None:
        self._call("select", rank)

    def set_dark(self, dark: bool) -> None:
        look = DARK if dark else LIGHT
        self.page.setBackgroundColor(QColor(look.stage))
        self._call("dress", asdict(look), dark)

    def fit_candidates(self) -> None:
        self._call("fitCandidates")

    def fit_object(self) -> None:
        self._call("fitObject")

    def fit_gallery(self) -> None:
        self._call("fitGallery")

    def shutdown(self) -> None:
        """End the page's process now. Not from within one of this map's own signals."""
        if not shiboken6.isValid(self.page):
            return
        self.page.renderProcessTerminated.disconnect(self._on_terminated)
        self.assets.close()
        for part in (self.view, self.page, self._profile):
            shiboken6.delete(part)

    def _call(self, function: str, *arguments: Any) -> None:
        """``json.dumps`` escapes all but ASCII, so that no string can end the script's."""
        words = ", ".join(json.dumps(argument, allow_nan=False) for argument in arguments)
        self.page.runJavaScript(f"skyfix.{function}({words})")

    @Slot()
    def _on_arrived(self) -> None:
        self._has_arrived = True
        self.ready.emit()

    @Slot(bool)
    def _on_load_finished(self, loaded: bool) -> None:
        if not loaded and not self._has_arrived:  # later it is a refused navigation
            self.failed.emit("the map page did not load")

    def _on_terminated(
        self, status: QWebEnginePage.RenderProcessTerminationStatus, code: int
    ) -> None:
        log.error("the map's process ended: %s, code %d", status.name, code)
        self.failed.emit("the map's process ended unexpectedly")

    @Slot(QWebEngineDownloadRequest)
    def _on_download(self, request: QWebEngineDownloadRequest) -> None:
        request.cancel()


def _harden(settings: QWebEngineSettings) -> None:
    """Everything off but scripts and pictures."""
    for attribute in QWebEngineSettings.WebAttribute:
        settings.setAttribute(attribute, attribute in ALLOWED)


def _pin(candidate: Candidate, count: int) -> dict[str, Any]:
    colour = rank_colour(candidate.rank, count)
    return {
        "rank": candidate.rank,
        "lat": candidate.position.lat,
        "lon": candidate.position.lon,
        "colour": colour,
        "ink": ink_on(colour),
        "lines": candidate_lines(candidate),
        "heading": candidate.heading_deg if math.isfinite(candidate.heading_deg) else None,
        "footprint": _ring(candidate.footprint),
        "wedge": _ring(heading_wedge(candidate)),
    }


def _object(mark: ObjectMark) -> dict[str, Any]:
    return {
        "number": mark.number,
        "lat": mark.centre.lat,
        "lon": mark.centre.lon,
        "colour": mark.colour,
        "ink": ink_on(mark.colour),
        "lines": mark.lines,
        "polygon": _ring(mark.polygon),
        "view": _bounds(object_view(mark)),
        "selected": mark.is_selected,
    }


def _claim(claim: Claim, candidates: tuple[Candidate, ...]) -> dict[str, Any]:
    away = claim.position.metres_to(candidates[0].position) if candidates else None
    return {
        "lat": claim.position.lat,
        "lon": claim.position.lon,
        "lines": claim_lines(claim, candidates),
        "away": "" if away is None else length_text(away),
    }


def _ring(places: tuple[LatLon, ...]) -> list[list[float]]:
    return [[place.lat, place.lon] for place in places]


def _bounds(area: Area | None) -> list[list[float]] | None:
    return None if area is None else [[area.south, area.west], [area.north, area.east]]
