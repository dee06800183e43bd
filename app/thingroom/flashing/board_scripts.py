"""What is run on the board through the raw REPL: small MicroPython programs, each prints JSON. Pure texts.

They use nothing but MicroPython, except IDENTITY, which uses the firmware that was copied before. repl.py sends them.
"""

from __future__ import annotations

# What runs there, and how much room there is.
ABOUT = """
import sys, os, json, gc
gc.collect()
i = sys.implementation
s = os.statvfs('/')
print(json.dumps({'name': i.name, 'version': list(i.version[:3]), 'machine': getattr(i, '_machine', ''),
    'mpy': getattr(i, '_mpy', 0), 'platform': sys.platform, 'block': s[0], 'blocks': s[2], 'free': s[3],
    'heap': gc.mem_free()}))
"""

# Which thingroom is there, and whose key: reads, changes nothing.
INSIDE = """
import json, sys, binascii
told = {'version': '', 'kid': ''}
try:
    with open('/node.json') as f:
        told['name'] = json.load(f).get('name', '')
except (OSError, ValueError):
    pass
try:
    for p in ('/app/a', '/app/b'):
        sys.path.insert(0, p)
    import thingroom_node
    told['version'] = thingroom_node.VERSION
    from thingroom_node import durable, identity
    if durable.exists(identity.identity_path('/state')):
        told['kid'] = identity.open_identity('/state').kid
except Exception as e:
    told['trouble'] = repr(e)
print(json.dumps(told))
"""

# SHA-256 of each of `paths`, "" where there is no such file; and what else lies in /app.
DIGESTS = """
import os, json, hashlib, binascii, gc
b = bytearray(512)
v = memoryview(b)
def digest(p):
    try:
        f = open(p, 'rb')
    except OSError:
        return ''
    h = hashlib.sha256()
    while True:
        n = f.readinto(b)
        if not n:
            break
        h.update(v[:n])
    f.close()
    return binascii.hexlify(h.digest()).decode()
def walk(p, out):
    try:
        entries = list(os.ilistdir(p))
    except OSError:
        return
    for e in entries:
        q = p + '/' + e[0]
        if e[1] == 0x4000:
            walk(q, out)
        else:
            out.append(q)
there = []
walk('/app', there)
print(json.dumps({'digests': [digest(p) for p in PATHS], 'there': there}))
"""

# Makes the folders of `FOLDERS`, parents first; those that are there stay.
FOLDERS = """
import os
for p in FOLDERS:
    try:
        os.mkdir(p)
    except OSError:
        os.stat(p)
print('{}')
"""

REMOVE = """
import os
for p in PATHS:
    try:
        os.remove(p)
    except OSError:
        pass
os.sync() if hasattr(os, 'sync') else None
print('{}')
"""

# Without main.py the board starts into nothing but its REPL, where no watchdog bites.
HOLD = """
import os
try:
    os.remove('/main.py')
    print('{"held": true}')
except OSError:
    print('{"held": false}')
"""

RESTART = """
import machine
getattr(machine, 'reset', machine.soft_reset)()
"""

BOOT_LOADER = """
import machine
machine.bootloader()
"""

# Everything off the file system. A Pico's is erased block by block, so that no old key stays in the flash.
WIPE = """
import os, sys
if sys.platform == 'rp2':
    import rp2
    f = rp2.Flash()
    os.umount('/')
    for n in range(f.ioctl(4, 0)):
        f.ioctl(6, n)
    os.VfsLfs2.mkfs(f, progsize=256)
    os.mount(os.VfsLfs2(f, progsize=256), '/')
else:
    def clear(p):
        for e in list(os.ilistdir(p or '/')):
            q = p + '/' + e[0]
            if e[1] == 0x4000:
                clear(q)
                os.rmdir(q)
            else:
                os.remove(q)
    clear('')
print('{}')
"""

# The device's public keys. On the first time the keys are made here, on the board, and only the public ones leave it.
IDENTITY = """
import sys, json, gc
gc.collect()
sys.path.insert(0, '/app/a')
from binascii import hexlify
from thingroom_wire import ed25519
ed25519.prepare()
from thingroom_node import durable, identity
from thingroom_node.counters import open_counters
durable.make_directory('/state')
is_new = not durable.exists(identity.identity_path('/state'))
if is_new:
    open_counters('/state/counters', True)
i = identity.open_identity('/state')
print(json.dumps({'new': is_new, 'kid': i.kid, 'key': hexlify(i.public).decode(),
    'agreement_key': hexlify(i.agreement_public).decode()}))
"""
