"""Every check of wire_checks.py under CPython and, in one child process, under MicroPython."""

from pathlib import Path

import pytest
from tests.micropython_runner import compile_package, run_file, run_source
from tests.wire import wire_checks

HERE = Path(__file__).resolve().parent
VECTORS = HERE.parent / "vectors"


@pytest.mark.parametrize("name", sorted(wire_checks.CHECKS))
def test_vectors_on_cpython(name: str) -> None:
    assert wire_checks.CHECKS[name](str(VECTORS)) > 0


@pytest.fixture(scope="module")
def micropython_results() -> dict[str, str]:
    lines = run_file(HERE / "wire_checks.py", str(VECTORS)).splitlines()
    return dict(line.split("\t", 1) for line in lines)


@pytest.mark.parametrize("name", sorted(wire_checks.CHECKS))
def test_vectors_on_micropython(name: str, micropython_results: dict[str, str]) -> None:
    assert micropython_results[name].isdecimal(), micropython_results[name]
    assert int(micropython_results[name]) > 0


def test_sha512_is_machine_code_on_a_port_that_compiles_it() -> None:
    source = (
        "from thingroom_wire import sha512, sha512_portable\nprint(sha512.sha512 is sha512_portable.sha512_portable)"
    )
    assert run_source(source) == "False\n"


def test_secrets_are_machine_code_on_a_port_that_compiles_it() -> None:
    source = (
        "from thingroom_wire import ed25519, ed25519_points\n"
        "print(isinstance(ed25519._secrets(), ed25519_points.PortableSecrets))"
    )
    assert run_source(source) == "False\n"


def test_a_signature_fits_a_small_heap(tmp_path: Path) -> None:
    """120 kB with 64-bit objects, compiled ahead as on a board, whose objects are half as large."""
    source = """
import gc
from thingroom_wire import ed25519, envelope, hello
gc.collect()
before = gc.mem_alloc()
public = ed25519.public_key(bytes(32))
gc.collect()
print(gc.mem_alloc() - before)
assert ed25519.verify(public, bytes(300), ed25519.sign(bytes(32), bytes(300), public))
gc.collect()
verifying = gc.mem_alloc()
for number in range(5):
    assert ed25519.verify(public, bytes(300), ed25519.sign(bytes(32), bytes(300), public))
gc.collect()
print(gc.mem_alloc() - verifying)
gc.disable()
gc.collect()
full = gc.mem_alloc()
ed25519.sign(bytes(32), bytes(300), public)
print(gc.mem_alloc() - full)
"""
    compile_package("thingroom_wire", tmp_path)
    first, later, garbage = map(int, run_source(source, heap="120k", path=[tmp_path]).split())
    assert 6000 < first < 17000
    assert later < 1000
    assert garbage < 6000


def test_every_check_can_fail() -> None:
    assert not wire_checks.identical(1, True)
    assert not wire_checks.identical(1.0, 1)
    assert not wire_checks.identical([0.0], [-0.0])
    assert not wire_checks.identical({1: 2}, {1: 3})
    with pytest.raises(AssertionError):
        wire_checks.same(1, 2, "numbers")
