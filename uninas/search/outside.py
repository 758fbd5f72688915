"""The strategy `outside`: a program of the user's is asked for every candidate, and told what came of earlier ones.

It is a command, which gets one question a line as JSON on its standard input and answers with one line of JSON on its
standard output; or a Python function from a question to an answer. Every question says all there is to know, so a
proposer needs no memory, and a run that was stopped goes on with a proposer that has just been started.

| in a question | what it is |
|---|---|
| number, tried | the candidate that is asked for, and how many of its answers were refused so far |
| space, objectives | name of the space; name and direction ('higher' or 'lower' is better) of every objective |
| budget | limits: metric, low, high, and `at`, the size of the images, where it is another than the candidate's own |
| parents | the best candidates: number, scores, params, flops, text; their answers in a space of choices |
| recent | the latest candidates: number, parent, edit, and scores or the failure |
| edits | some legal edits of the parents, drawn by the seed: what each does, and its record |
| errors | what was wrong with the answer before, as `uninas check --json` says it |

| answer | what it means |
|---|---|
| {"text": "network ..."} | an architecture; `parent` may say of whom it is a change |
| {"parent": 3, "edit": {...}} | an edit of candidate 3, as `uninas moves --json` writes it |
| {"parent": 3, "choices": {"width": "32"}} | in a space of choices: candidate 3 with other answers |

An answer that cannot be used is counted with the refused draws, under the words of the checker, and asked for again
with these words.
"""

from __future__ import annotations

import json
import queue
import random
import shlex
import subprocess
import threading
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import IO, Any, ClassVar, Self

from uninas.errors import NoLegalEdit, UninasError, error, in_a_line, shown
from uninas.language.alone import architecture
from uninas.language.printer import dumps
from uninas.mutate import ChoiceWalk, read_edit, record
from uninas.search.archive import Archive
from uninas.search.candidate import Candidate
from uninas.search.strategy import TRIES, Option, Strategy

VERSION = 1  # of questions and answers
MOST_ANSWER = 1 << 20  # characters of an answer
MOST_WORDS = 200  # of a refusal, as it is counted
GRACE = 5.0  # seconds that a command has to end when its input has ended


class Outside(Strategy):
    """Asks a program of the user's for every candidate: `--command`, or a function in Python.

    It is handed the best candidates with their texts and scores, the budget, some legal edits and the mistakes of its
    last answer, as JSON, and answers with a text or an edit (`search.outside`). After `tries` answers in a row that
    cannot be used the search stops, and can be gone on with.
    """

    ahead = 1
    options: ClassVar = {
        "parents": Option(4, 1, 64), "recent": Option(8, 0, 256), "edits": Option(4, 0, 64),
        "tries": Option(8, 1, 1000),
    }  # fmt: skip
    parents: int
    recent: int
    edits: int
    tries: int

    def __init__(self, archive: Archive, rungs: int = 1, **options: float):
        super().__init__(archive, rungs, **options)
        if archive.proposer is None:
            raise error("UNI071", "expected somebody to ask for candidates", None,
                        'name a command: --command "python propose.py"; in Python: proposer=FUNCTION')  # fmt: skip
        self._told: dict[int, Candidate] = {}
        self._latest: deque[int] = deque(maxlen=self.recent)
        self._origins: dict[int, tuple[int | None, str]] = {}

    def ask(self, rng: random.Random) -> Candidate:
        refused: Counter[str] = Counter()
        question = self._question(rng)
        problem: UninasError | None = None
        for tried in range(self.tries):
            errors = [one.as_dict() for one in problem.diagnostics] if problem else []
            answer = self._answered({**question, "tried": tried, "errors": errors})
            try:
                return replace(self._made(answer), refused=dict(refused))
            except UninasError as found:
                problem = found
                refused[shown(in_a_line(found), MOST_WORDS)] += 1
        assert problem is not None
        raise error("UNI071", f"{self.tries} answers in a row could not be used; the last: {in_a_line(problem)}", None,
                    "mend the proposer, then uninas resume; --strategy-option tries=20 has more patience")  # fmt: skip

    def parent(self, rng: random.Random) -> int | None:
        return self._best()[0]

    def begun(self, number: int, candidate: Candidate) -> None:
        self._origins[number] = candidate.parent, str(candidate.edit) if candidate.edit else ""

    def tell(self, outcome: Candidate) -> None:
        self._told[outcome.number] = outcome
        self._latest.append(outcome.number)

    # ---- the question --------------------------------------------------------------------------------------------

    def _question(self, rng: random.Random) -> dict[str, Any]:
        plan, best = self.archive.plan, self._best()
        return {
            "version": VERSION,
            "number": len(self.archive),
            "space": plan.space.name,
            "objectives": [{"name": one.name, "better": one.direction or "higher"} for one in self.archive.objectives],
            "budget": [
                {"metric": limit.metric, "low": limit.low, "high": limit.high, "at": limit.at}
                for limit in plan.budget.limits
            ],
            "parents": [self._parent(number) for number in best],
            "recent": [self._recent(number) for number in self._latest],
            "edits": self._edits(best, rng),
        }

    def _best(self) -> list[int]:
        scored = [one for one in self._told.values() if one.merits is not None]
        ordered = sorted(scored, key=lambda one: (-(one.merit or 0.0), one.number))
        return [one.number for one in ordered[: self.parents]] or [0]

    def _scores(self, number: int) -> dict[str, float] | None:
        told = self._told.get(number)
        if told is None or told.merits is None:
            return None
        pairs = zip(self.archive.objectives, told.merits, strict=False)  # a lower rung has fewer
        return {one.name: -merit if one.direction == "lower" else merit for one, merit in pairs}

    def _parent(self, number: int) -> dict[str, Any]:
        graph, walk = self.archive.graph(number), self.archive.plan.walk
        answers = {"choices": walk.answers(graph)} if isinstance(walk, ChoiceWalk) else {}
        costs = {"params": graph.cost.params, "flops": graph.cost.flops}
        return {"number": number, "scores": self._scores(number), **costs, "text": dumps(graph), **answers}

    def _recent(self, number: int) -> dict[str, Any]:
        parent, edit = self._origins.get(number, (None, ""))
        return {"number": number, "parent": parent, "edit": edit, "scores": self._scores(number),
                "failure": self._told[number].failure}  # fmt: skip

    def _edits(self, best: Sequence[int], rng: random.Random) -> list[dict[str, Any]]:
        """Legal edits of the best in turn; of any candidate, where these have none."""
        found: list[dict[str, Any]] = []
        seen = set(self.archive.seen)
        for turn in range(self.edits):
            for parent in (best[turn % len(best)], *(rng.choice(self.archive.numbers) for _ in range(TRIES))):
                with suppress(NoLegalEdit):
                    one = self.archive.plan.walk.propose(self.archive.graph(parent), rng, seen)
                    seen.add(one.graph.key)
                    found.append({"parent": parent, "does": str(one.edit), "edit": record(one.edit)})
                    break
        return found

    # ---- the answer ----------------------------------------------------------------------------------------------

    def _answered(self, question: dict[str, Any]) -> Any:
        assert self.archive.proposer is not None
        return self.archive.proposer(question)

    def _made(self, answer: Any) -> Candidate:
        """The candidate that an answer means. Raises UninasError for one that means none."""
        if not isinstance(answer, Mapping):
            raise _no_answer(answer)
        parent = answer.get("parent")
        if parent is not None and (not isinstance(parent, int) or parent not in self.archive.keys):
            raise error(
                "UNI080", f"there is no candidate {shown(parent)}", None, "name one of the parents by its number"
            )
        text, edit, choices = (answer.get(name) for name in ("text", "edit", "choices"))
        if isinstance(text, str):
            return self.archive.handed(architecture(text, "answer"), parent, self.top)
        origin = self._best()[0] if parent is None else parent
        if isinstance(edit, Mapping):
            return self.archive.edited(read_edit(edit), origin, self.top)
        walk = self.archive.plan.walk
        if isinstance(choices, Mapping) and isinstance(walk, ChoiceWalk):
            values = {str(name): str(value) for name, value in choices.items()}
            return self.archive.handed(walk.named(values, self.archive.graph(origin)), origin, self.top)
        raise _no_answer(dict(answer))


def _no_answer(found: object) -> UninasError:
    hint = '{"text": "network ..."}, or {"parent": 3, "edit": {...}}, as in the question\'s edits'
    return error("UNI080", f"expected an answer with a text or an edit, but got {shown(found)}", None, hint)


class Command:
    """A command that answers questions, one a line. It is started with the first one, and again if it has ended.

    Words are split as a shell would; there is no shell. `patience` is the number of seconds that an answer may take.
    """

    def __init__(self, command: str, patience: float = 600.0):
        try:
            self.words = shlex.split(command)
        except ValueError as problem:
            raise error("UNI071", f"the command cannot be read: {problem}", None, "as in a shell") from None
        if not self.words:
            raise error("UNI071", "expected a command to ask for candidates, but got none")
        self.patience = patience
        self._process: subprocess.Popen[str] | None = None
        self._lines: queue.Queue[str] = queue.Queue()
        self._writer: threading.Thread | None = None

    def __call__(self, question: dict[str, Any]) -> Any:
        """The answer to a question; None for a line that is no JSON. Raises UNI071 where the command has ended."""
        process = self._running()
        text = json.dumps(question, ensure_ascii=False) + "\n"
        self._writer = threading.Thread(target=_write, args=(process.stdin, text), daemon=True)
        self._writer.start()  # beside this one, as it lasts until the command reads
        try:
            line = self._lines.get(timeout=self.patience)
        except queue.Empty:
            self.close()
            raise error("UNI071", f"{self.words[0]} gave no answer in {self.patience:g} seconds") from None
        if not line:
            self.close()
            raise error("UNI071", f"{self.words[0]} ended with code {process.returncode} and gave no answer", None,
                        "its own messages stand above; go on with uninas resume")  # fmt: skip
        try:
            return json.loads(line)
        except (ValueError, RecursionError):
            return line[:MOST_WORDS]

    def close(self) -> None:
        """End the command: its input ends, and then it is ended."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None and process.stdout is not None
        if self._writer is not None and self._writer.is_alive():  # it holds the door that is to be closed
            process.kill()
            self._writer.join()
        with suppress(OSError):
            process.stdin.close()
        try:
            process.wait(GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _running(self) -> subprocess.Popen[str]:
        if self._process is None or self._process.poll() is not None:
            self.close()
            try:
                process = subprocess.Popen(self.words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8",
                                           errors="replace")  # fmt: skip
            except OSError as problem:
                raise error("UNI071", f"cannot start {self.words[0]}: {problem.strerror or problem}") from None
            self._process, self._lines = process, queue.Queue()
            assert process.stdout is not None
            threading.Thread(target=_read, args=(process.stdout, self._lines), daemon=True).start()
        return self._process


def _read(stream: IO[str], lines: queue.Queue[str]) -> None:
    """Lines as they come, and an empty one at the end. What is too long for an answer is cut off."""
    with suppress(ValueError, OSError):
        while line := stream.readline(MOST_ANSWER):
            lines.put(line)
            while line and not line.endswith("\n"):  # the rest is no answer to the next question
                line = stream.readline(MOST_ANSWER)
    lines.put("")


def _write(stream: IO[str], text: str) -> None:
    with suppress(ValueError, OSError):  # the command has ended, which whoever waits for its answer is told
        stream.write(text)
        stream.flush()
