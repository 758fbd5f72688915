"""What a score switches in the whole process: it comes back, nothing trips over it, and threads take turns."""

import threading

import pytest
import torch
from helpers.fresh import fresh
from torch import nn

from uninas.proxies import score
from uninas.proxies.guard import float32_products

STATES = {
    "as torch begins": "",
    "medium": "torch.set_float32_matmul_precision('medium')",
    "the older switches": "torch.backends.cuda.matmul.allow_tf32 = True; torch.backends.cudnn.allow_tf32 = False",
    "the newer switches": "torch.backends.fp32_precision = 'tf32'",
    "the newer switch of convolutions": "torch.backends.cudnn.conv.fp32_precision = 'ieee'",
}
PROGRAM = """
import torch
from uninas.proxies.guard import float32_products
b = torch.backends
asked = {
    "matmul": torch.get_float32_matmul_precision,
    "cuda": lambda: b.cuda.matmul.allow_tf32,
    "cudnn": lambda: b.cudnn.allow_tf32,
    "deterministic": lambda: b.cudnn.deterministic,
} | {
    str(n): (lambda place=place: place.fp32_precision)
    for n, place in enumerate(
        (b, b.cuda.matmul, b.cudnn, b.cudnn.conv, b.cudnn.rnn, b.mkldnn, b.mkldnn.matmul, b.mkldnn.conv)
    )
}
def state():
    found = {}
    for name, ask in asked.items():
        try:
            found[name] = ask()
        except RuntimeError:
            found[name] = "torch does not say"
    return found
STATE
for tf32 in (False, True):
    before = state()
    with float32_products(tf32):
        inside = state()
    assert state() == before, (before, state())
    assert inside["1"] == inside["3"] == ("tf32" if tf32 else "ieee") and inside["6"] == "ieee", inside
    assert "torch does not say" not in inside.values() or "torch does not say" in before.values() or SPECIAL, inside
"""


@pytest.mark.parametrize("state", STATES)
def test_precisions_come_back_whatever_they_were(state):
    """Each in a process of its own: torch remembers which of its switches were used."""
    special = "True" if "newer" in state else "False"
    program = PROGRAM.replace("STATE", STATES[state]).replace("SPECIAL", special)
    done = fresh("-c", program)
    assert done.returncode == 0, done.stderr


def test_inside_both_sets_of_switches_answer():
    with float32_products():
        assert torch.get_float32_matmul_precision() == "highest"
        assert not torch.backends.cuda.matmul.allow_tf32 and not torch.backends.cudnn.allow_tf32


class Exports(nn.Module):
    """A module that asks torch about itself while it runs, as one that is exported inside a proxy does."""

    def __init__(self):
        super().__init__()
        self.conv, self.last = nn.Conv2d(3, 8, 3), nn.Linear(8, 4)
        self.asked = []

    def forward(self, x):
        self.asked.append((torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32))
        return self.last(self.conv(x).relu().mean((2, 3)))


def test_a_module_may_ask_about_precision_inside_a_score():
    module = Exports()
    score("snip", module, torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)))
    assert set(module.asked) == {(False, False)}


def test_threads_score_one_after_the_other_and_get_what_one_gets():
    images = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))

    def module() -> nn.Module:
        torch.manual_seed(0)
        return Exports()

    names = ("snip", "vkdnw", "jacov", "naswot", "trainability", "flops")
    modules = [module() for _ in range(6)]
    expected = {name: score(name, module(), images).value for name in names}
    found: list[tuple[str, float]] = []

    def work(number: int) -> None:
        for name in names[number:] + names[:number]:
            found.append((name, score(name, modules[number], images).value))

    state = torch.random.get_rng_state()
    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert len(found) == 36 and all(value == expected[name] for name, value in found)
    assert torch.equal(state, torch.random.get_rng_state())
    assert torch.get_float32_matmul_precision() == "highest" and torch.backends.mha.get_fastpath_enabled()
