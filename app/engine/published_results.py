"""What papers print for the data sets' tests, to stand beside our own figures.

Plain data that loads nothing heavy. Figures are the papers' and their pages' own, in percent (or
metres); ``published`` gives shares. Names of data sets, tests and figures are those of an
evaluation's result.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

# Where a line comes from: the paper of its method, or
_SOURCES = {
    "P": "printed in the method's paper or in one that compares with it",
    "U": "University1652-Baseline's page of the state of the art, 2026-07",
    "L": "a leaderboard's table, 2026-07",
    "T": "TROGeo's project page",
    "K": "known from elsewhere, not read in a paper",
}


@dataclass(frozen=True, slots=True)
class PublishedRow:
    """One method on one test."""

    method: str
    values: Mapping[str, float]  # by the names of the figures; shares 0..1, or metres
    source: str
    trained_on: str = ""  # another data set than the one it was tested on
    paper: bool = False  # one of the five networks that this program is about


@dataclass(frozen=True, slots=True)
class _Table:
    """Lines of "method | cells of the first test | of the second ... | source".

    Cells are separated by spaces, in the order of ``figures``; "-" where nothing is printed. A
    method that ends in * is one of the five; a † belongs to its name.
    """

    data: str
    tests: tuple[str, ...]
    figures: tuple[str, ...]
    lines: str
    trained_on: tuple[str, ...] = ("", "")
    in_metres: bool = False


_RECALLS = ("R@1", "R@5", "R@10", "R@1%")
_ACCURACIES = ("accu@0.25", "accu@0.5")
_DISTANCES = tuple(f"mean distance top {k}" for k in ("1", "5", "10", "1%"))

_TABLES = (
    _Table(
        "University-1652",
        ("drone to satellite", "satellite to drone"),
        ("R@1", "AP"),
        """
        Univ-1652 | 58.49 63.13 | 71.18 58.74 | P
        Instance loss | 58.23 62.91 | 74.47 59.45 | U
        Instance loss + GeM | 65.32 69.61 | 79.03 65.35 | P
        LCM | 66.65 70.82 | 79.89 65.38 | P
        LPN | 75.93 79.14 | 86.45 74.79 | U
        SGM | 82.14 84.72 | 88.16 81.81 | P
        FSRA, k = 1 | 82.25 84.82 | 87.87 81.53 | U
        FSRA, k = 3 | 84.51 86.71 | 88.45 83.37 | U
        PAAN | 84.51 86.78 | 91.01 82.28 | P
        MIFT* | 87.84 89.62 | 92.30 87.66 | P
        MCCG | 89.64 91.32 | 94.30 89.39 | U
        SDPL | 90.16 91.64 | 93.58 89.45 | U
        Sample4Geo | 92.65 93.81 | 95.14 91.39 | U
        MEAN | 93.55 94.53 | 96.01 92.08 | U
        APA-BI | 93.57 94.55 | 95.86 92.88 | U
        SHAA | 93.69 94.68 | 96.15 93.49 | U
        MFRGN* | 94.33 95.24 | 96.15 93.94 | U
        CAMP | 94.46 95.38 | 96.15 92.72 | U
        DAC | 94.67 95.50 | 96.43 93.79 | U
        QDFL | 95.00 95.83 | 97.15 94.57 | U
        MFAF (EVA02-L) | 95.06 95.89 | 96.01 95.07 | L
        JRN-Geo | 95.13 95.85 | 96.72 94.93 | U
        CDM-Net | 95.13 96.04 | 96.68 94.05 | U
        CGSI (extra data) | 95.45 96.10 | 96.58 95.38 | U
        GeoBridge (extra data) | 95.82 97.77 | 97.14 95.05 | U
        BGG (DINOv3 adapters) | 96.24 - | 97.57 - | L
        MobileGeo | 97.15 97.50 | 95.72 92.57 | L
        (MGS)2-Net | 97.6 - | 98.86 - | L
        """,
    ),
    _Table(
        "CVUSA",
        ("street to satellite",),
        _RECALLS,
        """
        CVM-Net | 22.47 49.98 63.18 93.62 | P
        LOCG (Orientation) | 40.79 66.82 76.36 96.12 | P
        Regmi | 48.75 - 81.27 95.98 | P
        CVFT | 61.43 84.69 90.49 99.02 | P
        LPN | 78.48 92.46 95.29 99.12 | P
        MSAE* | 81.39 94.50 96.80 99.53 | P
        SAFA | 81.15 94.23 96.85 99.49 | P
        SAFA† | 89.84 96.93 98.14 99.64 | P
        L2LTR | 91.99 97.68 98.65 99.75 | P
        CDTE | 92.56 97.55 98.33 99.57 | P
        SAFA† + LPN | 92.83 98.00 98.85 99.78 | P
        GeoDTR | 93.76 98.47 99.22 99.85 | P
        L2LTR† | 94.05 98.27 98.99 99.67 | P
        TransGeo | 94.08 98.36 99.04 99.77 | P
        GeoDTR+ | 95.05 98.42 98.92 99.77 | P
        GeoDTR+† | 95.40 98.44 99.05 99.75 | P
        GeoDTR† | 95.43 98.86 99.34 99.86 | P
        GeoViewMatch* | 95.52 99.22 99.67 99.83 | P
        SAIG-D | 96.08 98.72 99.22 99.86 | P
        VimGeo | 96.19 98.62 99.00 99.52 | U
        SAIG-D† | 96.34 99.10 99.50 99.86 | P
        GANet | 96.38 99.12 99.41 99.85 | U
        ConGeo | 96.6 98.9 99.2 99.7 | U
        FRGeo | 97.06 99.25 99.47 99.85 | U
        Sample4Geo unsampled | 97.84 99.58 99.75 99.88 | P
        MFRGN* | 98.24 99.56 99.72 99.88 | P
        ArcGeo† | 98.33 97.47 99.48 99.67 | U
        MFRGN+* | 98.67 99.57 99.71 99.85 | P
        Sample4Geo | 98.68 99.68 99.78 99.87 | P
        Panorama-BEV | 98.71 99.70 99.78 99.86 | U
        """,
    ),
    _Table(
        "CVACT",
        ("val",),
        _RECALLS,
        """
        CVM-Net | 20.15 45 56.87 87.57 | P
        LOCG (Orientation) | 46.96 68.28 75.48 92.01 | P
        CVFT | 61.05 81.33 86.52 95.93 | P
        MSAE* | 71.52 87.87 91.43 97.08 | P
        SAFA | 78.28 91.60 93.79 98.15 | P
        SAFA† | 81.03 92.80 94.84 98.17 | P
        ConGeo | 83.0 90.6 92.4 96.3 | U
        L2LTR | 83.14 93.84 95.51 98.40 | P
        CDTE | 83.28 93.57 95.42 98.22 | P
        SAFA† + LPN | 83.66 94.14 95.92 98.41 | P
        L2LTR† | 84.89 94.59 95.96 98.37 | P
        TransGeo | 84.95 94.14 95.78 98.37 | P
        GeoDTR | 85.43 94.81 96.11 98.26 | P
        GeoDTR† | 86.21 95.44 96.72 98.77 | P
        GANet | 87.52 96.00 97.05 98.80 | U
        GeoDTR+† | 87.61 95.48 96.52 98.34 | P
        VimGeo | 87.62 94.88 96.06 98.06 | U
        Sample4Geo unsampled | 87.73 96.58 97.59 98.99 | P
        GeoDTR+ | 87.76 95.50 96.50 98.32 | P
        MFRGN* | 88.78 96.61 97.51 98.99 | P
        SAIG-D† | 89.06 96.11 97.08 98.89 | P
        SAIG-D | 89.21 96.07 97.04 98.74 | P
        MFRGN, cropped* | 89.51 96.96 97.75 99.01 | P
        GeoViewMatch* | 89.71 95.93 96.92 98.48 | P
        FRGeo | 90.35 96.45 97.25 98.74 | U
        Sample4Geo | 90.81 96.74 97.48 98.77 | P
        ArcGeo† | 90.90 95.84 96.77 - | U
        MFRGN+* | 91.09 96.34 97.14 98.44 | P
        Panorama-BEV | 91.90 97.23 97.84 98.84 | U
        """,
    ),
    _Table(
        "CVACT",
        ("val",),
        tuple(f"within {metres} m" for metres in (0, 36, 72, 144)),
        """
        LOCG (Orientation) | 42.13 44.23 45.04 46.34 | P
        CVFT | 59.35 64.66 65.75 67.51 | P
        SAFA† | 72.76 77.75 78.69 79.92 | P
        CDTE | 83.44 88.97 89.77 90.69 | P
        L2LTR† | 83.91 88.99 89.97 90.83 | P
        TransGeo | 84.91 89.59 90.42 91.19 | P
        GeoViewMatch* | 89.71 93.30 93.83 94.50 | P
        """,
    ),
    _Table(
        "CVACT",
        ("val",),
        _DISTANCES,
        """
        LOCG (Orientation) | 2546 3859 4215 4909 | P
        CVFT | 1378 3396 3939 4894 | P
        SAFA† | 916 3238 3882 4953 | P
        CDTE | 392 2911 3594 4778 | P
        L2LTR† | 384 2938 3671 4876 | P
        TransGeo | 352 2821 3556 4790 | P
        GeoViewMatch* | 223 2668 3403 4700 | P
        """,
        in_metres=True,
    ),
    _Table(
        "CVACT",
        ("test",),
        _RECALLS[:3],
        """
        Sample4Geo | 71.51 - - | K
        Panorama-BEV | 73.68 93.53 95.11 | L
        """,
    ),
    _Table(
        "CVACT",
        ("val",),
        _RECALLS,
        """
        SAFA† | 30.40 52.93 62.29 85.82 | P
        Sample4Geo unsampled | 34.88 59.68 69.28 90.02 | P
        TransGeo | 37.81 61.57 69.86 89.14 | P
        GeoDTR | 43.72 66.99 74.61 91.83 | P
        MFRGN* | 51.61 73.91 80.55 94.24 | P
        GeoDTR† | 53.16 75.62 81.90 93.80 | P
        Sample4Geo | 56.62 77.79 87.02 94.69 | P
        GeoDTR+ | 60.16 79.97 84.67 94.48 | P
        GeoDTR+† | 61.17 80.22 85.45 94.56 | P
        MFRGN, sampling* | 66.06 82.79 86.58 94.47 | P
        Panorama-BEV | 67.79 84.06 87.96 - | L
        MFRGN, cropped* | 71.56 88.98 92.06 97.12 | P
        MFRGN+* | 79.12 91.09 93.17 96.79 | P
        """,
        trained_on=("CVUSA",),
    ),
    _Table(
        "CVUSA",
        ("street to satellite",),
        _RECALLS,
        """
        Sample4Geo unsampled | 15.78 31.13 39.40 70.04 | P
        TransGeo | 17.45 32.49 40.48 69.14 | P
        SAFA† | 21.45 36.55 43.79 69.83 | P
        GeoDTR | 29.85 49.25 57.11 - | P
        GeoDTR† | 44.07 64.66 72.08 90.09 | P
        Sample4Geo | 44.95 64.36 72.10 90.65 | P
        MFRGN* | 49.18 70.09 77.42 95.04 | P
        GeoDTR+ | 52.56 73.08 79.82 94.80 | P
        GeoDTR+† | 53.89 74.56 81.10 94.93 | P
        MFRGN, cropped* | 55.32 76.64 83.14 96.15 | P
        MFRGN, sampling* | 63.34 80.54 86.22 96.81 | P
        MFRGN+* | 69.28 84.91 89.60 97.69 | P
        """,
        trained_on=("CVACT",),
    ),
    _Table(
        "VIGOR",
        ("same area", "cross area"),
        (*_RECALLS, "hit rate"),
        """
        GeoDTR | 56.51 80.37 86.21 99.25 61.76 | 30.02 52.67 61.45 94.40 30.19 | P
        GeoDTR+ | 59.01 81.77 87.10 99.07 67.41 | 36.01 59.06 67.22 94.95 39.40 | P
        TransGeo | 61.48 87.54 91.88 99.56 73.09 | 18.99 38.24 46.91 88.94 21.21 | P
        SAIG-D | 65.23 - 88.08 99.68 74.11 | 33.05 - 55.94 94.64 36.71 | P
        Sample4Geo unsampled | 65.23 91.62 95.85 99.85 78.77 | 36.38 63.96 72.43 97.18 43.66 | P
        MFRGN* | 71.41 92.02 95.07 99.82 80.59 | 43.18 67.52 75.34 97.47 47.54 | P
        Sample4Geo | 77.86 95.66 97.21 99.61 89.82 | 61.70 83.50 88.00 98.17 69.87 | K
        Panorama-BEV | 82.18 97.10 98.17 - - | 72.19 88.68 91.68 - - | L
        """,
    ),
    _Table(
        "CVOGL",
        ("test, drone to satellite", "val, drone to satellite"),
        _ACCURACIES,
        """
        CVM-Net | 20.14 3.29 | 20.04 3.47 | P
        RK-Net | 19.22 2.67 | 19.94 3.03 | P
        TransGeo | 35.05 6.37 | 34.78 5.42 | P
        SAFA | 37.41 6.58 | 36.19 6.39 | P
        L2LTR | 38.95 6.27 | 38.68 5.96 | P
        Sample4Geo (retrieval) | 52.83 18.40 | 52.87 16.25 | T
        DetGeo | 61.97 57.66 | 59.81 55.15 | P
        VAGeo | 66.19 61.87 | 64.25 59.59 | T
        OCGNet | 68.35 - | - - | L
        AttenGeo* | 70.71 62.08 | 68.69 61.86 | P
        AMPNet | 73.28 - | - - | L
        TROGeo without segmentation | 74.31 68.65 | 72.38 65.87 | T
        TROGeo | 76.16 68.96 | 73.35 66.63 | T
        """,
    ),
    _Table(
        "CVOGL",
        ("test, street to satellite", "val, street to satellite"),
        _ACCURACIES,
        """
        CVM-Net | 4.73 0.51 | 5.09 0.87 | P
        RK-Net | 7.40 0.82 | 8.67 0.98 | P
        L2LTR | 10.69 2.16 | 12.24 1.84 | P
        Polar-SAFA | 20.66 3.19 | 19.18 2.71 | P
        TransGeo | 21.17 2.88 | 21.67 3.25 | P
        SAFA | 22.20 3.08 | 20.59 3.25 | P
        Sample4Geo (retrieval) | 25.80 5.24 | 24.27 4.33 | T
        DetGeo | 45.43 42.24 | 46.70 43.99 | P
        VAGeo | 48.21 45.22 | 47.56 44.42 | T
        TROGeo without segmentation | 49.44 45.53 | 48.86 44.20 | T
        AttenGeo* | 50.57 46.15 | 49.19 44.10 | P
        TROGeo | 51.08 46.56 | 51.46 46.59 | T
        """,
    ),
    _Table(
        "G2D",
        ("test", "val"),
        _ACCURACIES,
        """
        CVM-Net | 4.97 1.08 | 5.08 1.23 | P
        RK-Net | 13.84 1.47 | 12.85 1.58 | P
        Polar-SAFA | 16.64 3.15 | 15.65 2.86 | P
        SAFA | 16.83 3.05 | 14.89 2.31 | P
        L2LTR | 19.35 3.81 | 18.57 3.61 | P
        TransGeo | 20.02 1.48 | 21.12 4.23 | P
        DetGeo | 77.03 72.97 | 72.69 68.98 | P
        AttenGeo* | 77.30 74.59 | 75.00 70.60 | P
        """,
    ),
    _Table(
        "DenseUAV",
        ("drone to satellite",),
        ("R@1", "SDM@1"),
        """
        DenseUAV (ViT-S) | 83.01 86.24 | L
        MFFT | 88.5 90.51 | L
        SHAA | 93.69 94.91 | L
        G2CL | 94.51 95.77 | L
        MFAF | 95.22 95.23 | L
        DINO-GFSA | 97.17 - | L
        """,
    ),
    _Table(
        "SUES-200",
        tuple(f"drone to satellite, {height} m" for height in (150, 200, 250, 300)),
        ("R@1",),
        """
        MEAN | - | - | 98.95 | 99.52 | L
        BGG | 99.30 | 99.45 | 99.53 | 99.25 | L
        (MGS)2-Net | - | - | - | 100 | L
        """,
    ),
)


def published(data: str, test: str) -> tuple[PublishedRow, ...]:
    """The rows of a test, worst first, those trained elsewhere last; none: nothing is published.

    ``data`` may go on after a comma, as in "VIGOR, cross area, corrected labels" or "SUES-200,
    150 m".
    """
    name, _, part = (word.strip().lower() for word in data.partition(","))
    wanted = {(name, test.lower()), (name, f"{test.lower()}, {part}")}
    merged: dict[tuple[str, str], PublishedRow] = {}
    for table in _TABLES:
        for of, row in _rows(table):
            if (table.data.lower(), of) in wanted:
                key = row.method, row.trained_on
                before = merged.get(key)
                values = {**before.values, **row.values} if before else row.values
                merged[key] = PublishedRow(
                    row.method, values, row.source, row.trained_on, row.paper
                )
    return tuple(sorted(merged.values(), key=_standing))


def _standing(row: PublishedRow) -> tuple[bool, float]:
    return bool(row.trained_on), row.values.get("R@1", row.values.get("accu@0.25", 0.0))


def _rows(table: _Table) -> Iterator[tuple[str, PublishedRow]]:
    scale = 1.0 if table.in_metres else 0.01
    for line in filter(None, map(str.strip, table.lines.splitlines())):
        method, *cells, source = (part.strip() for part in line.split("|"))
        for test, trained_on, texts in zip(table.tests, table.trained_on * 4, cells, strict=False):
            values = {
                figure: round(float(text) * scale, 6)
                for figure, text in zip(table.figures, texts.split(), strict=True)
                if text != "-"
            }
            if values:
                yield (
                    test.lower(),
                    PublishedRow(
                        method.rstrip("*"),
                        values,
                        _SOURCES[source],
                        trained_on,
                        method.endswith("*"),
                    ),
                )
