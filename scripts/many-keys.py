#!/usr/bin/env python3
"""many-keys.py [KFS] [KEYS]: a store of a million top-level keys, or of KEYS.

Measures how long mounting takes, listing with the daemon's memory before and after, and mounting
again after the daemon was killed in the midst of writing. Needs root and room for as many files.
"""
import os, shutil, subprocess, sys, tempfile, time

KFS = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else "target/release/kfs")
KEYS = int(sys.argv[2]) if len(sys.argv) > 2 else 1_000_000


def run(*args):
    done = subprocess.run([KFS, *args], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"kfs {' '.join(args)}: {done.stderr}")
    return done.stdout


def timed(what, work):
    started = time.time()
    work()
    print(f"| {what} | {time.time() - started:.2f} s |", flush=True)


def pid(store):
    return int(run("status", store, "--json").split('"pid":')[1].split(",")[0].rstrip("}\n"))


def memory(store):
    lines = open(f"/proc/{pid(store)}/status")
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def entries(mnt):
    """Counts the entries as they come: no list of them is made here either."""
    with os.scandir(mnt) as listing:
        return sum(1 for _ in listing)


def main():
    dir = tempfile.mkdtemp(prefix="kfs-keys.", dir=os.environ.get("TMPDIR", "/var/tmp"))
    store, mnt, files = f"{dir}/store", f"{dir}/mnt", f"{dir}/files"
    os.mkdir(mnt)
    os.mkdir(files)
    mount = lambda: run("mount", store, mnt)
    try:
        for n in range(KEYS):
            with open(f"{files}/key {n}", "w") as f:
                f.write(f"the value of key {n}\n")
        run("init", store)
        print(f"| {KEYS:,} keys | |\n|---|---|")
        timed("import", lambda: run("import", store, "/", files))
        shutil.rmtree(files)
        timed("mount", mount)
        before = memory(store)
        def list_all():
            found = entries(mnt)
            assert found == KEYS, found
        timed("list", list_all)
        print(f"| memory before and after | {before:.0f} and {memory(store):.0f} MB |", flush=True)
        for n in range(min(KEYS, 20000)):
            with open(f"{mnt}/key {n}", "w") as f:
                f.write(f"the new value of key {n}\n")
        os.kill(pid(store), 9)
        subprocess.run(["umount", "-l", mnt])
        timed("mount after kill -9", mount)
        last = min(KEYS, 20000) - 1
        assert open(f"{mnt}/key {last}").read() == f"the new value of key {last}\n"
        timed("list after kill -9", list_all)
    finally:
        subprocess.run([KFS, "umount", mnt], capture_output=True)
        subprocess.run(["umount", "-l", mnt], capture_output=True)
        shutil.rmtree(dir, ignore_errors=True)


main()
