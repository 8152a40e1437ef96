"""Many processes at one catalogue, and processes killed at any moment, on either database."""

import random
import signal
import time

import pytest

from tests.registry.builders import make_basis, make_model

BOTH = True  # the contract of either catalogue


def together(worker, writers, readers, each):
    """Writers add `each` bases apiece while readers look; returns the longest waits of both."""
    processes = [worker("write", each * number, each) for number in range(writers)]
    watching = [worker("read", writers * each) for _ in range(readers)]
    everyone = processes + watching
    for process in everyone:
        assert process.stdout.readline() == "ready\n", process.stderr.read()
    begun = time.monotonic()
    for process in everyone:
        process.stdin.write("go\n")
        process.stdin.flush()
    waits = []
    for process in everyone:
        out, err = process.communicate(timeout=900)
        assert process.returncode == 0, err
        waits.append(float(out.split()[0]))
    return max(waits[:writers]), max(waits[writers:], default=0.0), time.monotonic() - begun


def check_all_there(registry, count):
    registry.add_model(make_model())
    assert registry.summary()["bases"] == count
    assert {one.basis_id for one in registry.find()} == {make_basis(n, rank=1).id for n in range(count)}
    assert registry.verify() == []


def test_writers_and_readers_at_once(registry, worker):
    together(worker, 3, 2, 8)
    check_all_there(registry, 24)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_eight_writers_of_200_bases_and_four_readers(registry, worker, backend, capsys):
    write, read, total = together(worker, 8, 4, 200)
    check_all_there(registry, 1600)
    with capsys.disabled():
        print(
            f"\n{backend}: 1600 transactions in {total:.1f} s ({1600 / total:.0f} a second), "
            f"longest wait of a writer {write:.2f} s, of a reader {read:.2f} s"
        )


def kill_at_any_moment(registry, home, worker, times):
    rng = random.Random(7)
    done = 0
    for _ in range(times):
        process = worker("die_adding", done)
        line = process.stdout.readline()
        assert line, process.stderr.read()
        time.sleep(rng.uniform(0.01, 0.25))
        process.kill()
        out, _ = process.communicate()
        assert process.returncode == -signal.SIGKILL
        done = max([done, *(int(word) + 1 for word in (line + out).split())])
        # What was reported is there, whole.
        assert registry.summary()["bases"] >= done
        troubles = [
            one for one in registry.verify() if one.trouble not in ("half written", "not in the catalogue")
        ]
        assert troubles == []
        # A file whose row never came is one command away.
        orphans = [one for one in registry.verify() if one.trouble == "not in the catalogue"]
        assert len(orphans) <= 1
        if orphans:
            registry.index(orphans[0].subject.rsplit("/", 1)[1].removesuffix(".safetensors"))
        registry.collect(registry.garbage())
        assert registry.verify() == []
    assert {one.basis_id for one in registry.find()} >= {make_basis(number).id for number in range(done)}


def test_a_killed_writer(registry, home, worker):
    kill_at_any_moment(registry, home, worker, 2)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_writer_killed_thirty_times(registry, home, worker):
    kill_at_any_moment(registry, home, worker, 30)


def test_busy_names_who_writes(registry, home, url, backend, worker):
    """Whoever waits too long is told for whom."""
    from loco.errors import RegistryBusy
    from registry.registry import Registry

    registry.add_model(make_model())
    process = worker("hold_turn")
    assert process.stdout.readline() == "held\n", process.stderr.read()
    with pytest.raises(
        RegistryBusy, match=r"is held by .*(process|server process) \d+.*\(waited 0.3 s\); wait for it"
    ) as caught:
        Registry(home, url, timeout=0.3).add_model(make_model())
    if backend == "postgresql":
        assert f":{process.pid} " in str(caught.value)
        assert Registry(home, url, timeout=0.3).models() == [make_model()]  # readers go on
    else:
        assert f"process {process.pid} " in str(caught.value)
    process.communicate("\n")
    registry.add_model(make_model("later"))
