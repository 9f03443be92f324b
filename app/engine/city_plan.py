"""The whole plan of a city from one seed: districts, their streets, and the bend of it all."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from app.engine.city_blocks import fill_core, fill_estate, fill_houses, fill_industry, plant
from app.engine.city_greens import fill_farm, fill_park, fill_plaza, fill_sports
from app.engine.city_layout import (
    MARGIN_M,
    Lot,
    Plan,
    Points,
    Street,
    Warp,
    dense,
    inset,
    split,
    unit,
)

Fill = Callable[[Plan, Lot, float, np.random.Generator], None]


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
    weights = np.array(
        [
            4.5 * math.exp(-((share / 0.36) ** 2)),
            1.5,
            0.8,
            0.5,
            0.3,
            0.15 + 1.5 * max(0.0, share - 0.45),
        ]
    )
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

    def turned(points: Points, angles: Points) -> Points:
        ahead = warp(points + np.stack([np.cos(angles), np.sin(angles)], -1)) - warp(points)
        return np.asarray(np.arctan2(ahead[:, 1], ahead[:, 0]))

    def turn_at(outline: Points, angle: float) -> float:
        return float(turned(outline.mean(axis=0)[None], np.array([angle]))[0])

    bent_plan = Plan(plan.size_m)
    bent_plan.streets = [replace(s, line=warp(s.line)) for s in plan.streets]
    for g in plan.grounds:
        stripe = None if g.stripe_rad is None else turn_at(g.outline, g.stripe_rad)
        bent_plan.grounds.append(replace(g, outline=warp(g.outline), stripe_rad=stripe))
    for b in plan.buildings:
        axis = turn_at(b.outline, b.axis_rad)
        bent_plan.buildings.append(replace(b, outline=warp(b.outline), axis_rad=axis))
    trees = np.array(plan.trees).reshape(-1, 5)
    trees[:, :2] = warp(trees[:, :2])
    stalls = np.array(plan.stalls).reshape(-1, 3)
    stalls = np.concatenate([warp(stalls[:, :2]), turned(stalls[:, :2], stalls[:, 2])[:, None]], 1)
    rounds = np.array(plan.roundabouts).reshape(-1, 3)
    rounds[:, :2] = warp(rounds[:, :2])
    bent_plan.trees = [(x, y, r, h, c) for x, y, r, h, c in trees.tolist()]
    bent_plan.stalls = [(x, y, a) for x, y, a in stalls.tolist()]
    bent_plan.roundabouts = [(x, y, r) for x, y, r in rounds.tolist()]
    return bent_plan
