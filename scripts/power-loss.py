#!/usr/bin/env python3
"""usage: power-loss.py KFS ROUNDS [SEED [KIND]]    KIND: kfs (the default) or file
Cuts the power (EXT4_IOC_SHUTDOWN without flushing the log) below a mounted store under load and checks that
everything that was synced is there. Needs root."""
import ctypes, fcntl, json, os, random, shutil, signal, subprocess, sys, tempfile, threading, time
KFS, ROUNDS = sys.argv[1], int(sys.argv[2])
SEED = int(sys.argv[3]) if len(sys.argv) > 3 else int(time.time())
KIND = sys.argv[4] if len(sys.argv) > 4 else 'kfs'
SHUTDOWN, NOLOGFLUSH = 0x8004587d, 2
base = tempfile.mkdtemp(prefix='kfs-power.')
img, disk, mnt = base + '/img', base + '/disk', base + '/mnt'
os.mkdir(disk); os.mkdir(mnt)
def run(*a):
    done = subprocess.run(a, capture_output=True, text=True)
    if done.returncode: sys.exit(f'{a}: {done.stderr}')
    return done
def umount(p): subprocess.run(['umount', '-l', p], capture_output=True)
with open(img, 'wb') as f: f.truncate(400 << 20)
run('mkfs.ext4', '-q', '-F', img)
lost = torn = ops = synced_ops = 0
print('seed', SEED, flush=True)
try:
    run('mount', '-o', 'loop', img, disk)
    run(KFS, 'init', KIND + ':' + disk + '/store')
    known = {}            # path -> list of acceptable contents: last synced, then everything written since
    for rnd in range(ROUNDS):
        run(KFS, 'mount', disk + '/store', mnt)
        # what is there must be the last synced version or a later one
        for path, versions in list(known.items()):
            full = mnt + '/' + path
            try: got = open(full, 'rb').read()
            except FileNotFoundError: got = None
            if got not in versions:
                if got is None: lost += 1; print('round', rnd, 'LOST', path)
                else: torn += 1; print('round', rnd, 'WRONG', path, len(got), [None if v is None else len(v) for v in versions])
            known[path] = [got]
        pid = json.loads(run(KFS, 'status', disk + '/store', '--json').stdout)['pid']
        stop = threading.Event(); lock = threading.Lock()
        def worker(n):
            global ops, synced_ops
            g = random.Random(SEED * 1000003 + rnd * 101 + n)
            d = 'd%d' % n
            try:
                os.makedirs(mnt + '/' + d, exist_ok=True)
                while not stop.is_set():
                    path = '%s/f%d' % (d, g.randrange(30))
                    size = g.choice([0, 5, 300, 5000, 70000, 300000])
                    data = g.randbytes(size) if g.random() < .5 else (b'%d ' % g.randrange(10**9)) * (size // 10)
                    mode = g.randrange(4)
                    with lock: known.setdefault(path, [None]).append(data); mine = known[path]
                    if mode == 0:      # write without sync
                        with open(mnt + '/' + path, 'wb') as f: f.write(data)
                        # an overwrite is old or new
                    elif mode in (1, 2):
                        with open(mnt + '/' + path, 'wb') as f:
                            f.write(data); f.flush(); os.fsync(f.fileno())
                            if not stop.is_set():
                                with lock: mine[:] = [data]
                                synced_ops += 1
                    else:              # durable replace
                        t = mnt + '/' + path + '.tmp'
                        with open(t, 'wb') as f: f.write(data); f.flush(); os.fsync(f.fileno())
                        os.rename(t, mnt + '/' + path)
                        fd = os.open(mnt + '/' + d, os.O_RDONLY); os.fsync(fd); os.close(fd)
                        if not stop.is_set():
                            with lock: mine[:] = [data]
                            synced_ops += 1
                    ops += 1
            except OSError: pass
        def gc():
            while not stop.is_set():
                p = subprocess.Popen([KFS, 'gc', disk + '/store'], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                while p.poll() is None and not stop.is_set(): time.sleep(.01)
                if p.poll() is None: p.kill(); p.wait()   # it must not take the place of the daemon
        ts = [threading.Thread(target=worker, args=(n,)) for n in range(4)] + [threading.Thread(target=gc)]
        for t in ts: t.start()
        time.sleep(random.Random(SEED + rnd).uniform(.2, 2.2))
        stop.set()             # what returns from now on does not count as acknowledged
        fd = os.open(disk, os.O_RDONLY)
        fcntl.ioctl(fd, SHUTDOWN, ctypes.c_uint32(NOLOGFLUSH)); os.close(fd)
        os.kill(pid, signal.SIGKILL)
        for t in ts: t.join()
        umount(mnt)
        for _ in range(100):
            if subprocess.run(['umount', disk], capture_output=True).returncode == 0: break
            time.sleep(.05)
        run('mount', '-o', 'loop', img, disk)
    print('%d rounds, %d operations, %d synced: %d lost, %d wrong' % (ROUNDS, ops, synced_ops, lost, torn))
finally:
    umount(mnt); umount(disk); shutil.rmtree(base, ignore_errors=True)
sys.exit(1 if lost or torn else 0)
