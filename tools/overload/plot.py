# SPDX-License-Identifier: GPL-2.0-only
"""The figures as a picture: for each service and case the share of the well-behaved's requests answered in time, over time,
a line for what stood before the servers; and Spillway's level. Pure: figures in, SVG out."""
import math
from xml.sax.saxutils import escape

import report

COLOURS = {"nothing": "#b03030", "nftables": "#c08a20", "spillway": "#2060b0"}
LEVEL_COLOUR = "#80a0c0"
WIDTH, HEIGHT, LEFT, TOP, GAP_X, GAP_Y = 460, 110, 60, 70, 70, 50
SMOOTHED = 10  # windows


def shares(row):
    """[(seconds, share)], each over the second around it."""
    counts, points = row["windows"], []
    for i in range(len(counts)):
        near = counts[max(0, i - SMOOTHED // 2):i + SMOOTHED // 2]
        asked = sum(window[0] for window in near)
        if asked:
            points.append((row["windows_from_s"] + 0.1 * i, sum(window[1] for window in near) / asked))
    return points


def polyline(points, colour, extra=""):
    joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{joined}" fill="none" stroke="{colour}" stroke-width="1.4" {extra}/>'


def text(x, y, words, anchor="start", size=11):
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}">{escape(words)}</text>'


def levels_of(row, across, down):
    """On a logarithmic scale of its own, from its least to its greatest."""
    found = [(at, level) for at, level, _, _ in row.get("levels", []) if level]
    if not found:
        return []
    low, high = (math.log(choose(level for _, level in found)) for choose in (min, max))
    return [(across(at), down((math.log(level) - low) / (high - low) if high > low else 1)) for at, level in found]


def panel(rows, x, y, title):
    first = rows[0]
    begin, end = first["windows_from_s"], max(row["windows_from_s"] + 0.1 * len(row["windows"]) for row in rows)

    def across(at):
        return x + WIDTH * min(1, max(0, (at - begin) / (end - begin)))

    def down(share):
        return y + HEIGHT * (1 - share)

    parts = [f'<rect x="{across(0):.1f}" y="{y}" width="{across(first["seconds"]) - across(0):.1f}" height="{HEIGHT}" fill="#f2f0ea"/>',
             f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" fill="none" stroke="#999"/>',
             text(x, y - 6, title, size=12)]
    parts += [text(x - 6, down(share) + 4, f"{100 * share:.0f} %", "end") for share in (0, 0.5, 1)]
    parts += [text(across(at), y + HEIGHT + 14, f"{at:.0f} s", "middle") for at in (0, first["seconds"])]
    for row in rows:
        if "levels" in row:
            parts.append(polyline(levels_of(row, across, down), LEVEL_COLOUR, 'stroke-dasharray="3 2"'))
        parts.append(polyline([(across(at), down(share)) for at, share in shares(row)], COLOURS[row["column"]]))
    return parts


def draw(result):
    services = [service["name"] for service in result["services"]]
    names = [name for name in report.TITLES if any(row["case"] == name for row in result["rows"])]
    parts = [text(LEFT, 24, "Well-behaved users' requests answered within the objective (shaded: overload)", size=15)]
    legend = list(COLOURS.items()) + [("Spillway's level (log scale, least to greatest)", LEVEL_COLOUR)]
    for i, (name, colour) in enumerate(legend):
        parts += [polyline([(LEFT + 110 * i, 40), (LEFT + 110 * i + 20, 40)], colour), text(LEFT + 110 * i + 26, 44, name)]
    for i, service in enumerate(services):
        for k, name in enumerate(names):
            rows = [row for row in result["rows"] if row["service"] == service and row["case"] == name]
            if rows:
                parts += panel(rows, LEFT + i * (WIDTH + GAP_X), TOP + k * (HEIGHT + GAP_Y),
                               f"{service}: {report.TITLES[name]}")
    width, height = max(760, LEFT + len(services) * (WIDTH + GAP_X)), TOP + len(names) * (HEIGHT + GAP_Y)
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
            'font-family="sans-serif"><rect width="100%" height="100%" fill="white"/>' + "\n".join(parts) + "</svg>\n")
