"""What fills the blocks where people live and work: houses, slabs, halls and what lies between."""

import itertools
import math

import numpy as np

from app.engine.city_layout import (
    DECKS,
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
    bent,
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

GRASS: tuple[Rgb, ...] = ((96, 116, 62), (108, 122, 70), (88, 108, 58), (118, 124, 76))


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
    v = np.concatenate(
        [
            np.arange(-span_v / 2 + 3, span_v / 2, 16.0),
            np.arange(-span_v / 2 + 8.2, span_v / 2, 16.0),
        ]
    )
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
        for start, end in itertools.pairwise(cuts):
            if rng.random() < 0.04:
                continue
            deep = depth * rng.uniform(0.85, 1.15)
            quad = np.array(
                [
                    a + along * start,
                    a + along * end,
                    a + along * end + inward * deep,
                    a + along * start + inward * deep,
                ]
            )
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
                )
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
            )
        )


def fill_houses(plan: Plan, block: Lot, angle_rad: float, rng: np.random.Generator) -> None:
    """Detached houses and short rows on their own lots, with gardens."""
    lot_area = rng.choice([320.0, 480.0, 720.0])
    family = tuple(TILES[i] for i in rng.choice(len(TILES), 4, replace=False))
    for lot in parcels(block, rng, angle_rad, lot_area):
        plan.grounds.append(Ground("lawn", ring(lot.corners), pick(rng, GRASS, 12.0)))
        front = longest_street(lot)
        plant(
            plan,
            scatter(rng, lot.corners, rng.choice([0.003, 0.007, 0.012])),
            rng,
            conifers=0.2,
            size=rng.uniform(0.5, 0.95),
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
            )
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
        plan.grounds.append(Ground("pool", rectangle(behind, angle, 8, 4), (96, 160, 178)))
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
            )
        )
    elif extra < 0.6:
        plan.grounds.append(Ground("paved", rectangle(behind, angle, 6, 5), pick(rng, PAVING)))


def fill_estate(plan: Plan, block: Lot, angle_rad: float, rng: np.random.Generator) -> None:
    """Slabs and towers on lawns, with parking between them."""
    plan.grounds.append(Ground("lawn", ring(block.corners), pick(rng, GRASS)))
    long, deep = extents(block.corners, angle_rad)
    turn = angle_rad if rng.random() < 0.6 else angle_rad + math.pi / 2
    gap, eave, towers = rng.uniform(24, 36), rng.uniform(12, 34), rng.random() < 0.3
    colours = pick(rng, DECKS), pick(rng, WALLS)
    room = inset(Lot(block.corners, np.zeros(len(block.corners))), 6.0)
    if room is None:
        return
    for row, v in enumerate(np.arange(-deep / 2 + 11, deep / 2 - 6, gap)):
        for u in np.arange(
            -long / 2 + (15 if towers else 28), long / 2 - 8, 30.0 if towers else 58.0
        ):
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
    plant(
        plan,
        scatter(rng, block.corners, rng.choice([0.003, 0.006, 0.009])),
        rng,
        conifers=0.1,
        size=1.1,
    )


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
        for point in scatter(rng, room.corners, 0.0015):
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
                )
            )
        strip = Lot(
            rectangle(
                room.centre + unit(angle_rad + math.pi / 2) * deep * 0.46, angle_rad, long * 0.8, 8
            ),
            np.zeros(4),
        )
        park_cars(plan, strip, angle_rad)
