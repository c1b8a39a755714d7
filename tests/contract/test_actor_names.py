"""Names of actors, and namespaces of names."""

from __future__ import annotations

import haz
import pytest
from haz import exceptions
from haz.testing import wait_until
from haz.util import list_named_actors


@haz.remote
class Store:
    def __init__(self, value=0):
        self.value = value

    def set(self, value):
        self.value = value

    def get(self):
        return self.value


def test_get_actor(engine):
    store = Store.options(name="store").remote(1)
    found = haz.get_actor("store")
    assert found == store
    assert haz.get(found.get.remote()) == 1
    found.set.remote(2)
    assert haz.get(found.get.remote()) == 2
    with pytest.raises(TypeError, match="missing a required argument"):
        found.set.remote()


def test_get_actor_in_a_task_and_in_an_actor(engine):
    store = Store.options(name="store").remote(1)

    @haz.remote
    def read():
        return haz.get(haz.get_actor("store").get.remote())

    @haz.remote
    class Reader:
        def read(self):
            return haz.get(haz.get_actor("store").get.remote())

    assert haz.get([read.remote(), Reader.remote().read.remote()]) == [1, 1]
    assert haz.get(store.get.remote()) == 1


def test_actor_named_in_a_task(engine):
    @haz.remote
    def make():
        return Store.options(name="made").remote(5)

    store = haz.get(make.remote())
    assert haz.get_actor("made") == store
    assert haz.get(haz.get_actor("made").get.remote()) == 5


@pytest.mark.parametrize("name", ["nothing", "stor", "Store"])
def test_unknown_name(engine, name):
    store = Store.options(name="store").remote()
    with pytest.raises(ValueError, match=f"no actor of the name '{name}'"):
        haz.get_actor(name)
    assert haz.get_actor("store") == store


def test_wrong_names(engine):
    with pytest.raises(ValueError, match="empty"):
        haz.get_actor("")
    with pytest.raises(TypeError, match="string"):
        haz.get_actor(None)
    with pytest.raises(TypeError, match="string"):
        haz.get_actor("a", namespace=1)
    with pytest.raises(ValueError, match="empty"):
        haz.get_actor("a", namespace="")
    with pytest.raises(ValueError, match="empty"):
        Store.options(name="")


def test_name_in_use(engine):
    store = Store.options(name="store").remote(1)
    with pytest.raises(exceptions.ActorAlreadyExistsError, match="get_if_exists") as caught:
        Store.options(name="store").remote(2)
    assert isinstance(caught.value, ValueError)
    assert haz.get(store.get.remote()) == 1
    assert list_named_actors() == ["store"]


def test_get_if_exists(engine):
    Shared = Store.options(name="shared", get_if_exists=True)
    first = Shared.remote(1)
    second = Shared.remote(2)
    assert first == second
    assert haz.get(second.get.remote()) == 1
    with pytest.raises(TypeError, match="too many"):
        Shared.remote(1, 2)


def test_get_if_exists_of_another_class(engine):
    @haz.remote
    class Other:
        def shout(self):
            return "!"

    store = Store.options(name="shared").remote(1)
    found = Other.options(name="shared", get_if_exists=True).remote()
    assert found == store
    assert haz.get(found.get.remote()) == 1
    assert not hasattr(found, "shout")


def test_get_if_exists_in_tasks(engine, tally):
    @haz.remote
    class Once:
        def __init__(self):
            tally.add()

        def id(self):
            return haz.get_runtime_context().get_actor_id()

    @haz.remote
    def use():
        once = Once.options(name="once", get_if_exists=True).remote()
        return haz.get(once.id.remote())

    kept = Once.options(name="once", get_if_exists=True).remote()
    ids = haz.get([use.remote() for _ in range(8)])
    assert set(ids) == {kept._actor_id.hex()}
    assert tally.count() == 1


def test_namespaces(engine):
    here = Store.options(name="store").remote("here")
    there = Store.options(name="store", namespace="there").remote("there")
    assert here != there
    assert haz.get_actor("store") == here
    assert haz.get_actor("store", namespace="there") == there
    assert haz.get_actor("store", namespace=haz.get_runtime_context().namespace) == here
    with pytest.raises(ValueError, match="nowhere"):
        haz.get_actor("store", namespace="nowhere")


def test_namespace_of_the_driver(engine_name):
    haz.init(engine=engine_name, num_cpus=1, namespace="mine")
    store = Store.options(name="store").remote()
    assert haz.get_actor("store", namespace="mine") == store
    assert list_named_actors(all_namespaces=True) == [{"name": "store", "namespace": "mine"}]

    @haz.remote
    def read():
        return haz.get_actor("store", namespace="mine") == haz.get_actor("store")

    assert haz.get(read.remote())


def test_list_named_actors(engine):
    assert list_named_actors() == []
    kept = [
        Store.options(name="b").remote(),
        Store.options(name="a").remote(),
        Store.options(name="c", namespace="other").remote(),
        Store.remote(),
    ]
    haz.get([store.get.remote() for store in kept])
    assert sorted(list_named_actors()) == ["a", "b"]
    own = haz.get_runtime_context().namespace
    found = list_named_actors(all_namespaces=True)
    assert sorted(found, key=lambda item: item["name"]) == [
        {"name": "a", "namespace": own},
        {"name": "b", "namespace": own},
        {"name": "c", "namespace": "other"},
    ]


def test_name_is_free_after_the_last_handle(engine):
    store = Store.options(name="store").remote(1)
    found = haz.get_actor("store")
    del store
    assert haz.get(found.get.remote()) == 1
    del found
    wait_until(lambda: list_named_actors() == [], "the actor ends")
    again = Store.options(name="store").remote(2)
    assert haz.get(again.get.remote()) == 2


def test_name_is_free_after_kill(engine):
    store = Store.options(name="store").remote(1)
    haz.get(store.get.remote())
    haz.kill(store)
    wait_until(lambda: list_named_actors() == [], "the actor ends")
    with pytest.raises(ValueError, match="has died"):
        haz.get_actor("store")
    again = Store.options(name="store").remote(2)
    assert haz.get(again.get.remote()) == 2


def test_name_is_free_after_a_failed_constructor(engine):
    @haz.remote
    class Broken:
        def __init__(self):
            raise ValueError("no")

        def get(self):
            return 1

    broken = Broken.options(name="store").remote()
    with pytest.raises(exceptions.ActorDiedError):
        haz.get(broken.get.remote())
    wait_until(lambda: list_named_actors() == [], "the actor ends")
    again = Store.options(name="store").remote(2)
    assert haz.get(again.get.remote()) == 2


def test_names_of_an_earlier_run_are_gone(engine, engine_name):
    Store.options(name="store", namespace="same").remote()
    haz.shutdown()
    haz.init(engine=engine_name, num_cpus=1)
    with pytest.raises(ValueError, match="no actor"):
        haz.get_actor("store", namespace="same")


def test_handle_by_name_keeps_the_actor(engine):
    store = Store.options(name="store").remote(3)
    holder = haz.put(haz.get_actor("store"))
    del store
    assert haz.get(haz.get(holder).get.remote()) == 3
    assert list_named_actors() == ["store"]
