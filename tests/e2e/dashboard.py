#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Checks a Grafana dashboard (the classic JSON model, as Grafana's documentation describes it) and a file of alert rules
against a daemon's real metrics and a real Prometheus.

    dashboard.py DASHBOARD.json RULES.yml METRICS PROMETHEUS_URL

Every field that Grafana needs is there with its type, panels lie on its grid without overlapping, every variable is declared,
every metric that a query names is one that the daemon has with the labels that the query uses, every query is one that
Prometheus takes, and those that a lively host answers are answered. Ends with a line of what it checked.
"""
import json
import re
import sys
import urllib.error
import urllib.parse
import urllib.request

GRID = 24
PANELS = {"row", "stat", "timeseries", "table"}
UNITS = {"pps", "s", "short", "none", "percentunit"}
BUILT_IN = {"__rate_interval", "__interval", "__range"}
# Kinds of series that the test's traffic does not make.
MAY_BE_EMPTY = {"spillway_hotspot", "spillway_host_drops_total", "spillway_requests_unanswered_total"}


def needs(thing, where, **fields):
    for name, kind in fields.items():
        assert name in thing, f"{where}: no '{name}'"
        assert isinstance(thing[name], kind), f"{where}: '{name}' is no {kind}"


def check_panel(panel, taken, ids):
    where = f"panel '{panel.get('title')}'"
    needs(panel, where, id=int, type=str, title=str, gridPos=dict)
    assert panel["id"] not in ids, f"{where}: id {panel['id']} is another's"
    ids.add(panel["id"])
    assert panel["type"] in PANELS, f"{where}: type {panel['type']}"
    place = panel["gridPos"]
    needs(place, where, x=int, y=int, w=int, h=int)
    assert place["w"] > 0 and place["h"] > 0 and place["x"] >= 0 and place["x"] + place["w"] <= GRID, f"{where}: {place}"
    cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
    assert not cells & taken, f"{where}: lies over another"
    taken |= cells
    if panel["type"] == "row":
        needs(panel, where, collapsed=bool, panels=list)
        return
    needs(panel, where, targets=list, fieldConfig=dict, options=dict, datasource=dict)
    needs(panel["fieldConfig"], where, defaults=dict, overrides=list)
    assert panel["fieldConfig"]["defaults"]["unit"] in UNITS, f"{where}: unit"
    assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}, f"{where}: datasource"
    letters = [target["refId"] for target in panel["targets"]]
    assert letters and len(set(letters)) == len(letters), f"{where}: refIds {letters}"
    for target in panel["targets"]:
        needs(target, where, expr=str, legendFormat=str, refId=str, datasource=dict)


def check_shape(dashboard):
    needs(dashboard, "dashboard", title=str, uid=str, schemaVersion=int, version=int, panels=list, templating=dict, annotations=dict,
          time=dict, timepicker=dict, tags=list, editable=bool, graphTooltip=int, links=list, refresh=str, timezone=str)
    assert dashboard.get("id") is None, "dashboard: an id is the server's to give"
    assert 30 <= dashboard["schemaVersion"] <= 41 and re.fullmatch(r"[\w-]{1,40}", dashboard["uid"])
    needs(dashboard["time"], "time", **{"from": str, "to": str})
    taken, ids = set(), set()
    for panel in dashboard["panels"]:
        check_panel(panel, taken, ids)
    declared = set()
    for variable in dashboard["templating"]["list"]:
        needs(variable, "variable", name=str, type=str, query=(str, dict), options=list, current=dict)
        declared.add(variable["name"])
    return declared


def queries_of(dashboard):
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            yield f"panel '{panel['title']}'", target["expr"]
    for annotation in dashboard["annotations"]["list"]:
        if "expr" in annotation:
            yield f"annotation '{annotation['name']}'", annotation["expr"]


def families_of(text):
    """Names of series and the labels that they have been seen with; None where there is no sample."""
    labels = {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            for ending in ("_bucket", "_sum", "_count") if kind == "histogram" else ("",):
                labels.setdefault(name + ending, None)
        elif line and not line.startswith("#"):
            name = re.match(r"\w+", line).group()
            seen = set(re.findall(r'[{,](\w+)="', line))
            labels[name] = (labels.get(name) or set()) | seen
    return labels


def check_names(where, expression, families):
    for name in re.findall(r"\bspillway_\w+", expression):
        assert name in families, f"{where}: the daemon has no {name}"
        used = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", "".join(re.findall(name + r"\{([^}]*)\}", expression))))
        if families[name] is not None:
            strange = used - families[name] - {"job", "instance"}
            assert not strange, f"{where}: {name} has no label {strange}"


def ask(url, expression):
    query = urllib.parse.urlencode({"query": expression})
    try:
        with urllib.request.urlopen(f"{url}/api/v1/query?{query}", timeout=10) as answer:
            return json.load(answer)["data"]["result"]
    except urllib.error.HTTPError as refused:
        raise AssertionError(f"Prometheus refuses {expression}: {refused.read().decode()}") from refused


def main():
    dashboard = json.load(open(sys.argv[1], encoding="utf-8"))
    rules = open(sys.argv[2], encoding="utf-8").read()
    families = families_of(open(sys.argv[3], encoding="utf-8").read())
    url = sys.argv[4]
    declared = check_shape(dashboard)
    queries = answered = 0
    for where, expression in queries_of(dashboard):
        used = set(re.findall(r"\$\{?(\w+)", expression))
        assert used <= declared | BUILT_IN, f"{where}: unknown variables {used - declared - BUILT_IN}"
        check_names(where, expression, families)
        concrete = expression.replace("$__rate_interval", "20s").replace("$job", "spillway").replace("$instance", ".*").replace("$service", ".*")
        result = ask(url, concrete)
        queries += 1
        answered += bool(result)
        named = set(re.findall(r"\bspillway_\w+", expression))
        assert result or named & MAY_BE_EMPTY or "> 0" in expression, f"{where}: no answer to {concrete}"
    check_names("rules", rules, families)
    print(f"{len(dashboard['panels'])} panels, {queries} queries, {answered} answered")


if __name__ == "__main__":
    main()
