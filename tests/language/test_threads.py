"""Reading and building texts in many threads: what belongs to the whole process is put back by the last of them."""

import gc
import sys
import threading

import uninas

DEEP = "block B { out = in -> conv(C, 3) -> relu -> conv(C, 3) -> relu }"


def test_the_recursion_limit_and_the_collector_come_back_after_texts_read_in_threads():
    limit, found = sys.getrecursionlimit(), []
    start = threading.Barrier(8)

    def read(number: int) -> None:
        start.wait(30)
        for _ in range(15):
            found.append(uninas.load(DEEP).key)

    threads = [threading.Thread(target=read, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert len(found) == 120 and len(set(found)) == 1
    assert sys.getrecursionlimit() == limit and gc.isenabled()
