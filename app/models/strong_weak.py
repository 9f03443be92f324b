"""GeoViewMatch's augmentations: weak turns a pair by quarters, strong alters a picture's look.

They work on batches of tensors, so that they can run where the network does. All chance is drawn
from the caller's generator, on the CPU: the same on every device.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from app.errors import UserError

LUMA = (0.299, 0.587, 0.114)
TO_YIQ = (LUMA, (0.595716, -0.274453, -0.321263), (0.211456, -0.522591, 0.311135))


@dataclass(frozen=True, slots=True, kw_only=True)
class StrongLook:
    """Strengths of the strong augmentation; the paper gives none, and these are MoCo v2's."""

    # Brightness, contrast and saturation: factors from 1 - x to 1 + x. Hue: part of a full circle.
    jitter: tuple[float, float, float, float] = (0.4, 0.4, 0.4, 0.1)
    chances: tuple[float, float, float] = (0.8, 0.2, 0.5)  # of jitter, of grey, of blur
    sigma: tuple[float, float] = (0.1, 2.0)  # of the blur, in pixels


def quarter_turned(
    images: Float[Tensor, "b c h h"], turns: Int[Tensor, " b"]
) -> Float[Tensor, "b c h h"]:
    """Each picture turned clockwise by its number of quarter turns."""
    out = images.clone()
    for quarters in (1, 2, 3):
        rows = turns == quarters
        out[rows] = torch.rot90(images[rows], -quarters, dims=(2, 3))
    return out


def rolled(
    panoramas: Float[Tensor, "b c h w"], turns: Int[Tensor, " b"]
) -> Float[Tensor, "b c h w"]:
    """Each panorama rolled so that it still fits its tile after ``quarter_turned``.

    A tile turned clockwise has its old west on top. In a panorama whose centre column faced the
    old north, west is a quarter of the width to the left: it comes to the centre by a roll to the
    right.
    """
    width = panoramas.shape[-1]
    if width % 4:
        raise UserError(
            f"A panorama {width} pixels wide cannot be turned by quarters",
            "Choose a width that is a multiple of 4.",
        )
    out = panoramas.clone()
    for quarters in (1, 2, 3):
        rows = turns == quarters
        out[rows] = panoramas[rows].roll(quarters * width // 4, dims=3)
    return out


def strong_look(
    images: Float[Tensor, "b 3 h w"], look: StrongLook, *, generator: torch.Generator
) -> Float[Tensor, "b 3 h w"]:
    """RGB pictures in 0..1, each with its own colour jitter, chance of grey, and blur.

    The jitter's four steps keep their order; torchvision's shuffles them. In full precision under
    autocast too: its halves do not mix with what the generator draws.
    """
    with torch.autocast(images.device.type, enabled=False):
        return _altered(images.float(), look, generator=generator)


def _altered(images: Tensor, look: StrongLook, *, generator: torch.Generator) -> Tensor:
    b = len(images)

    def drawn(low: float, high: float) -> Tensor:
        return torch.rand(b, generator=generator) * (high - low) + low

    jitter, grey, blur = (drawn(0, 1) < chance for chance in look.chances)
    *strengths, hue = look.jitter
    factors = [torch.where(jitter, drawn(max(0.0, 1 - x), 1 + x), 1.0) for x in strengths]
    factors[2] = torch.where(grey, 0.0, factors[2])
    turn = torch.where(jitter, drawn(-hue, hue), 0.0)
    images = _coloured(images, *(x.to(images) for x in (*factors, turn)))
    sigma = torch.where(blur, drawn(*look.sigma), 0.0)
    return blurred(images, sigma.to(images), radius=math.ceil(3 * look.sigma[1]))


def _coloured(
    images: Tensor, bright: Tensor, contrast: Tensor, saturation: Tensor, hue: Tensor
) -> Tensor:
    """The factors are [b]; ``hue`` is in full circles."""
    images = (images * bright[:, None, None, None]).clamp(0, 1)
    mean = luma(images).mean(dim=(1, 2))[:, None, None, None]
    images = torch.lerp(mean, images, contrast[:, None, None, None]).clamp(0, 1)
    # Saturation and hue are a scaling and a turn of the two colour axes of YIQ.
    to_yiq = torch.tensor(TO_YIQ).to(images)
    cos, sin = (saturation * f(2 * math.pi * hue) for f in (torch.cos, torch.sin))
    one, none = torch.ones_like(cos), torch.zeros_like(cos)
    turn = torch.stack((one, none, none, none, cos, -sin, none, sin, cos), dim=1).unflatten(
        1, (3, 3)
    )
    colour = torch.linalg.inv(to_yiq) @ turn @ to_yiq
    return torch.einsum("bij,bjhw->bihw", colour, images).clamp(0, 1)


def luma(images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b h w"]:
    return torch.einsum("c,bchw->bhw", torch.tensor(LUMA).to(images), images)


def blurred(
    images: Float[Tensor, "b 3 h w"], sigma: Float[Tensor, " b"], *, radius: int
) -> Float[Tensor, "b 3 h w"]:
    """Each picture through its own Gaussian, reflected at the border; ``sigma`` 0 leaves it be."""
    b, c, h, w = images.shape
    radius = min(radius, h - 1, w - 1)
    steps = torch.arange(-radius, radius + 1, device=images.device)
    # A narrow Gaussian sampled at whole pixels is the pixel itself, which is what 0 should do.
    kernel = (-0.5 * (steps / sigma.clamp(min=1e-3)[:, None]) ** 2).softmax(dim=1)
    kernel = kernel.repeat_interleave(c, dim=0)[:, None]
    x = F.pad(images, (radius,) * 4, mode="reflect").reshape(1, b * c, h + 2 * radius, -1)
    x = F.conv2d(x, kernel[:, :, None], groups=b * c)
    return F.conv2d(x, kernel[..., None], groups=b * c).reshape(b, c, h, w)
