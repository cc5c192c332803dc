#!/usr/bin/env python3
"""usage: strace-kill.py [--all] [--seed N] [KFS]
Runs a session of kfs commands on a store, and one of file operations through a mount, again and again:
each time the process that holds the store is killed at another write, sync, rename, truncation or
removal, or that system call fails with EIO or ENOSPC. What was acknowledged must then be there, what
was under way done or not. Without --all a sample of the places. Ends with 1 if anything was wrong.
Needs strace, and FUSE for the second session."""
import collections, hashlib, os, random, re, shutil, subprocess, sys, tempfile, time

ARGS = sys.argv[1:]
ALL = '--all' in ARGS
SEED = int(ARGS[ARGS.index('--seed') + 1]) if '--seed' in ARGS else int(time.time())
PATHS = [a for i, a in enumerate(ARGS) if not a.startswith('--') and (i == 0 or ARGS[i - 1] != '--seed')]
KFS = os.path.abspath(PATHS[0] if PATHS else 'target/debug/kfs')
CALLS = ['write', 'writev', 'pwrite64', 'fsync', 'fdatasync', 'rename', 'renameat', 'renameat2', 'unlink',
         'unlinkat', 'ftruncate', 'fallocate', 'mkdir']
# A write that fails is one to a terminal or to the kernel's FUSE device as often as not.
FAILING = ['pwrite64', 'fsync', 'fdatasync', 'rename', 'ftruncate', 'fallocate', 'unlink']
MODES = [('signal=SIGKILL', '', CALLS), ('error=EIO', '', FAILING), ('error=EIO', '+', FAILING),
         ('error=ENOSPC', '+', ['pwrite64', 'ftruncate', 'fallocate', 'fdatasync', 'mkdir'])]
SAMPLE = 1.0 if ALL else 0.1
pick = random.Random(SEED)
base = tempfile.mkdtemp(prefix='kfs-strace.')
store, mnt, mirror = base + '/s', base + '/mnt', base + '/mirror'
env = dict(os.environ, XDG_RUNTIME_DIR=base + '/run', EDITOR=base + '/editor', RUST_BACKTRACE='0')
env.pop('VISUAL', None)
table = collections.defaultdict(collections.Counter)
wrong = []


def kfs(*args, strace=(), **kw):
    return subprocess.run([*strace, KFS, *args], env=env, capture_output=True, text=True, timeout=120, cwd=base,
                          **kw)


def injection(call, how, k, plus):
    return ['strace', '-f', '-qq', '-o', '/dev/null', '-e', f'trace={call}', '-e',
            f'inject={call}:{how}:when={k}{plus}']


def counted(trace):
    """How often the busiest thread makes each call: strace counts by thread."""
    by_thread = collections.Counter(re.findall(r'^(\d+) +(\w+)\(', open(trace).read(), re.M))
    most = collections.Counter()
    for (_, call), n in by_thread.items():
        most[call] = max(most[call], n)
    return most


def note(session, mode, call, outcome, problem=None, detail=''):
    table[(session, mode, call)][outcome] += 1
    if problem:
        wrong.append(f'{session}, {mode} at {call} {detail}: {problem}')
        print(wrong[-1], flush=True)


def content():
    """The whole store as EDN; None if there is none."""
    out = kfs('export', 's', '/', '--as', 'edn', '-')
    if out.returncode == 3:
        return None
    if out.returncode:
        return f'status {out.returncode}: {out.stderr}'
    return out.stdout


def put_back(saved):
    shutil.rmtree(store, ignore_errors=True)
    if os.path.isdir(saved):
        shutil.copytree(saved, store)


# ---- a session of commands -------------------------------------------------------------------------

def commands():
    g = random.Random(7)
    with open(base + '/big', 'w') as f:
        f.write(''.join(g.choice('abcdefghij \n') for _ in range(400_000)))
    os.makedirs(base + '/tree/sub')
    for n in range(20):
        with open(f'{base}/tree/sub/f{n}', 'w') as f:
            f.write(f'file {n}\n' * 30)
    with open(base + '/editor', 'w') as f:
        f.write('#!/bin/sh\necho \'{"edited" true}\' > "$1"\n')
    os.chmod(base + '/editor', 0o755)
    verbs = [['init', 's'], ['put', 's', 'm', '{"a" 1, "b" {"c" 2}}'], ['put', 's', 'm/b/c', '3'],
             ['put', 's', 'big', '--as', 'text', '--file', 'big'], ['import', 's', 'tree', 'tree'],
             ['cp', 's', 'm', 'm2'], ['mv', 's', 'm2', 'tree/m2'], ['edit', 's', 'm'], ['rm', 's', 'big'],
             ['rm', '-r', 's', 'tree']]
    states = [None]
    for i, verb in enumerate(verbs):
        saved = f'{base}/saved{i}'
        if os.path.isdir(store):
            shutil.copytree(store, saved)
        trace = base + '/trace'
        done = kfs(*verb, strace=['strace', '-f', '-qq', '-o', trace, '-e', 'trace=' + ','.join(CALLS)])
        if done.returncode:
            sys.exit(f'{verb}: {done.stderr}')
        counts = counted(trace)
        states.append(content())
        after = f'{base}/after'
        os.rename(store, after)
        for how, plus, calls in MODES:
            mode = how.split('=')[1] + (' from then on' if plus else '')
            for call in calls:
                for k in range(1, counts[call] + 1):
                    if pick.random() > SAMPLE:
                        continue
                    put_back(saved)
                    out = kfs(*verb, strace=injection(call, how, k, plus))
                    found = content()
                    if verb[0] == 'import' and out.returncode and found not in states[i:i + 2]:
                        # A directory is taken in file by file; what was there before is untouched.
                        kfs('rm', '-r', 's', 'tree')
                        found = content()
                    outcome = 'done' if out.returncode == 0 else 'not done' if found == states[i] else 'done, not said'
                    problem = None
                    if 'panicked' in out.stderr:
                        problem = 'it panicked: ' + out.stderr
                    elif out.returncode == 0 and found != states[i + 1]:
                        problem = f'it said it was done, and there is {str(found)[:200]}'
                    elif found not in (states[i], states[i + 1]) and not (i == 0 and found in (None, '{}\n')):
                        problem = f'neither old nor new: {str(found)[:200]}'
                    elif kfs('init', 's').returncode not in ((0,) if found is None else (4,)):
                        problem = 'init says something else than before'
                    elif kfs('put', 's', 'afterwards', '1').returncode:
                        problem = 'the store cannot be written any more'
                    note('commands', mode, call, outcome, problem, f'number {k} of {" ".join(verb)}')
        shutil.rmtree(store, ignore_errors=True)
        os.rename(after, store)
    shutil.rmtree(store)


# ---- a session through a mount ---------------------------------------------------------------------

def put(name, data, sync=False, at=None):
    def do(top):
        fd = os.open(f'{top}/{name}', os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if at is None else 0))
        try:
            os.pwrite(fd, data, at or 0)
            if sync:
                os.fsync(fd)
        finally:
            os.close(fd)
    return f'write {name}', do


def sync_dir(name):
    def do(top):
        fd = os.open(f'{top}/{name}', os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
    return f'sync {name}', do


def operations():
    g = random.Random(5)
    yield 'mkdir d', lambda t: os.mkdir(t + '/d')
    yield put('d/a', b'hello\n')
    yield put('d/big', g.randbytes(300_000))
    yield put('d/a', b'hello again\n')
    yield put('d/big', g.randbytes(5000), sync=True, at=100_000)
    yield 'rename d/a d/b', lambda t: os.rename(t + '/d/a', t + '/d/b')
    yield 'symlink', lambda t: os.symlink('b', t + '/d/link')
    yield 'chmod', lambda t: os.chmod(t + '/d/b', 0o640)
    yield put('d/.b', g.randbytes(9000), sync=True)
    yield 'rename over', lambda t: os.rename(t + '/d/.b', t + '/d/b')
    yield sync_dir('d')
    yield 'setxattr', lambda t: os.setxattr(t + '/d/b', 'user.x', b'value')
    yield 'truncate', lambda t: os.truncate(t + '/d/big', 70_000)
    yield 'mkdir d/e', lambda t: os.mkdir(t + '/d/e')
    yield put('top', b'4\n', sync=True)
    yield 'rename d f', lambda t: os.rename(t + '/d', t + '/f')
    yield sync_dir('')
    yield 'unlink', lambda t: os.unlink(t + '/f/b')
    yield 'rmdir', lambda t: os.rmdir(t + '/f/e')


def walk(top):
    found = {}
    for where, dirs, files in os.walk(top):
        for name in dirs + files:
            path = os.path.join(where, name)
            stat = os.lstat(path)
            if os.path.islink(path):
                value = os.readlink(path)
            elif os.path.isdir(path):
                value = 'directory'
            else:
                with open(path, 'rb') as f:
                    value = hashlib.sha256(f.read()).hexdigest()
            xattrs = sorted((n, os.getxattr(path, n)) for n in os.listxattr(path, follow_symlinks=False)
                            if n.startswith('user.x')) if not os.path.islink(path) else []
            mode = stat.st_mode if not os.path.islink(path) else 0
            found[os.path.relpath(path, top)] = (mode, value, xattrs)
    return found


def is_mounted():
    with open('/proc/self/mountinfo') as f:
        return any(line.split()[4] == mnt for line in f)


def detach():
    for _ in range(20):
        if not is_mounted():
            return
        if subprocess.run(['umount', '-l', mnt], capture_output=True).returncode:
            subprocess.run(['fusermount3', '-u', '-z', mnt], capture_output=True)
        time.sleep(.05)


def session(strace, ops):
    """Mounts, does the operations, unmounts. Gives how many were acknowledged, whether an error
    stopped it, and whether the end was."""
    daemon = subprocess.Popen([*strace, KFS, 'mount', '-f', store, mnt], env=env, stdout=subprocess.DEVNULL,
                              stderr=open(base + '/log', 'w'), cwd=base)
    acknowledged, stopped, clean = 0, None, False
    try:
        for _ in range(2000):
            if is_mounted() or daemon.poll() is not None:
                break
            time.sleep(.01)
        if daemon.poll() is None:
            try:
                for _, do in ops:
                    do(mnt)
                    acknowledged += 1
            except OSError as e:
                stopped = e
            out = kfs('umount', mnt)
            clean = out.returncode == 0
        else:
            stopped = 'mount'
    finally:
        detach()
        try:
            daemon.wait(30 if clean else 2)
        except subprocess.TimeoutExpired:
            children = subprocess.run(['ps', '-o', 'pid=', '--ppid', str(daemon.pid)], capture_output=True, text=True)
            for pid in children.stdout.split() + [str(daemon.pid)]:
                subprocess.run(['kill', '-9', pid], capture_output=True)
            daemon.wait()
    return acknowledged, stopped, clean


def through_mount():
    os.umask(0o022)
    ops = list(operations())
    os.mkdir(mirror); os.mkdir(mnt)
    states = [{}]
    for _, do in ops:
        do(mirror)
        states.append(walk(mirror))
    kfs('init', 's')
    saved = base + '/empty'
    shutil.copytree(store, saved)
    trace = base + '/trace'
    done = session(['strace', '-f', '-qq', '-o', trace, '-e', 'trace=' + ','.join(CALLS)], ops)
    if done != (len(ops), None, True):
        sys.exit(f'the session through a mount does not even work undisturbed: {done}')
    counts = counted(trace)
    for how, plus, calls in MODES:
        mode = how.split('=')[1] + (' from then on' if plus else '')
        for call in calls:
            for k in range(1, counts[call] + 1):
                if pick.random() > max(SAMPLE, 0.3):
                    continue
                put_back(saved)
                acknowledged, stopped, clean = session(injection(call, how, k, plus), ops)
                problem = None
                if 'panicked' in open(base + '/log').read():
                    problem = 'it panicked'
                out = kfs('mount', store, mnt)
                if out.returncode:
                    problem = f'cannot be mounted again: {out.stderr}'
                else:
                    try:
                        found = walk(mnt)
                    except OSError as e:
                        found = {'': str(e)}
                    kfs('umount', mnt)
                    possible = states[acknowledged:acknowledged + 2 if stopped else acknowledged + 1]
                    if found not in possible:
                        old = possible[0]
                        names = [n for n in old.keys() | found.keys() if old.get(n) != found.get(n)]
                        problem = (f'{acknowledged} of {len(ops)} acknowledged, stopped by {stopped}; '
                                   f'other than expected: {names[:5]}')
                outcome = 'ended' if clean and not stopped else 'stopped'
                note('mount', mode, call, outcome, problem, f'number {k}')
                detach()


print('seed', SEED, flush=True)
os.mkdir(base + '/run')
try:
    commands()
    through_mount()
    print(f'{"session":10} {"failure":18} {"at":10} {"times":>6}  outcomes')
    for (name, mode, call), outcomes in sorted(table.items()):
        said = ', '.join(f'{n} {outcome}' for outcome, n in sorted(outcomes.items()))
        print(f'{name:10} {mode:18} {call:10} {sum(outcomes.values()):6}  {said}')
    print(f'{sum(sum(o.values()) for o in table.values())} failures on purpose, {len(wrong)} wrong')
finally:
    detach()
    shutil.rmtree(base, ignore_errors=True)
sys.exit(1 if wrong else 0)
