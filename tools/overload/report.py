# SPDX-License-Identifier: GPL-2.0-only
"""The figures as tables for people, and what was promised beside what was measured. Pure but for printing."""
import cases
import columns

TITLES = {case.name: case.title for case in cases.CASES + [cases.QUIET]}
FLOODS = ("few", "forged", "never-repeating")
WAVES = tuple(case.name for case in cases.CASES if case.wave_hz)


def percent(value, digits=1):
    return "-" if value is None else f"{100 * value:.{digits}f} %"


def seconds(value):
    return "-" if value is None else f"{value:.1f} s"


def milliseconds(value):
    return "none" if value is None else f"{1e3 * value:.1f} ms"


def line(row):
    text = (f"{row['service']}: {TITLES[row['case']]}: {row['column']}: in time {percent(row['met'])} "
            f"(after the first second {percent(row['met_settled'])}), p99 {milliseconds(row['p99_s'])}, "
            f"back after {seconds(row['back_s'])}, spilled of the well-behaved {percent(row['good_spilled'], 2)}")
    if "goodput" in row:
        text += (f", goodput {percent(row['goodput_of_best'])} of the best ({percent(row['in_time_of_best'])} within the objective), users apart by up to "
                 f"{percent(row['unevenness']['maximum'])} (deviation {percent(row['unevenness']['deviation'])})")
    if "released_s" in row:
        text += (f", level felt for {seconds(row['released_s'])} after, swing {percent(row['level_swing'])}, "
                 f"daemon {percent(row['daemon_cpu'])} of a core")
    return text


def of(result, column, names=None):
    return [row for row in result["rows"] if row["column"] == column and (names is None or row["case"] in names)]


def worst(rows, key, choose):
    """(value, row) of the row that is worst; a figure that is missing is the worst there is."""
    missing = [row for row in rows if row.get(key) is None]
    row = missing[0] if missing else choose(rows, key=lambda row: row[key])
    return row.get(key), row


def where(row):
    return f"{row['service']}, {TITLES[row['case']]}"


def entry(title, bound, measured, holds, place=""):
    return {"what": title, "must": bound, "measured": measured, "holds": bool(holds), "where": place}


def beside_nftables(result):
    """(row, nftables' row) for each case in which both were measured."""
    other = {(row["service"], row["case"]): row for row in of(result, columns.Nftables.name)}
    return [(row, other[key]) for row in of(result, columns.Spillway.name) if (key := (row["service"], row["case"])) in other]


def ahead(pair, key="score"):
    row, other = pair
    return (row[key] - other[key]) / max(other[key], 1e-9) if key in row else 0


def is_clearly_better(pair):
    """More is answered; or, where all are honest and whatever is answered counts, more of it in time, which is what
    goodput is to the overload controls that this is after (Cho et al., Breakwater, OSDI 2020)."""
    return max(ahead(pair), ahead(pair, "in_time_of_best")) > 0.02


def must(result):
    """What was promised, what is worst of what was measured, and whether it holds."""
    unloaded = {service["name"]: service["unloaded_p99_s"] for service in result["services"]}
    entries = []
    floods = of(result, columns.Spillway.name, FLOODS)
    if floods:
        value, row = worst(floods, "met", min)
        entries.append(entry("well-behaved answered within the objective under a flood", ">= 99 %", percent(value, 2),
                             value >= 0.99, where(row)))
        for row in floods:
            row["p99_of_unloaded"] = row["p99_s"] and row["p99_s"] / unloaded[row["service"]]
        value, row = worst(floods, "p99_of_unloaded", max)
        entries.append(entry("their p99 against the unloaded p99", "<= 2", value and f"{value:.2f}",
                             value is not None and value <= 2, where(row)))
        value, row = worst(floods, "back_s", max)
        entries.append(entry("from the flood's first packet to 99 % again", "< 1 s", seconds(value),
                             value is not None and value < 1, where(row)))
        value, row = worst(floods, "released_s", max)
        entries.append(entry("from the flood's end to no level felt", "< 10 s", seconds(value),
                             row["is_released"] and value < 10, where(row)))
        value, row = worst(of(result, columns.Spillway.name, FLOODS + WAVES), "good_spilled", max)
        entries.append(entry("spilled from users under their fair share", "< 0.1 %", percent(value, 3),
                             value is not None and value < 0.001, where(row)))
    crowds = of(result, columns.Spillway.name, ("crowd",))
    if crowds:
        value, row = worst(crowds, "goodput_of_best", min)
        entries.append(entry("goodput in the flash crowd against the best", ">= 90 %", percent(value), value >= 0.9, where(row)))
        row = max(crowds, key=lambda row: row["unevenness"]["maximum"] or 9)
        value = row["unevenness"]["maximum"]
        entries.append(entry("users' shares in it apart from their mean by at most", "<= 10 %", percent(value),
                             value is not None and value <= 0.1, where(row)))
    quiet = of(result, columns.Spillway.name, (cases.QUIET.name,))
    if quiet:
        value, row = worst(quiet, "spilled", max)
        entries.append(entry(f"nothing overloaded for {row['seconds']:.0f} s: packets spilled", "0", str(value),
                             value == 0, where(row)))
    waves = of(result, columns.Spillway.name, WAVES)
    if waves:
        value, row = worst(waves, "level_swing", max)
        entries.append(entry("swing of the level under a square wave, once settled", "<= 20 %", percent(value),
                             value <= 0.2, where(row)))
    compared = beside_nftables(result)
    if compared:
        worst_pair = min(compared, key=ahead)
        value, better = ahead(worst_pair), sum(map(is_clearly_better, compared))
        entries.append(entry("against nftables by hand, at worst", ">= -2 %", percent(value), value >= -0.02, where(worst_pair[0])))
        entries.append(entry("clearly better (2 %) than nftables by hand", "in most", f"{better} of {len(compared)}",
                             2 * better > len(compared)))
    if result["daemon"]:
        daemon = result["daemon"]
        tick = daemon["longest_tick_milliseconds"]
        entries.append(entry(f"the daemon's longest tick with {daemon['used']} users under flood", "< 50 ms",
                             f"{tick:.1f} ms", tick < 50))
        entries.append(entry("the daemon's processor time meanwhile", "< 10 %", percent(daemon["cpu"]), daemon["cpu"] < 0.1))
    return entries


def print_columns(result):
    """A row for each case and service: the well-behaved answered in time, or the goodput where all are honest."""
    order = [name for name in ("nothing", "nftables", "spillway") if of(result, name)]
    print(f"\n{'in time, or goodput of the best where all are honest':58}" + "".join(f"{name:>12}" for name in order))
    for service in result["services"]:
        for name, title in TITLES.items():
            found = {row["column"]: row["score"] for row in result["rows"]
                     if row["service"] == service["name"] and row["case"] == name}
            if found:
                print(f"{service['name'] + ', ' + title:58}" + "".join(f"{percent(found.get(key)):>12}" for key in order))


def print_all(result):
    print_columns(result)
    if not result["must"]:
        return
    print(f"\n{'':58}{'must':>10}{'measured':>12}  holds?")
    for row in result["must"]:
        print(f"{row['what']:58}{row['must']:>10}{row['measured'] or '-':>12}  "
              f"{'yes' if row['holds'] else 'NO'}{'  (' + row['where'] + ')' if row['where'] else ''}")
