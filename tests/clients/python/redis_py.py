"""redis-py's part of the story that every client library is told: see ../main.rs.

    redis_py.py single|cluster HOST:PORT…
"""

import sys
import threading
import time

import redis
from redis.cluster import ClusterNode, RedisCluster

PATIENCE = 20


def connect(mode, addresses, **options):
    if mode == "single":
        host, port = addresses[0]
        return redis.Redis(host=host, port=port, **options)
    nodes = [ClusterNode(host, port) for host, port in addresses]
    return RedisCluster(startup_nodes=nodes, **options)


def basics(client):
    binary = bytes(range(256))
    assert client.ping()
    assert client.set("basics", binary) and client.get("basics") == binary
    assert client.get("nothing") is None
    assert client.incrbyfloat("float", 1.5) == 1.5
    assert client.set("timed", "v", px=100_000) and 0 < client.pttl("timed") <= 100_000
    assert "redis_version" in client.info("server")
    try:
        client.incr("basics")
        raise AssertionError("bytes are no number")
    except redis.ResponseError as error:
        assert "not an integer" in str(error), error


def pipeline(client):
    pipe = client.pipeline(transaction=False)
    for n in range(200):
        pipe.set(f"pipe:{n}", n)
    for n in range(200):
        pipe.get(f"pipe:{n}")
    assert pipe.execute() == [True] * 200 + [b"%d" % n for n in range(200)]


def many_keys(client, mode):
    pairs = {f"many:{n}": str(n).encode() for n in range(50)}
    if mode == "single":
        assert client.mset(pairs) and client.mget(pairs) == list(pairs.values())
    else:
        # Split by slots in the library.
        client.mset_nonatomic(pairs)
        assert client.mget_nonatomic(list(pairs)) == list(pairs.values())
    assert client.delete(*pairs) == 50


def transaction(client):
    pipe = client.pipeline(transaction=True)
    pipe.set("{t}a", 1)
    pipe.incr("{t}a")
    pipe.get("{t}b")
    # The cluster client leaves OK as it came.
    assert pipe.execute() in ([True, 2, None], [b"OK", 2, None])


def watch(client):
    """Four workers that each add 10 by GET and SET, which only WATCH makes right."""

    def add(pipe):
        value = int(pipe.get("watched") or 0)
        pipe.multi()
        pipe.set("watched", value + 1)

    def work():
        for _ in range(10):
            client.transaction(add, "watched")

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert client.get("watched") == b"40", client.get("watched")


def lock(client):
    assert client.set("lock", "mine", nx=True, px=10_000)
    assert client.set("lock", "theirs", nx=True, px=10_000) is None
    assert client.execute_command("DELIFEQ", "lock", "theirs") == 0
    assert client.execute_command("DELIFEQ", "lock", "mine") == 1
    assert client.set("lock", "theirs", nx=True, px=10_000)


def scan(client):
    wanted = {b"scan:%d" % n for n in range(500)}
    for key in wanted:
        client.set(key, "v")
    assert set(client.scan_iter(match="scan:*", count=50)) == wanted


def reconnect(client):
    assert client.incr("reconnect") == 1
    kill("")
    assert until_it_works(lambda: client.get("reconnect")) == b"1"


def failover(client):
    """What was acknowledged before, while and after a leader is killed is there in the end."""
    acknowledged, failed, stop = [], [], threading.Event()

    def write():
        n = 0
        while not stop.is_set():
            n += 1
            try:
                # A key of the leader that is killed, and one of any.
                client.incr("counter")
                client.set(f"failover:{n}", n)
                acknowledged.append(n)
            except redis.RedisError as error:
                failed.append(error)
                time.sleep(0.01)

    def wait_for(count):
        deadline = time.monotonic() + PATIENCE
        while len(acknowledged) < count:
            assert time.monotonic() < deadline, (len(acknowledged), failed[-3:])
            time.sleep(0.01)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        wait_for(100)
        kill("counter")
        wait_for(len(acknowledged) + 100)
    finally:
        stop.set()
        writer.join()
    assert int(client.get("counter")) >= len(acknowledged)
    lost = [n for n in acknowledged if client.get(f"failover:{n}") != b"%d" % n]
    assert not lost, lost
    print(f"{len(acknowledged)} writes acknowledged, {len(failed)} errors", file=sys.stderr)


def kill(key):
    """Has the test kill the leader of a key, or the only node, which it starts again."""
    print("kill", key, flush=True)
    assert sys.stdin.readline() == "killed\n"


def until_it_works(call):
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return call()
        except redis.ConnectionError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def main():
    mode = sys.argv[1]
    addresses = [address.rsplit(":", 1) for address in sys.argv[2:]]
    addresses = [(host, int(port)) for host, port in addresses]
    for protocol in 2, 3:
        client = connect(mode, addresses, protocol=protocol)
        basics(client)
        pipeline(client)
        many_keys(client, mode)
        client.flushall()
        client.close()
    client = connect(mode, addresses)
    transaction(client)
    watch(client)
    lock(client)
    scan(client)
    if mode == "single":
        reconnect(client)
    else:
        failover(client)
    client.close()


main()
