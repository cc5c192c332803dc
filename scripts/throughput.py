#!/usr/bin/env python3
"""Prints how fast the API is, beside bare LMDB, SQLite and RocksDB: a table in Markdown.

scripts/throughput.py [ROUNDS [PERCENT [DIR]]]

Medians of 3 rounds, in which the engines take turns; PERCENT of the usual number of operations, to
try it. DIR is where the databases go (1 GB). Of konserve it says what was measured of its store of
files, without fsync but for the last figure.

SQLite is the one of this Python: a call of it costs 1 to 2 µs more than from C. Its documents are
JSON, changed by its own functions.
"""

import json
import os
import resource
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time

ENGINES = ["kfs", "lmdb", "rocksdb", "sqlite"]
NAMES = {"kfs": "kfs", "lmdb": "LMDB", "rocksdb": "RocksDB", "sqlite": "SQLite"}
KONSERVE = {
    ("put", "no"): "1 300",
    ("get", "no"): "13 000",
    ("assoc_in 10000", "yes"): "9.5",
}
ROWS = [
    ("put", "put, new"),
    ("overwrite", "put over another"),
    ("get", "get"),
    ("get_in 100", "get_in, 100 leaves"),
    ("get_in 10000", "get_in, 10 000"),
    ("get_in 1000000", "get_in, 1 000 000"),
    ("assoc_in 100", "assoc_in, 100"),
    ("assoc_in 10000", "assoc_in, 10 000"),
    ("assoc_in 1000000", "assoc_in, 1 000 000"),
    ("update_in", "update_in, a number"),
    ("list", "list 10 000 keys, keys"),
    ("sweep", "sweep 10 000 keys, keys"),
    ("binary put", "put 1 MiB"),
    ("binary get", "get 1 MiB"),
]
READS = {"get", "list", "binary get", "get_in 100", "get_in 10000", "get_in 1000000"}


def main():
    arguments = sys.argv[1:]
    rounds = int(arguments[0]) if arguments else 3
    percent = int(arguments[1]) if len(arguments) > 1 else 100
    under = arguments[2] if len(arguments) > 2 else None
    binary = build()
    found = {}
    for _ in range(rounds):
        for synced in ["no", "yes"]:
            for engine in ENGINES:
                with tempfile.TemporaryDirectory(prefix="throughput.", dir=under) as directory:
                    for line in run(binary, engine, os.path.join(directory, "db"), synced, percent):
                        key = (engine, synced, line["operation"])
                        found.setdefault(key, []).append(line)
    print(table(found))


def build():
    machine = os.uname().machine
    os.environ.setdefault("ROCKSDB_LIB_DIR", f"/usr/lib/{machine}-linux-gnu")
    os.chdir(os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
    command = "cargo build --locked --release --example throughput --features lmdb,rocksdb"
    subprocess.run(command.split(), check=True)
    target = os.environ.get("CARGO_TARGET_DIR", "target")
    return os.path.join(target, "release/examples/throughput")


def run(binary, engine, directory, synced, percent):
    if engine == "sqlite":
        return sqlite(directory, synced == "yes", percent)
    command = [binary, engine, directory, synced, str(percent)]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return [json.loads(line) for line in output.splitlines()]


def table(found):
    def cell(engine, synced, operation):
        lines = found.get((engine, synced, operation))
        if lines is None:
            return "–"
        rate = number(statistics.median(line["per_second"] for line in lines))
        if engine != "kfs" or operation in READS:
            return rate
        settled = number(statistics.median(line["settled_per_second"] for line in lines))
        cpu = statistics.median(line["cpu_micros"] for line in lines)
        return f"{rate} ({settled}; {number(cpu)} µs)"

    engines = ENGINES
    head = ["per second"] + [NAMES[engine] for engine in engines] + ["konserve"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for synced, title in [("no", "without fsync"), ("yes", "with fsync")]:
        lines.append(f"| **{title}**" + " |" * len(head))
        for operation, label in ROWS:
            if synced == "yes" and operation in READS:
                continue
            cells = [cell(engine, synced, operation) for engine in engines]
            cells.append(KONSERVE.get((operation, synced), "–"))
            lines.append(f"| {label} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def number(value):
    if value >= 1000:
        digits = 3 - len(str(int(value)))
        return f"{round(value, digits):,.0f}".replace(",", " ")
    return f"{value:.3g}"


def sqlite(path, synced, percent):
    """What `examples/throughput` does, with SQLite."""
    database = sqlite3.connect(path, isolation_level=None)
    ask = database.execute
    ask("PRAGMA journal_mode = WAL")
    ask("PRAGMA synchronous = " + ("FULL" if synced else "OFF"))
    ask("CREATE TABLE blobs (key TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID")
    lines = []

    def timed(operation, count, call, several=1):
        count = max(1, count * percent // 100)
        used = resource.getrusage(resource.RUSAGE_SELF)
        start = time.perf_counter()
        for n in range(count):
            call(n)
        took = (time.perf_counter() - start) / several
        now = resource.getrusage(resource.RUSAGE_SELF)
        busy = now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime
        lines.append(
            {
                "operation": operation,
                "per_second": count / took,
                "settled_per_second": count / took,
                "cpu_micros": busy / several * 1e6 / count,
            }
        )

    def put(key, value):
        ask("INSERT OR REPLACE INTO blobs VALUES (?, ?)", (key, value))

    def get(key):
        return ask("SELECT value FROM blobs WHERE key = ?", (key,)).fetchone()[0]

    def names():
        return [key for (key,) in ask("SELECT key FROM blobs")]

    def scattered(n):
        return ((n + 1) * 0x9E3779B1 & 0xFFFFFFFF) >> 4

    def name(n):
        return f"key-{n:08}"

    writes = 2_000 if synced else 100_000
    timed("put", writes, lambda n: put(name(scattered(n)), f"{0:0100}"))
    ask("DELETE FROM blobs")
    keys = max(1, 10_000 * percent // 100)
    ask("BEGIN")
    for n in range(keys):
        put(name(n), f"{0:0100}")
    ask("COMMIT")
    timed("overwrite", writes, lambda n: put(name(scattered(n) % keys), f"{n:0100}"))
    timed("get", 500_000, lambda n: get(name(scattered(n) % keys)))
    timed("list", 10, lambda _: names(), several=keys)
    timed("sweep", 1, lambda _: ask("DELETE FROM blobs"), several=keys)

    for leaves in [100, 10_000, 1_000_000]:
        width = int(leaves**0.5)
        groups = {
            f"n{g:06}": {f"n{n:06}": f"{0:024}" for n in range(width)} for g in range(width)
        }
        document = f"document-{leaves}"
        put(document, json.dumps(groups))
        select = "SELECT json_extract(value, ?) FROM blobs WHERE key = ?"
        update = "UPDATE blobs SET value = json_set(value, ?, ?) WHERE key = ?"

        def place(n):
            leaf = scattered(n) % leaves
            return f"$.n{leaf // width:06}.n{leaf % width:06}"

        def get_in(n):
            assert ask(select, (place(n), document)).fetchone()[0]

        reads = {100: 10_000, 10_000: 200, 1_000_000: 2}[leaves]
        changes = {100: 2_000, 10_000: 100, 1_000_000: 2}[leaves]
        timed(f"get_in {leaves}", reads, get_in)
        timed(f"assoc_in {leaves}", changes, lambda n: ask(update, (place(n), f"{n:024}", document)))

    put("counter", 0)
    add = "UPDATE blobs SET value = value + 1 WHERE key = 'counter'"
    timed("update_in", writes, lambda _: ask(add))
    content = os.urandom(1 << 20)
    timed("binary put", 64, lambda n: put(f"binary-{n}", content))
    timed("binary get", 64, lambda n: get(f"binary-{n}"))
    database.close()
    return lines


if __name__ == "__main__":
    main()
