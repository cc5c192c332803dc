#!/usr/bin/env python3
"""space.py [KFS]: what a store takes whose files are overwritten again and again, before and after gc.

Files of 100 kB and of 3 kB, 100 MB in all, random bytes, ten times overwritten. Needs FUSE and 1 GB."""
import os, random, shutil, subprocess, sys, tempfile, time

KFS = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else "target/release/kfs")
TOTAL = 100_000_000


def run(*args):
    done = subprocess.run([KFS, *args], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"kfs {' '.join(args)}: {done.stderr}")
    return done.stdout.strip()


def used(store):
    return int(subprocess.check_output(["du", "-s", "-B1", store]).split()[0])


def fill(mnt, size, seed):
    bytes_of = random.Random(seed).randbytes
    for n in range(TOTAL // size):
        with open(f"{mnt}/{n}", "wb") as f:
            f.write(bytes_of(size))


def measure(dir, kind, size):
    store, mnt = f"{dir}/store", f"{dir}/mnt"
    os.mkdir(mnt)
    run("init", f"{kind}:{store}")
    run("mount", f"{kind}:{store}", mnt)
    try:
        fill(mnt, size, 0)
        run("gc", store)
        before = used(store)
        for round in range(10):
            fill(mnt, size, round + 1)
        written = used(store)
        started = time.time()
        freed = run("gc", store)
        took = time.time() - started
    finally:
        run("umount", mnt)
    after = used(store)
    print(f"| {kind}, {size:,} | {before / 1e6:.0f} | {written / 1e6:.0f} | {after / 1e6:.0f} | "
          f"{after / before:.2f} | {took:.1f} s, {freed} |", flush=True)


print("| store, file size | MB before | overwritten ten times | after gc | ratio | gc |\n|---|---|---|---|---|---|")
for kind in ["kfs", "file"]:
    for size in [100_000, 3_000]:
        dir = tempfile.mkdtemp(prefix="kfs-space.", dir=os.environ.get("TMPDIR", "/var/tmp"))
        try:
            measure(dir, kind, size)
        finally:
            shutil.rmtree(dir, ignore_errors=True)
