"""The protocols once more, in plain Python loops over whole lists: slow, and written apart."""

import math


def order_of(scores):
    """Best first; of equal scores the earlier picture."""
    return sorted(range(len(scores)), key=lambda j: (-scores[j], j))


def better_than_best_right(scores, right):
    """Sample4Geo's rank: how many pictures score strictly higher than the right one."""
    best = max(scores[j] for j in right)
    return sum(score > best for score in scores)


def recall(ranks, k):
    return sum(rank is not None and rank < k for rank in ranks) / len(ranks)


def university_curve(all_scores, all_right, gallery):
    """The cumulative curve and the AP as University-1652's code sums them up."""
    curve, total = [0] * gallery, 0.0
    for scores, right in zip(all_scores, all_right, strict=True):
        if not right:
            continue
        order = order_of(scores)
        hits = [at for at, j in enumerate(order) if j in right]
        for at in range(hits[0], gallery):
            curve[at] += 1
        for i, at in enumerate(hits):
            old = i / at if at else 1.0
            total += (old + (i + 1) / (at + 1)) / 2 / len(right)
    return [count / len(all_scores) for count in curve], total / len(all_scores)


def vigor_hit(scores, right, semi):
    """Nothing scores higher than the right tile once its semi-positives are taken away."""
    left = [score for j, score in enumerate(scores) if j not in semi]
    return not any(score > scores[right] for score in left)


def haversine_m(a, b, radius):
    (lat_a, lon_a), (lat_b, lon_b) = ([math.radians(v) for v in p] for p in (a, b))
    part = math.sin((lat_a - lat_b) / 2) ** 2
    part += math.cos(lat_a) * math.cos(lat_b) * math.sin((lon_a - lon_b) / 2) ** 2
    return 2 * radius * math.asin(math.sqrt(part))


def vigor_m(a, b):
    """As VIGOR's code has it: the spherical law of cosines."""
    (lat_a, lon_a), (lat_b, lon_b) = ([math.radians(v) for v in p] for p in (a, b))
    cosine = math.sin(lat_a) * math.sin(lat_b)
    cosine += math.cos(lat_a) * math.cos(lat_b) * math.cos(lon_a - lon_b)
    return 6371004.0 * math.acos(min(1.0, cosine))


def sdm(query, found, k):
    """DenseUAV's, degrees in single precision."""
    import numpy as np

    total, weights = 0.0, 0.0
    for i, place in enumerate(found[:k]):
        steps = [float(np.float32(p) - np.float32(q)) for p, q in zip(place, query, strict=True)]
        weight = 1 - i / k
        total += weight * math.exp(-5000 * math.hypot(*steps))
        weights += weight
    return total / weights


def iou(a, b):
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return shared / (sum(areas) - shared)
