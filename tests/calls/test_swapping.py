import math
import threading
import types

import pytest

from spikegraph.calls.swapping import Swaps


class Base:
    def twice(self, x):
        return 2 * x

    @classmethod
    def name(cls):
        return cls.__name__


class Part(Base):
    def once(self, x):
        return x


def in_thread(function):
    """What a function returns in another thread."""
    found = []
    thread = threading.Thread(target=lambda: found.append(function()))
    thread.start()
    thread.join()
    return found[0]


def negated(function):
    return lambda *args: -function(*args)


def module():
    made = types.ModuleType('made')
    made.root = math.sqrt
    return made


def test_other_threads_find_what_was_there():
    names, place = {'root': math.sqrt}, module()
    with Swaps() as swaps:
        swaps.put(Part, 'once', negated)
        swaps.put(Part, 'twice', negated)
        swaps.put(names, 'root', negated)
        swaps.put(place, 'root', negated)

        def values():
            part = Part()
            return part.once(1), part.twice(1), names['root'](4), place.root(4)

        assert values() == (-1, -2, -2, -2)
        assert in_thread(values) == (1, 2, 2, 2)
        assert in_thread(lambda: place.root) is math.sqrt
        assert Base().twice(1) == 2
    assert values() == (1, 2, 2, 2)
    assert type(place) is types.ModuleType and place.root is math.sqrt
    assert names == {'root': math.sqrt} and 'twice' not in vars(Part)


def test_all_comes_back_in_any_order():
    """Threads that overlap, and one that swaps twice."""
    place, entered, left = module(), threading.Event(), threading.Event()
    twice, once = vars(Part).get('twice'), vars(Part)['once']
    found = []

    def other():
        with Swaps() as swaps:
            swaps.put(place, 'root', negated)
            swaps.put(Part, 'twice', negated)
            entered.set()
            assert left.wait(60)
            found.append((place.root(9), Part().twice(1)))

    with pytest.raises(KeyError), Swaps() as swaps:
        swaps.put(Part, 'twice', negated)
        swaps.put(Part, 'twice', negated)
        swaps.put(place, 'root', negated)
        swaps.put(Part, 'once', negated)
        thread = threading.Thread(target=other)
        thread.start()
        assert entered.wait(60)
        assert Part().twice(1) == 2 and place.root(9) == -3
        raise KeyError
    assert place.root is math.sqrt and Part().twice(1) == 2
    assert vars(Part)['once'] is once
    left.set()
    thread.join()
    assert found == [(-3, -2)]
    assert type(place) is types.ModuleType and vars(Part).get('twice') is twice


def test_class_methods_and_what_others_set():
    place = module()
    with Swaps() as swaps:
        swaps.put(
            *(Part, 'name', negated, lambda cls: len(super(Part, cls).name())),
            wrap=classmethod,
        )
        swaps.put(place, 'root', negated)
        assert (Part.name(), in_thread(Part.name)) == (-4, 4)
        in_thread(lambda: setattr(place, 'root', math.exp))
        assert in_thread(lambda: place.root) is math.exp
    assert Part.name() == 'Part' and place.root is math.exp
