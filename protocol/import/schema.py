#!/usr/bin/env python3
"""Extracts the facts of Kafka's message schemas from its jars into one file of our own form.

    schema.py JAR... > protocol/schema/kafka-4.3.1.schema

The form, one line a thing, two spaces a level:

    message NAME KIND [key=N] [family=F] versions=RANGE flexible=RANGE [deprecated=RANGE] [unstable] [listeners=A,B]
      FIELD TYPE VERSIONS [null=RANGE] [tag=N:RANGE] [flexible=RANGE] [default=TEXT] [ignorable] [key] [entity=E] [nocopy]
        (the fields of the struct that TYPE names, unless it is one of the message's common structs)
      struct NAME VERSIONS
        (the fields of a common struct)

KIND is request, response, header, data, metadata, coordinator-key or coordinator-value. A RANGE is "3-13", "9+", "0" or "none".
Only names, types, numbers and defaults are taken; no text.
"""
import json
import os
import re
import sys
import zipfile

FLAGS = {"mapKey": "key", "ignorable": "ignorable", "zeroCopy": "nocopy"}


def without_comments(text: str) -> str:
    """Kafka's files are JSON with // comments and, in places, hexadecimal numbers and commas too many."""
    lines = []
    for line in re.sub(r"/\*.*?\*/", "", text, flags=re.S).split("\n"):
        kept, quoted = "", False
        for i, c in enumerate(line):
            if c == '"' and (i == 0 or line[i - 1] != "\\"):
                quoted = not quoted
            if not quoted and line.startswith("//", i):
                break
            kept += c
        lines.append(kept)
    text = re.sub(r":\s*0x([0-9a-fA-F]+)", lambda m: ": " + str(int(m.group(1), 16)), "\n".join(lines))
    return re.sub(r",(\s*[\]}])", r"\1", text)


def default_of(value) -> str:
    """Defaults occur as strings and as literals: "null" and null, "false" and false, 3000 and "-1"."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    text = str(value)
    return str(int(text, 16)) if re.fullmatch(r"0x[0-9a-fA-F]+", text) else text


def field_lines(fields: list, common: set, depth: int) -> list[str]:
    lines = []
    for f in fields:
        versions = f.get("versions") or f["taggedVersions"]
        words = [f["name"], f["type"], versions]
        if f.get("nullableVersions", "none") != "none":
            words.append("null=" + f["nullableVersions"])
        if "tag" in f:
            words.append(f"tag={f['tag']}:{f['taggedVersions']}")
        if "flexibleVersions" in f:
            words.append("flexible=" + f["flexibleVersions"])
        if "default" in f:
            text = default_of(f["default"])
            if text != "":
                assert " " not in text, f
                words.append("default=" + text)
        words += [word for name, word in FLAGS.items() if f.get(name)]
        if "entityType" in f:
            words.append("entity=" + f["entityType"])
        lines.append("  " * depth + " ".join(words))
        lines += field_lines(f.get("fields", []), common, depth + 1)
    return lines


def message_lines(m: dict, family: str) -> list[str]:
    words = ["message", m["name"], m["type"]]
    if "apiKey" in m:
        words.append(f"key={m['apiKey']}")
    if m["type"] not in ("request", "response", "header", "data"):
        words.append("family=" + family)
    words += ["versions=" + m["validVersions"], "flexible=" + m.get("flexibleVersions", "none")]
    if "deprecatedVersions" in m:
        words.append("deprecated=" + m["deprecatedVersions"])
    if m.get("latestVersionUnstable"):
        words.append("unstable")
    if m.get("listeners"):
        words.append("listeners=" + ",".join(m["listeners"]))
    common = {s["name"] for s in m.get("commonStructs", [])}
    lines = [" ".join(words)] + field_lines(m.get("fields", []), common, 1)
    for s in m.get("commonStructs", []):
        lines.append(f"  struct {s['name']} {s['versions']}")
        lines += field_lines(s["fields"], common, 2)
    return lines


def main() -> None:
    messages = {}
    for jar in sys.argv[1:]:
        # kafka-group-coordinator-4.3.1.jar: whose log the record belongs to.
        family = re.sub(r"^kafka-(.*)-[0-9.]+\.jar$", r"\1", os.path.basename(jar))
        archive = zipfile.ZipFile(jar)
        for name in archive.namelist():
            if not name.endswith(".json") or not re.match(r"(common/)?(message|metadata)/", name):
                continue
            m = json.loads(without_comments(archive.read(name).decode()))
            if "validVersions" in m:
                assert m["name"] not in messages, m["name"]
                messages[m["name"]] = (m, family)
    order = ["request", "response", "header", "data", "metadata", "coordinator-key", "coordinator-value"]
    print("# Made by protocol/import/schema.py; do not edit.")
    place = lambda entry: (order.index(entry[0]["type"]), entry[1], entry[0].get("apiKey", -1), entry[0]["name"])
    for m, family in sorted(messages.values(), key=place):
        print("\n".join(message_lines(m, family)))


if __name__ == "__main__":
    main()
