"""What fills a block of each kind of district, and the whole plan of a city from one generator."""

import math
from collections.abc import Callable

import numpy as np

from app.engine.city_layout import (
    DECKS,
    MARGIN_M,
    SHEDS,
    TILES,
    WALLS,
    Building,
    Ground,
    Lot,
    Plan,
    Points,
    Rgb,
    Roof,
    Street,
    Warp,
    bent,
    dense,
    extents,
    inset,
    inside,
    pick,
    rectangle,
    ring,
    scatter,
    split,
    unit,
)

Fill = Callable[[Plan, Lot, float, np.random.Generator], None]

GRASS: tuple[Rgb, ...] = ((96, 116, 62), (108, 122, 70), (88, 108, 58), (118, 124, 76))
SOIL: tuple[Rgb, ...] = ((150, 132, 104), (136, 116, 88), (166, 150, 118))
CROPS: tuple[Rgb, ...] = (
    (120, 134, 66), (168, 156, 92), (186, 170, 110), (98, 118, 58), (140, 116, 86), (124, 140, 84),
)  # fmt: skip
PAVING: tuple[Rgb, ...] = ((164, 158, 150), (148, 144, 140), (176, 166, 152), (156, 140, 128))
ASPHALT: tuple[Rgb, ...] = ((104, 104, 106), (118, 116, 114), (92, 92, 94))


def longest_street(lot: Lot) -> tuple[Points, float, float] | None:
    """Middle of the longest edge along a street, its direction and the street's width."""
    ends = np.roll(lot.corners, -1, axis=0)
    length = np.hypot(*(ends - lot.corners).T) * (lot.width_m > 0)
    best = int(length.argmax())
    if length[best] < 4:
        return None
    along = ends[best] - lot.corners[best]
    middle = (ends[best] + lot.corners[best]) / 2
    return middle, math.atan2(along[1], along[0]), float(lot.width_m[best])


def parcels(
    lot: Lot, rng: np.random.Generator, angle_rad: float, area_m2: float, jitter: float = 0.03
) -> list[Lot]:
    """The lot cut without streets until no parcel is larger than about ``area_m2``."""
    if lot.area_m2 < area_m2 * rng.uniform(1.0, 1.7):
        return [lot]
    parts, _ = split(lot, rng, angle_rad, 0.0, jitter)
    if len(parts) < 2:
        return [lot]
    return [p for part in parts for p in parcels(part, rng, angle_rad, area_m2, jitter)]


def plant(
    plan: Plan, points: Points, rng: np.random.Generator, *, conifers: float, size: float
) -> None:
    """Trees at the points; ``size`` 1 is a mature street tree."""
    for x, y in points:
        radius = float(np.clip(rng.lognormal(math.log(3.0 * size), 0.35), 1.0, 7.5))
        conifer = float(rng.random() < conifers)
        height = radius * (3.4 if conifer else 2.3) * rng.uniform(0.85, 1.2)
        plan.trees.append((x, y, radius * (0.7 if conifer else 1.0), height, conifer))


def park_cars(plan: Plan, area: Lot, angle_rad: float) -> None:
    """Rows of stalls with lanes between them over a convex area."""
    along, across = unit(angle_rad), unit(angle_rad + math.pi / 2)
    span_u, span_v = extents(area.corners, angle_rad)
    u = np.arange(-span_u / 2 + 3, span_u / 2 - 2, 2.7)
    v = np.concatenate([np.arange(-span_v / 2 + 3, span_v / 2, 16.0),
                        np.arange(-span_v / 2 + 8.2, span_v / 2, 16.0)])  # fmt: skip
    if not len(u) or not len(v):
        return
    grid = np.stack(np.meshgrid(u, v), -1).reshape(-1, 2)
    points = area.centre + grid[:, :1] * along + grid[:, 1:] * across
    room = inset(area, 2.2)
    if room is None:
        return
    for x, y in points[inside(room.corners, points)]:
        plan.stalls.append((float(x), float(y), angle_rad + math.pi / 2))


def fill_core(plan: Plan, block: Lot, angle_rad: float, rng: np.random.Generator) -> None:
    """A perimeter block: houses wall to wall along the street, a courtyard inside."""
    depth = rng.uniform(10, 14)
    court = inset(Lot(block.corners, np.zeros(len(block.corners))), depth)
    plan.grounds.append(Ground("paved", ring(block.corners), pick(rng, PAVING)))
    base, roof_family = rng.uniform(11, 20), rng.random()
    wall = block.corners
    for i in range(len(wall)):
        a, b = wall[i], wall[(i + 1) % len(wall)]
        length = float(np.hypot(*(b - a)))
        if length < 8:
            continue
        along = (b - a) / length
        inward = np.array([-along[1], along[0]])
        cuts = np.concatenate([[0.0], np.cumsum(rng.uniform(11, 25, 40))])
        cuts = np.append(cuts[cuts < length - 8], length)
        for start, end in zip(cuts[:-1], cuts[1:], strict=True):
            if rng.random() < 0.04:
                continue
            deep = depth * rng.uniform(0.85, 1.15)
            quad = np.array([a + along * start, a + along * end,
                             a + along * end + inward * deep, a + along * start + inward * deep])  # fmt: skip
            pitched = rng.random() < (0.85 if roof_family < 0.6 else 0.25)
            roof: Roof = "gable" if pitched else "flat"
            plan.buildings.append(
                Building(
                    "house row",
                    quad,
                    base + rng.normal(0, 2.2),
                    rng.uniform(2.5, 4.5) if pitched else 0.0,
                    roof,
                    math.atan2(along[1], along[0]),
                    pick(rng, TILES if pitched else DECKS),
                    pick(rng, WALLS),
                )  # fmt: skip
            )
    if court is not None and court.area_m2 > 60:
        fill_court(plan, court, angle_rad, rng)


def fill_court(plan: Plan, court: Lot, angle_rad: float, rng: np.random.Generator) -> None:
    kind = rng.random()
    if kind < 0.4:
        plan.grounds.append(Ground("lawn", court.corners, pick(rng, GRASS)))
        plant(plan, scatter(rng, court.corners, 0.008), rng, conifers=0.05, size=0.9)
    elif kind < 0.7:
        plan.grounds.append(Ground("parking", court.corners, pick(rng, ASPHALT)))
        park_cars(plan, court, angle_rad)
    for point in scatter(rng, court.corners, 0.0012):
        shape = rectangle(point, angle_rad, rng.uniform(6, 16), rng.uniform(5, 10))
        plan.buildings.append(
            Building(
                "shed",
                shape,
                rng.uniform(3, 8),
                0.0,
                "flat",
                angle_rad,
                pick(rng, DECKS),
                pick(rng, WALLS),
            )  # fmt: skip
        )


def fill_houses(plan: Plan, block: Lot, angle_rad: float, rng: np.random.Generator) -> None:
    """Detached houses and short rows on their own lots, with gardens."""
    lot_area = rng.choice([320.0, 480.0, 720.0])
    family = tuple(TILES[i] for i in rng.choice(len(TILES), 4, replace=False))
    for lot in parcels(block, rng, angle_rad, lot_area):
        plan.grounds.append(Ground("lawn", ring(lot.corners), pick(rng, GRASS, 12.0)))
        front = longest_street(lot)
        plant(
            plan, scatter(rng, lot.corners, 0.005), rng, conifers=0.25, size=rng.uniform(0.5, 0.95)
        )
        if front is None and rng.random() < 0.5:
            continue
        middle, angle, _ = front if front is not None else (lot.centre, angle_rad, 0.0)
        long, deep = extents(lot.corners, angle)
        length, depth = (
            min(long * 0.62, rng.uniform(10, 17)),
            min(deep * 0.45, rng.uniform(8, 11.5)),
        )
        if length < 6 or depth < 5:
            continue
        back = (lot.centre - middle) / max(1e-6, float(np.hypot(*(lot.centre - middle))))
        centre = middle + back * (4 + depth / 2) if front is not None else lot.centre
        roof: Roof = "gable"
        outline = rectangle(centre, angle, length, depth)
        shape = rng.random()
        if shape < 0.3:
            roof, outline = "hip", bent(rng, centre, angle, length * 1.05, depth * 1.35)
        elif shape < 0.5:
            roof = "hip"
        elif shape < 0.6:
            roof = "flat"
        turned = roof == "gable" and rng.random() < 0.25
        plan.buildings.append(
            Building(
                "house",
                outline,
                rng.uniform(3.2, 6.8),
                0.0 if roof == "flat" else rng.uniform(2.2, 4.2),
                roof,
                angle + (math.pi / 2 if turned else 0),
                pick(rng, family if roof != "flat" else DECKS),
                pick(rng, WALLS),
            )  # fmt: skip
        )
        furnish_garden(plan, lot, middle, centre, angle, rng)


def furnish_garden(
    plan: Plan, lot: Lot, front: Points, house: Points, angle: float, rng: np.random.Generator
) -> None:
    along = unit(angle)
    side = house + along * rng.choice([-6.0, 6.0])
    drive = np.array([front + along * (side - front).dot(along), side])
    plan.streets.append(Street(drive, 3.0, "drive"))
    if rng.random() < 0.6:
        plan.stalls.append((*map(float, drive.mean(axis=0)), angle + math.pi / 2))  # type: ignore[arg-type]
    behind = lot.centre + (house - front) * 0.6
    if not inside(lot.corners, behind[None])[0]:
        return
    extra = rng.random()
    if extra < 0.12:
        plan.grounds.append(Ground("pool", rectangle(behind, angle, 8, 4), (70, 160, 190)))
    elif extra < 0.4:
        plan.buildings.append(
            Building(
                "shed",
                rectangle(behind, angle, rng.uniform(3, 6), 3.2),
                2.4,
                0.8,
                "gable",
                angle,
                pick(rng, TILES + DECKS),
                pick(rng, WALLS),
            )  # fmt: skip
        )
    elif extra < 0.6:
        plan.grounds.append(Ground("paved", rectangle(behind, angle, 6, 5), pick(rng, PAVING)))


def fill_estate(plan: Plan, block: Lot, angle_rad: float, rng: np.random.Generator) -> None:
    """Slabs and towers on lawns, with parking between them."""
    plan.grounds.append(Ground("lawn", ring(block.corners), pick(rng, GRASS)))
    long, deep = extents(block.corners, angle_rad)
    turn = angle_rad if rng.random() < 0.6 else angle_rad + math.pi / 2
    gap, eave, towers = rng.uniform(30, 42), rng.uniform(12, 34), rng.random() < 0.3
    colours = pick(rng, DECKS), pick(rng, WALLS)
    room = inset(Lot(block.corners, np.zeros(len(block.corners))), 6.0)
    if room is None:
        return
    for row, v in enumerate(np.arange(-deep / 2 + 14, deep / 2 - 8, gap)):
        for u in np.arange(-long / 2 + 20, long / 2 - 12, 30.0 if towers else 62.0):
            centre = block.centre + unit(turn) * (u + 6 * (row % 2)) + unit(turn + math.pi / 2) * v
            outline = rectangle(
                centre, turn, 20 if towers else rng.uniform(38, 56), 18 if towers else 12.5
            )
            if inside(room.corners, outline).all():
                plan.buildings.append(
                    Building(
                        "tower" if towers else "slab",
                        outline,
                        eave + rng.normal(0, 1.5),
                        0.0,
                        "flat",
                        turn,
                        *colours,
                    )
                )
            elif rng.random() < 0.7:
                area = Lot(rectangle(centre, turn, 34, 20), np.zeros(4))
                if inside(room.corners, area.corners).all():
                    plan.grounds.append(Ground("parking", area.corners, pick(rng, ASPHALT)))
                    park_cars(plan, area, turn)
    for v in np.arange(-deep / 2 + 14 + gap / 2, deep / 2, gap):
        path = block.centre + unit(turn + math.pi / 2) * v + np.outer((-long, long), unit(turn)) / 2
        plan.streets.append(Street(path, 2.6, "path"))
    plant(plan, scatter(rng, block.corners, 0.0035), rng, conifers=0.1, size=1.1)


def fill_industry(plan: Plan, block: Lot, angle_rad: float, rng: np.random.Generator) -> None:
    """Halls, yards, parking, containers."""
    plan.grounds.append(Ground("paved", ring(block.corners), pick(rng, ASPHALT + PAVING)))
    for lot in parcels(block, rng, angle_rad, 5200.0):
        room = inset(Lot(lot.corners, np.zeros(len(lot.corners))), 5.0)
        if room is None:
            continue
        long, deep = extents(room.corners, angle_rad)
        if rng.random() < 0.2:
            plan.grounds.append(Ground("parking", room.corners, pick(rng, ASPHALT)))
            park_cars(plan, room, angle_rad)
            continue
        outline = rectangle(
            room.centre, angle_rad, long * rng.uniform(0.55, 0.8), deep * rng.uniform(0.5, 0.75)
        )
        if rng.random() < 0.35:
            outline = bent(rng, room.centre, angle_rad, long * 0.8, deep * 0.75)
        roof: Roof = "hall" if rng.random() < 0.55 else "flat"
        plan.buildings.append(
            Building(
                "hall",
                outline,
                rng.uniform(6, 13),
                1.2,
                roof,
                angle_rad,
                pick(rng, SHEDS),
                pick(rng, SHEDS),
            )
        )
        for point in scatter(rng, room.corners, 0.002):
            plan.buildings.append(
                Building(
                    "container",
                    rectangle(point, angle_rad, 12.2, 2.5),
                    2.6,
                    0.0,
                    "flat",
                    angle_rad,
                    pick(rng, ((170, 70, 50), (60, 96, 140), (70, 120, 80), (190, 150, 60)), 14.0),
                    pick(rng, SHEDS),
                )  # fmt: skip
            )
        strip = Lot(
            rectangle(
                room.centre + unit(angle_rad + math.pi / 2) * deep * 0.46, angle_rad, long * 0.8, 8
            ),
            np.zeros(4),
        )
        park_cars(plan, strip, angle_rad)


def fill_park(plan: Plan, block: Lot, angle_rad: float, rng: np.random.Generator) -> None:
    """Lawn, winding paths, groves, a pond."""
    plan.grounds.append(Ground("lawn", ring(block.corners), pick(rng, GRASS)))
    span = max(extents(block.corners, angle_rad))
    for _ in range(int(rng.integers(2, 5))):
        turn = rng.uniform(0, 2 * math.pi)
        t = np.linspace(-0.7, 0.7, 30)[:, None]
        bend = np.sin(t * rng.uniform(2, 6) + rng.uniform(0, 6)) * rng.uniform(8, 26)
        path = (
            block.centre
            + rng.normal(0, span / 10, 2)
            + t * span * unit(turn)
            + bend * unit(turn + math.pi / 2)
        )
        path = path[inside(block.corners, path)]
        if len(path) > 2:
            plan.streets.append(Street(path, rng.uniform(2.2, 4.0), "path"))
    if rng.random() < 0.6 and span > 70:
        plan.grounds.append(
            Ground(
                "water",
                blob(
                    rng, block.centre + rng.normal(0, span / 8, 2), span * rng.uniform(0.09, 0.16)
                ),
                (74, 92, 88),
            )
        )
    for centre in scatter(rng, block.corners, 0.0005):
        spots = centre + rng.normal(0, rng.uniform(5, 16), (int(rng.integers(6, 40)), 2))
        plant(
            plan,
            spots[inside(block.corners, spots)],
            rng,
            conifers=float(rng.random() < 0.3),
            size=1.15,
        )
    plant(plan, scatter(rng, block.corners, 0.0015), rng, conifers=0.2, size=1.2)


def blob(rng: np.random.Generator, centre: Points, radius: float) -> Points:
    turn = np.linspace(0, 2 * math.pi, 40, endpoint=False)
    reach = radius * (
        1
        + 0.22 * np.sin(2 * turn + rng.uniform(0, 6))
        + 0.14 * np.sin(3 * turn + rng.uniform(0, 6))
    )
    return np.asarray(centre + np.stack([np.cos(turn) * reach * 1.3, np.sin(turn) * reach], -1))


def fill_sports(plan: Plan, block: Lot, angle_rad: float, rng: np.random.Generator) -> None:
    """A pitch, courts, a club house, trees round them."""
    plan.grounds.append(Ground("lawn", ring(block.corners), pick(rng, GRASS)))
    long, deep = extents(block.corners, angle_rad)
    turn = angle_rad if long > deep else angle_rad + math.pi / 2
    long, deep = max(long, deep), min(long, deep)
    if long > 80 and deep > 55:
        if rng.random() < 0.5:
            plan.grounds.append(
                Ground(
                    "track", rectangle(block.centre, turn, long * 0.86, deep * 0.84), (168, 86, 66)
                )
            )
        plan.grounds.append(
            Ground(
                "pitch",
                rectangle(block.centre, turn, long * 0.66, deep * 0.56),
                (84, 124, 60),
                turn,
            )
        )
    else:
        for u in np.arange(-long / 2 + 14, long / 2 - 12, 20):
            centre = block.centre + unit(turn) * u
            colour = pick(rng, ((150, 84, 64), (70, 110, 92), (66, 96, 140)))
            plan.grounds.append(
                Ground("court", rectangle(centre, turn + math.pi / 2, 26, 13), colour, turn)
            )
    house = block.centre + unit(turn) * long * 0.42
    plan.buildings.append(
        Building(
            "hall",
            rectangle(house, turn + math.pi / 2, deep * 0.4, 9),
            4.5,
            1.5,
            "gable",
            turn + math.pi / 2,
            pick(rng, TILES),
            pick(rng, WALLS),
        )  # fmt: skip
    )
    edge = dense(np.concatenate([block.corners, block.corners[:1]]), 9.0)
    plant(plan, edge + rng.normal(0, 1.2, edge.shape), rng, conifers=0.1, size=1.2)


def fill_farm(plan: Plan, block: Lot, angle_rad: float, rng: np.random.Generator) -> None:
    """Fields with their rows, hedges, now and then a farm or a wood."""
    turn = angle_rad + rng.normal(0, 0.1)
    for lot in parcels(block, rng, turn, float(rng.choice([4000.0, 9000.0, 16000.0])), 0.06):
        kind = rng.random()
        if kind < 0.14:
            plan.grounds.append(Ground("forest", ring(lot.corners), (74, 84, 50)))
            plant(
                plan,
                scatter(rng, lot.corners, 0.03),
                rng,
                conifers=float(rng.random() < 0.4),
                size=1.1,
            )
            continue
        plan.grounds.append(
            Ground(
                "crop",
                ring(lot.corners),
                pick(rng, CROPS, 12.0),
                turn + (math.pi / 2 if rng.random() < 0.4 else 0),
            )
        )
        if kind < 0.4:
            hedge = dense(lot.corners[:2], 4.0)
            plant(plan, hedge + rng.normal(0, 0.8, hedge.shape), rng, conifers=0.0, size=0.8)
        elif kind < 0.55:
            for step in range(3):
                centre = (
                    lot.centre + unit(turn) * step * 17 + unit(turn + math.pi / 2) * (step % 2) * 14
                )
                plan.buildings.append(
                    Building(
                        "barn",
                        rectangle(centre, turn + math.pi / 2 * (step % 2), rng.uniform(14, 28), 11),
                        4.2,
                        3.4,
                        "gable",
                        turn + math.pi / 2 * (step % 2),
                        pick(rng, TILES + SHEDS),
                        pick(rng, WALLS),
                    )  # fmt: skip
                )


def fill_plaza(plan: Plan, block: Lot, angle_rad: float, rng: np.random.Generator) -> None:
    """A paved square with a landmark on it."""
    plan.grounds.append(Ground("plaza", ring(block.corners), pick(rng, PAVING, 14.0), angle_rad))
    long, deep = extents(block.corners, angle_rad)
    size = min(long, deep)
    if rng.random() < 0.5:
        nave = rectangle(block.centre, angle_rad, size * 0.62, size * 0.24)
        plan.buildings.append(
            Building("church", nave, 12, 8, "gable", angle_rad, pick(rng, TILES), pick(rng, WALLS))
        )
        tower = rectangle(block.centre - unit(angle_rad) * size * 0.34, angle_rad, 8, 8)
        plan.buildings.append(
            Building("church", tower, 30, 9, "hip", angle_rad, pick(rng, SHEDS), pick(rng, WALLS))
        )
    else:
        plan.grounds.append(Ground("water", blob(rng, block.centre, size * 0.1), (84, 120, 128)))
    room = inset(Lot(block.corners, np.zeros(len(block.corners))), 4.0)
    if room is not None:
        spots = dense(np.concatenate([room.corners, room.corners[:1]]), 8.0)
        plant(plan, spots, rng, conifers=0.0, size=0.8)


FILLS: dict[str, tuple[Fill, float, float, float]] = {
    # fill, block area m2, street width m, share of blocks that are something else
    "core": (fill_core, 6500.0, 10.0, 0.14),
    "houses": (fill_houses, 8500.0, 7.5, 0.08),
    "estate": (fill_estate, 15000.0, 9.0, 0.12),
    "industry": (fill_industry, 19000.0, 11.0, 0.05),
    "park": (fill_park, 42000.0, 6.0, 0.1),
    "farm": (fill_farm, 60000.0, 5.0, 0.04),
}


def cut_streets(
    plan: Plan,
    lot: Lot,
    rng: np.random.Generator,
    angle_rad: float,
    area_m2: float,
    width_m: float,
    kind: str,
) -> list[Lot]:
    """Blocks of at most about ``area_m2``; the streets between them go into the plan."""
    if lot.area_m2 < area_m2 * rng.uniform(0.9, 1.8):
        return [lot]
    width = max(4.0, width_m * rng.uniform(0.8, 1.25))
    parts, ends = split(lot, rng, angle_rad, width, 0.12 if kind == "arterial" else 0.06)
    if ends is None:
        return [lot]
    plan.streets.append(Street(dense(ends), width, kind))
    return [b for p in parts for b in cut_streets(plan, p, rng, angle_rad, area_m2, width_m, kind)]


def district_kind(rng: np.random.Generator, away_m: float, size_m: float) -> str:
    """Dense in the middle of town, looser outwards."""
    share = away_m / size_m
    kinds = ["core", "houses", "estate", "industry", "park", "farm"]
    weights = np.array([
        2.6 * math.exp(-((share / 0.3) ** 2)), 1.5, 0.8, 0.55, 0.35, 0.2 + 1.5 * max(0.0, share - 0.45),
    ])  # fmt: skip
    return str(rng.choice(kinds, p=weights / weights.sum()))


def make_plan(seed: int, size_m: float) -> Plan:
    """The city of this seed. Shapes reach a little beyond the map."""
    rng = np.random.default_rng([seed, 1])
    plan = Plan(size_m)
    low, high = -MARGIN_M, size_m + MARGIN_M
    corners = np.array([[low, low], [high, low], [high, high], [low, high]])
    heart = rng.uniform(0.25, 0.75, 2) * size_m
    turn = rng.uniform(0, math.pi)
    whole = Lot(corners, np.zeros(4))
    for district in cut_streets(plan, whole, rng, turn, 75_000.0, 17.0, "arterial"):
        kind = district_kind(rng, float(np.hypot(*(district.centre - heart))), size_m)
        lean = turn + rng.normal(0, 0.3)
        fill, area, width, odd = FILLS[kind]
        for block in cut_streets(
            plan, district, rng, lean, area, width, "lane" if kind in ("park", "farm") else "street"
        ):
            room = inset(block, 2.6)
            if room is None:
                continue
            chosen = fill
            if rng.random() < odd:
                others: tuple[Fill, ...] = (
                    fill_park,
                    fill_sports,
                    fill_plaza if kind == "core" else fill_park,
                )
                chosen = others[rng.integers(len(others))]
            chosen(plan, room, lean, rng)
    line_streets(plan, rng)
    add_river(plan, rng)
    return bend(plan, Warp.random(rng))


def line_streets(plan: Plan, rng: np.random.Generator) -> None:
    """Street trees and kerbside parking along streets; roundabouts where arterials end."""
    for street in list(plan.streets):
        if street.kind not in ("arterial", "street"):
            continue
        along = street.line[-1] - street.line[0]
        length = float(np.hypot(*along))
        if length < 20:
            continue
        along = along / length
        aside = np.array([-along[1], along[0]])
        alley, parked = rng.random() < 0.45, rng.random() < 0.7
        for side in (-1.0, 1.0):
            if alley:
                at = np.arange(14, length - 12, rng.uniform(8, 13))
                spots = (
                    street.line[0] + at[:, None] * along + side * aside * (street.width_m / 2 + 1.4)
                )
                plant(plan, spots[rng.random(len(spots)) < 0.85], rng, conifers=0.0, size=0.8)
            if parked and street.width_m > 7:
                at = np.arange(14, length - 14, 6.2)
                spots = (
                    street.line[0] + at[:, None] * along + side * aside * (street.width_m / 2 - 1.2)
                )
                heading = math.atan2(along[1], along[0])
                plan.stalls.extend((float(x), float(y), heading) for x, y in spots)
        if street.kind == "arterial" and rng.random() < 0.4:
            x, y = street.line[0]
            plan.roundabouts.append((float(x), float(y), rng.uniform(13, 20)))


def add_river(plan: Plan, rng: np.random.Generator) -> None:
    """Half of the cities have a river; three in ten a railway."""
    size = plan.size_m
    for kind, chance, width in (("river", 0.5, rng.uniform(22, 55)), ("rail", 0.35, 11.0)):
        if rng.random() > chance:
            continue
        turn = rng.uniform(0, math.pi)
        t = np.linspace(-0.9, 0.9, 120)[:, None]
        bend_m = (
            np.sin(t * rng.uniform(2, 5) + rng.uniform(0, 6))
            * size
            * (0.07 if kind == "river" else 0.03)
        )
        middle = size * rng.uniform(0.25, 0.75, 2)
        line = middle + t * size * unit(turn) + bend_m * unit(turn + math.pi / 2)
        plan.streets.append(Street(line, width, kind))


def bend(plan: Plan, warp: Warp) -> Plan:
    """The plan under a smooth displacement: straight streets become curved ones."""

    def one(x: float, y: float) -> Points:
        return warp(np.array([[x, y]]))[0]

    def turned(x: float, y: float, angle: float) -> float:
        ahead = one(x + math.cos(angle), y + math.sin(angle)) - one(x, y)
        return math.atan2(ahead[1], ahead[0])

    bent_plan = Plan(plan.size_m)
    bent_plan.streets = [Street(warp(s.line), s.width_m, s.kind) for s in plan.streets]
    bent_plan.grounds = [
        Ground(
            g.kind,
            warp(g.outline),
            g.rgb,
            None if g.stripe_rad is None else turned(*g.outline.mean(0), g.stripe_rad),
        )
        for g in plan.grounds
    ]
    bent_plan.buildings = [
        Building(
            b.kind,
            warp(b.outline),
            b.eave_m,
            b.rise_m,
            b.roof,
            turned(*b.outline.mean(0), b.axis_rad),
            b.roof_rgb,
            b.wall_rgb,
        )
        for b in plan.buildings
    ]
    moved = warp(np.array([t[:2] for t in plan.trees]).reshape(-1, 2))
    bent_plan.trees = [
        (float(x), float(y), *t[2:]) for (x, y), t in zip(moved, plan.trees, strict=True)
    ]
    bent_plan.stalls = [(*map(float, one(x, y)), turned(x, y, a)) for x, y, a in plan.stalls]  # type: ignore[misc]
    bent_plan.roundabouts = [(*map(float, one(x, y)), r) for x, y, r in plan.roundabouts]  # type: ignore[misc]
    return bent_plan
