#!/usr/bin/env python3
"""gc-fire.py [KFS [MINUTES [SEED]]]: everything that collects garbage, on a mount that is in use.

Eight writers, sweeps, rounds of `kfs gc`, snapshots that come and go, `kill -9` of the daemon, and, where
libfaketime is installed, steps of its clock by a day. Every write that was acknowledged must be there, but
for what a sweep was allowed to take: last written before its cutoff, and not to be kept. At the end
nothing unreachable is left after one `kfs gc`, and `kfs fsck` finds nothing. Needs FUSE; one minute if not
told otherwise."""
import json, os, random, shutil, subprocess, sys, tempfile, threading, time

KFS = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else "target/release/kfs")
MINUTES = float(sys.argv[2]) if len(sys.argv) > 2 else 1
SEED = int(sys.argv[3]) if len(sys.argv) > 3 else int(time.time())
FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1"
DAY = 24 * 3600
WRITERS, NAMES = 8, 25

dir = tempfile.mkdtemp(prefix="kfs-fire.", dir=os.environ.get("TMPDIR", "/var/tmp"))
store, mnt, clock = f"{dir}/store", f"{dir}/mnt", f"{dir}/clock"
os.mkdir(mnt)
subprocess.run(["chattr", "+i", mnt])  # nobody writes there while nothing is mounted
env = dict(os.environ)
if os.path.exists(FAKETIME):
    env |= {"LD_PRELOAD": FAKETIME, "FAKETIME_TIMESTAMP_FILE": clock, "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
else:
    print("without libfaketime the clock is not set", flush=True)

busy = threading.Lock()          # held by whoever kills, or looks whether everything is right
working = [threading.Lock() for _ in range(WRITERS)]
ledger = {}                      # name -> (contents that may be there, last write or None if unknown)
sweeps = []                      # (cutoff, names kept, names evicted or None if unknown)
kept = {f"w{w}-{n}" for w in range(WRITERS) for n in range(0, NAMES, 5)}
counts = dict.fromkeys(["writes", "failed", "sweeps", "evicted", "gc", "snapshots", "kills", "steps", "looks"], 0)
wrong, stop = [], threading.Event()


def set_clock(seconds):
    with open(clock + ".new", "w") as f:
        f.write(f"{seconds:+d}\n")
    os.rename(clock + ".new", clock)


def kfs(*args, **more):
    return subprocess.run([KFS, *args], capture_output=True, text=True, timeout=120, **more)


def mount():
    for _ in range(50):
        done = kfs("mount", store, mnt, env=env)
        if done.returncode == 0:
            return
        time.sleep(0.2)
    wrong.append(f"mount: {done.stderr}")
    stop.set()


def pid():
    return json.loads(kfs("status", "--json", mnt).stdout.splitlines()[0])["pid"]


def content(name, n, rng):
    return f"{name} {n} " * rng.choice([1, 10, 1000, 10_000, 40_000])


def stamp(name):
    return os.getxattr(f"{mnt}/{name}", "user.kfs.last-write").decode()


def moment(stamp):
    seconds, nanos = stamp.split(".")
    return time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(int(seconds))) + nanos + "Z"


def write(w, rng):
    n = 0
    while not stop.is_set():
        n += 1
        with working[w]:
            name = f"w{w}-{rng.randrange(NAMES)}"
            text = content(name, n, rng)
            before = ledger.get(name, ({None}, None))[0]
            ledger[name] = (before | {text, ""}, None)
            try:
                path = f"{mnt}/{name}"
                how = rng.random()
                if how < 0.3:
                    with open(f"{path}.new", "w") as f:
                        f.write(text)
                    if name in kept:
                        os.setxattr(f"{path}.new", "user.kfs.keep", b"")
                    os.rename(f"{path}.new", path)
                else:
                    with open(path, "w") as f:
                        f.write(text)
                    if name in kept:
                        os.setxattr(path, "user.kfs.keep", b"")
                ledger[name] = ({text}, stamp(name))
                counts["writes"] += 1
            except OSError:
                counts["failed"] += 1
                time.sleep(0.05)
        time.sleep(rng.random() / 50)


def sweep(rng):
    while not stop.is_set():
        time.sleep(rng.random() * 2)
        stamps = [at for _, at in list(ledger.values()) if at]
        if not stamps:
            continue
        # What was written before some key was; not more than a part of what there is.
        cutoff = sorted(stamps)[rng.randrange(len(stamps)) // 4]
        keep = {f"w{rng.randrange(WRITERS)}-{rng.randrange(NAMES)}" for _ in range(3)}
        entry = [cutoff, keep, None]
        sweeps.append(entry)
        done = kfs("sweep", "--json", store, "--before", moment(cutoff), *[a for k in keep for a in ("--keep", k)])
        if done.returncode == 0:
            lines = [json.loads(line) for line in done.stdout.splitlines()]
            entry[2] = {line["evicted"] for line in lines if "evicted" in line}
            counts["sweeps"] += 1
            counts["evicted"] += len(entry[2])


def collect(rng):
    while not stop.is_set():
        time.sleep(rng.random())
        if kfs("gc", store).returncode == 0:
            counts["gc"] += 1


def snapshots(rng):
    n = 0
    while not stop.is_set():
        time.sleep(rng.random())
        n += 1
        if kfs("snapshot", "create", store, f"s{n}").returncode:
            continue
        counts["snapshots"] += 1
        base = f"{mnt}/.kfs/snapshot/s{n}"
        try:
            for name in os.listdir(base):
                with open(f"{base}/{name}") as f:
                    text = f.read()
                # Each content is one thing said many times: whole, of one write.
                said = text.split(" ", 2)[:2]
                if text and not name.endswith(".new") and text.replace(f"{' '.join(said)} ", ""):
                    wrong.append(f"{base}/{name}: a mixture")
        except OSError:
            pass
        if rng.random() < 0.8:
            kfs("snapshot", "rm", store, f"s{rng.randrange(1, n + 1)}")


def with_everybody_waiting(f):
    with busy:
        for lock in working:
            lock.acquire()
        try:
            f()
        finally:
            for lock in working:
                lock.release()


def look():
    counts["looks"] += 1
    for name, (contents, at) in list(ledger.items()):
        try:
            with open(f"{mnt}/{name}") as f:
                found = f.read()
        except FileNotFoundError:
            found = None
        except OSError as error:
            wrong.append(f"{name}: {error}")
            continue
        if found in contents:
            continue
        if found is None and any((at is None or at < cutoff) and name not in kept | keep and (gone is None or name in gone)
                                 for cutoff, keep, gone in sweeps):
            ledger[name] = ({None}, None)
            continue
        wrong.append(f"{name}: {'gone' if found is None else repr(found[:40])}, written at {at}")


def kill():
    process = pid()
    os.kill(process, 9)
    counts["kills"] += 1
    # The mount takes away what is left of the one before.
    mount()


rng = random.Random(SEED)
print(f"seed {SEED}, {MINUTES} minutes", flush=True)
set_clock(DAY)
kfs("init", store)
mount()
threads = [threading.Thread(target=write, args=(w, random.Random(SEED * 100 + w))) for w in range(WRITERS)]
for extra, task in enumerate([sweep, collect, snapshots]):
    threads.append(threading.Thread(target=task, args=(random.Random(SEED * 100 + 50 + extra),)))
try:
    for thread in threads:
        thread.start()
    end = time.time() + MINUTES * 60
    while time.time() < end and not wrong:
        time.sleep(1 + rng.random() * 4)
        what = rng.randrange(4)
        if what == 0:
            with busy:
                kill()          # while all others go on
        elif what == 1:
            with_everybody_waiting(look)
        else:
            set_clock(rng.choice([0, DAY, 2 * DAY]))
            counts["steps"] += 1
    stop.set()
    for thread in threads:
        thread.join()
    look()
    for line in kfs("snapshot", "list", "--json", store).stdout.splitlines():
        kfs("snapshot", "rm", store, json.loads(line)["name"])
    print("gc:", kfs("gc", store).stdout.strip(), "| and once more:", kfs("gc", "--json", store).stdout.strip(), flush=True)
    kfs("umount", mnt)
    look_again = kfs("fsck", store)
    if look_again.returncode:
        wrong.append(f"fsck: {look_again.stdout}")
    print("fsck:", look_again.stdout.strip().splitlines()[-1:], flush=True)
finally:
    stop.set()
    subprocess.run(["umount", "-l", mnt], capture_output=True)
    subprocess.run(["chattr", "-i", mnt])
print(json.dumps(counts))
print(f"{len(wrong)} wrong")
for line in wrong[:20]:
    print(line)
if wrong:
    print(f"left in {dir}")
    sys.exit(1)
shutil.rmtree(dir, ignore_errors=True)
