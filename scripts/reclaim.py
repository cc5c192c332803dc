#!/usr/bin/env python3
"""reclaim.py [KFS]: how long gc takes with 1 000 000 leaves, all replaced once, and what a writer beside it sees.

A document of 1 000 000 leaves in maps of a hundred is imported twice with other values, so that as many
are garbage. One process overwrites 500 small files in the mount all the while; its rate and its slowest
writes are printed for the times before, during and after gc, three times over (the second and third
gc have nothing but the writer's garbage). Needs FUSE and 1 GB; KFS_LEAVES=n for another size."""
import multiprocessing, os, shutil, subprocess, sys, tempfile, time

KFS = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else "target/release/kfs")
LEAVES = int(os.environ.get("KFS_LEAVES", "1000000"))
WINDOW = 10


def run(*args):
    done = subprocess.run([KFS, *args], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"kfs {' '.join(args)}: {done.stderr}")
    return done.stdout.strip()


def used(store):
    return int(subprocess.check_output(["du", "-s", "-B1", store]).split()[0])


def fill(store, word):
    maps = ("{%s}" % " ".join(f'"k{i}" "{word} {n} {i}"' for i in range(100)) for n in range(LEAVES // 100))
    with open(f"{store}.edn", "w") as f:
        f.write("{%s}" % " ".join(f'"d{n}" {text}' for n, text in enumerate(maps)))
    run("import", store, "doc", f"{store}.edn")
    os.unlink(f"{store}.edn")


def write(dir, end, out):
    """Overwrites until told to end; (when, how long) of every write."""
    times, n = [], 0
    while not end.is_set():
        started = time.monotonic()
        with open(f"{dir}/{n % 500}", "w") as f:
            f.write(f"{n} " * 20)
        times.append((started, time.monotonic() - started))
        n += 1
    out.put(times)


def cpu(pid):
    stat = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")


def of(times, since, until):
    took = sorted(t for at, t in times if since <= at < until)
    if not took:
        return "no write"
    rate = len(took) / (until - since)
    return f"{rate:.0f} writes/s, p50 {took[len(took) // 2] * 1e6:.0f} us, p99 {took[len(took) * 99 // 100] * 1e6:.0f} us, slowest {took[-1] * 1e3:.1f} ms"


def main():
    dir = tempfile.mkdtemp(prefix="kfs-reclaim.", dir=os.environ.get("TMPDIR", "/var/tmp"))
    store, mnt = f"{dir}/store", f"{dir}/mnt"
    os.mkdir(mnt)
    run("init", store)
    fill(store, "old")
    fill(store, "new")
    run("mount", store, mnt)
    try:
        pid = int(run("status", store, "--json").split('"pid":')[1].split(",")[0].rstrip("}\n"))
        os.mkdir(f"{mnt}/w")
        end, out = multiprocessing.Event(), multiprocessing.Queue()
        writer = multiprocessing.Process(target=write, args=(f"{mnt}/w", end, out))
        writer.start()
        rounds = []
        for _ in range(3):
            time.sleep(WINDOW)
            size, busy, started = used(store), cpu(pid), time.monotonic()
            freed = run("gc", store)
            rounds.append((started, time.monotonic(), size, used(store), cpu(pid) - busy, freed))
        time.sleep(WINDOW)
        end.set()
        times = out.get()
        writer.join()
    finally:
        run("umount", mnt)
        shutil.rmtree(dir, ignore_errors=True)
    for started, ended, before, after, busy, freed in rounds:
        print(f"before     {of(times, started - WINDOW, started)}")
        print(f"during gc  {of(times, started, ended)}; gc {ended - started:.1f} s, {busy:.1f} s of CPU with the writes, "
              f"{before / 1e6:.0f} -> {after / 1e6:.0f} MB: {freed}")
    print(f"after      {of(times, rounds[-1][1], rounds[-1][1] + WINDOW)}")


main()
