"""Contrast by WCAG 2.2 and colour-blind distances (Machado et al. 2009), read from the style sheet itself."""

import re
from itertools import combinations

import numpy as np
import pytest

from freerun.report.charts.marks import ROLES
from freerun.report.pages.template import stylesheet

INKS = (
    "ink",
    "muted",
    "real",
    "free",
    "tempered",
    "control",
    "reference",
    "other",
    "good",
    "bad",
    "neutral",
    "unknown",
)
GROUNDS = ("paper", "surface", "sunk")
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
SEEN_BY = {
    "most people": np.eye(3),
    "protanopes": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopes": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopes": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}


def schemes():
    light, dark = (dict(re.findall(r"--([a-z]+): (#[0-9a-f]{6})", block)) for block in root_blocks())
    return {"light": light, "dark": {**light, **dark}}


def root_blocks():
    return re.findall(r":root \{(.*?)\}", stylesheet(), re.S)


def luminance(colour):
    return float(TO_XYZ[1] @ linear_rgb(colour))


def linear_rgb(colour):
    c = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def lab(rgb):
    xyz = TO_XYZ @ np.clip(rgb, 0, 1) / TO_XYZ.sum(axis=1)
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def contrast(a, b):
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_black_on_white_is_21():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("ground", GROUNDS)
@pytest.mark.parametrize("ink", INKS)
def test_text_and_curves_stand_out(scheme, ink, ground):
    colours = schemes()[scheme]
    assert contrast(colours[ink], colours[ground]) >= 4.5


def test_both_schemes_name_the_same_colours():
    light, dark = (set(re.findall(r"--([a-z]+): #", block)) for block in root_blocks())
    assert light == dark


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("people", SEEN_BY)
def test_roles_are_told_apart_by(people, scheme):
    seen = [lab(SEEN_BY[people] @ linear_rgb(schemes()[scheme][role])) for role in ROLES]
    assert min(float(np.linalg.norm(a - b)) for a, b in combinations(seen, 2)) > 20
