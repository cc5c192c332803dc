#!/usr/bin/env python3
"""cost.py [KFS]: what a change costs, by the size of the document that it is made in.

Prints one table. Bytes are counted by the kernel for the daemon (/proc/PID/io: write_bytes, what goes
to the disk, and wchar, what is handed to write calls) until the journal is folded and the background
work is idle; CPU is the daemon's. Needs root; KFS_SIZES="100 10000" for other sizes, KFS_FILE=MiB.
"""
import os, random, shutil, subprocess, sys, tempfile, time

KFS = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else "target/release/kfs")
SIZES = [int(n) for n in os.environ.get("KFS_SIZES", "100 10000 1000000").split()]
FILE_MIB = int(os.environ.get("KFS_FILE", "1024"))
TICK = os.sysconf("SC_CLK_TCK")


class Daemon:
    def __init__(self, dir):
        self.store, self.mnt = f"{dir}/store", f"{dir}/mnt"
        os.mkdir(self.mnt)
        run("init", self.store)
        run("mount", self.store, self.mnt)
        text = run("status", self.store, "--json")
        self.pid = int(text.split('"pid":')[1].split(",")[0].rstrip("}\n"))

    def io(self):
        fields = dict(line.split(": ") for line in open(f"/proc/{self.pid}/io").read().splitlines())
        stat = open(f"/proc/{self.pid}/stat").read().rsplit(")", 1)[1].split()
        return int(fields["write_bytes"]), int(fields["wchar"]), (int(stat[11]) + int(stat[12])) / TICK

    def memory(self):
        return next(int(l.split()[1]) for l in open(f"/proc/{self.pid}/status") if l.startswith("VmRSS")) / 1024

    def idle(self):
        """Waits until nothing has been written and computed for two folds."""
        before, since = None, time.time()
        while time.time() - since < 4:
            now = self.io()
            if before is None or now[1] != before[1] or now[2] - before[2] > 0.02:
                before, since = now, time.time()
            time.sleep(0.1)

    def cost(self, work):
        self.idle()
        before = self.io()
        started = time.time()
        work()
        took = time.time() - started
        self.idle()
        return [after - b for after, b in zip(self.io(), before)] + [took]


def run(*args, **kwargs):
    done = subprocess.run([KFS, *args], capture_output=True, text=True, **kwargs)
    if done.returncode:
        sys.exit(f"kfs {' '.join(args)}: {done.stderr}")
    return done.stdout


def document(daemon, size):
    """A document of `size` leaves in maps of a hundred, put by one request."""
    depth = lambda n: "{%s}" % " ".join(f'"k{i}" "leaf {i}"' for i in range(n))
    text = depth(size) if size <= 100 else "{%s}" % " ".join(f'"d{j}" {depth(100)}' for j in range(size // 100))
    path = daemon.store + ".edn"
    open(path, "w").write(text)
    run("import", daemon.store, f"n{size}", path)
    os.unlink(path)


def leaves(size, count, seed):
    choose = random.Random(seed)
    def leaf():
        i = choose.randrange(100)
        return f"k{i}" if size <= 100 else f"d{choose.randrange(size // 100)}/k{i}"
    return [leaf() for _ in range(count)]


def show(what, cost, count, extra=""):
    disk, written, cpu, took = cost
    print(f"| {what} | {count} | {disk / count:,.0f} | {written / count:,.0f} | {cpu / count * 1e6:,.0f} | {count / took:,.0f} | {extra} |", flush=True)


def main():
    dir = tempfile.mkdtemp(prefix="kfs-cost.", dir=os.environ.get("TMPDIR", "/var/tmp"))
    daemon = Daemon(dir)
    try:
        print("| change | times | bytes to disk, each | bytes written, each | daemon CPU µs, each | per s | daemon MB |")
        print("|---|---|---|---|---|---|---|")
        for size in SIZES:
            document(daemon, size)
            daemon.idle()
            for count in (1, 1000):
                if count == 1000 and size == 100:
                    names = leaves(size, 1000, 1)
                else:
                    names = leaves(size, count, size + count)
                def api():
                    for n, name in enumerate(names):
                        run("put", daemon.store, f"n{size}/{name}", f'"new {n}"')
                def mount():
                    for n, name in enumerate(names):
                        with open(f"{daemon.mnt}/n{size}/{name}", "w") as f:
                            f.write(f"newer {n}\n")
                if count == 1 or "KFS_NO_VERBS" not in os.environ:
                    show(f"leaf of {size:,}, kfs put", daemon.cost(api), count, f"{daemon.memory():.0f}")
                show(f"leaf of {size:,}, mount", daemon.cost(mount), count, f"{daemon.memory():.0f}")
        os.mkdir(f"{daemon.mnt}/dir")
        def create(first, last):
            def go():
                for n in range(first, last):
                    with open(f"{daemon.mnt}/dir/f{n:06}", "w") as f:
                        f.write("content\n")
            return go
        show("create entry 1–1 000", daemon.cost(create(0, 1000)), 1000, f"{daemon.memory():.0f}")
        create(1000, 99000)()
        show("create entry 99 001–100 000", daemon.cost(create(99000, 100000)), 1000, f"{daemon.memory():.0f}")
        big = f"{daemon.mnt}/big"
        block = os.urandom(1 << 20)
        with open(big, "wb") as f:
            for n in range(FILE_MIB):
                f.write(n.to_bytes(8, "little") + block[8:])
            os.fsync(f.fileno())
        def overwrite(count):
            choose = random.Random(count)
            def go():
                f = os.open(big, os.O_WRONLY)
                for _ in range(count):
                    os.pwrite(f, os.urandom(4096), choose.randrange(FILE_MIB * 256) * 4096)
                    os.fsync(f)
                os.close(f)
            return go
        for count in (1, 100):
            show(f"4 KiB + fsync in {FILE_MIB} MiB", daemon.cost(overwrite(count)), count, f"{daemon.memory():.0f}")
        def copy():
            subprocess.run(["cp", big, big + "2"], check=True)
        show(f"cp of {FILE_MIB} MiB in the mount", daemon.cost(copy), 1, f"{daemon.memory():.0f}")
        at = os.open(daemon.mnt, os.O_RDONLY)
        for depth in range(1000):
            os.mkdir("d", dir_fd=at)
            below = os.open("d", os.O_RDONLY, dir_fd=at)
            os.close(at)
            at = below
        def deepest():
            f = os.open("leaf", os.O_WRONLY | os.O_CREAT, dir_fd=at)
            os.write(f, b"deep\n")
            os.close(f)
        show("leaf 1 000 deep, mount", daemon.cost(deepest), 1, f"{daemon.memory():.0f}")
        os.close(at)
    finally:
        subprocess.run([KFS, "umount", daemon.mnt], capture_output=True)
        subprocess.run(["umount", "-l", daemon.mnt], capture_output=True)
        shutil.rmtree(dir, ignore_errors=True)


main()
