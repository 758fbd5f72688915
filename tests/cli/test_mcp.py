"""The server of tools, spoken to by the client of the protocol's own SDK, over standard input and output."""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mcp")

from helpers.reports import searched
from mcp import ClientSession, StdioServerParameters, stdio_client

from uninas import load, score
from uninas.cli.mcp import TOOLS, server
from uninas.language.formatter import format_text

ROOT = Path(__file__).resolve().parents[2]
SMALL = """\
network small {
    input 3 x 32 x 32
    stem conv(8, 3) -> relu
    head global_avg_pool -> linear(10)
}
"""
AROUND = """\
from networks.micro_resnet import micro_resnet

space Around {
    start micro_resnet
    moves insert {gelu, conv(C, 1)}, remove
}
"""

Ask = Callable[..., Awaitable[Any]]


Talk = Callable[[ClientSession, Ask], Awaitable[None]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the server runs: a text, and a folder of runs."""
    made = tmp_path_factory.mktemp("here")
    (made / "small.uni").write_text(SMALL, encoding="utf-8")
    (made / "runs").mkdir()
    searched(made / "runs" / "first")
    return made


@pytest.fixture(scope="module")
def with_server(folder: Path) -> Iterator[Callable[[Talk], None]]:
    """What a test says to the server, one for all of them, as a real start takes seconds."""
    talks: asyncio.Queue[tuple[Talk, asyncio.Future[None]] | None] = asyncio.Queue()
    parameters = StdioServerParameters(
        command=sys.executable, args=["-m", "uninas", "mcp", "--runs", str(folder / "runs")], cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip

    async def serve() -> None:
        async with stdio_client(parameters) as (receive, send), ClientSession(receive, send) as session:
            await session.initialize()

            async def ask(tool: str, **given: Any) -> Any:
                answer = await session.call_tool(tool, given)
                words = "".join(getattr(part, "text", "") for part in answer.content)
                if answer.is_error:
                    raise ValueError(words)
                found = answer.structured_content or {}
                return found["result"] if set(found) == {"result"} else found or words

            while waiting := await talks.get():
                talk, done = waiting
                try:
                    done.set_result(await talk(session, ask))
                except BaseException as problem:
                    done.set_exception(problem)

    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        serving = loop.create_task(serve())

        def with_server(talk: Talk) -> None:
            done = loop.create_future()
            talks.put_nowait((talk, done))
            loop.run_until_complete(asyncio.wait((done, serving), return_when=asyncio.FIRST_COMPLETED))
            (done if done.done() else serving).result()

        yield with_server
        talks.put_nowait(None)
        loop.run_until_complete(serving)


def test_every_tool_is_listed_as_one_that_only_reads(with_server) -> None:
    without = asyncio.run(server().list_tools())
    assert {tool.name for tool in without} == {tool.__name__ for tool in TOOLS}

    async def talk(session: ClientSession, ask: Ask) -> None:
        tools = {tool.name: tool for tool in (await session.list_tools()).tools}
        assert set(tools) == {*(tool.name for tool in without), "runs", "status", "top"}
        assert all(tool.annotations and tool.annotations.read_only_hint for tool in tools.values())
        assert all(tool.description for tool in tools.values())

    with_server(talk)


def test_a_text_is_checked_mended_laid_out_and_summarised(with_server) -> None:
    async def talk(session: ClientSession, ask: Ask) -> None:
        wrong = SMALL.replace("relu", "rellu")
        found = await ask("check", text=wrong)
        (problem,) = found["problems"]
        assert (found["ok"], problem["code"], problem["suggestion"]) == (False, "UNI010", "relu")
        mended = wrong[: problem["span"]["start"]] + problem["suggestion"] + wrong[problem["span"]["end"] :]
        assert mended == SMALL
        assert (await ask("check", text=mended))["ok"]
        assert await ask("format", text=SMALL.replace(" -> ", "->")) == format_text(SMALL) == SMALL
        summary = await ask("summary", net=SMALL)
        assert summary["params"] == load(SMALL).cost.params == 8 * 3 * 9 + 8 + 8 * 10 + 10
        (conv,) = await ask("operation", name="conv")
        assert conv["attributes"][0]["name"] == "out"
        assert len(await ask("operation")) > 50
        with pytest.raises(ValueError, match=r"UNI020|UNI010"):
            await ask("summary", net=wrong)

    with_server(talk)


def test_a_move_that_is_listed_can_be_made(with_server) -> None:
    async def talk(session: ClientSession, ask: Ask) -> None:
        found = await ask("moves", net="micro_resnet", space=AROUND, limit=3)
        assert len(found) == 3
        for move in found:
            text = await ask("apply", net="micro_resnet", space=AROUND, edit=move["edit"])
            made = load(text)
            assert (made.key[:16], made.cost.params) == (move["key"], move["params"])
        with pytest.raises(ValueError, match="UNI080"):
            await ask("apply", net="micro_resnet", space=AROUND, edit={"kind": "none"})

    with_server(talk)


def test_no_tool_opens_a_file(folder, with_server) -> None:
    async def talk(session: ClientSession, ask: Ask) -> None:
        for tool in ("summary", "moves"):
            with pytest.raises(ValueError, match="expected a text"):
                await ask(tool, net=str(folder / "small.uni"))
        (problem,) = (await ask("check", text="from small import small\nblock A { out = in -> relu }"))["problems"]
        assert problem["code"] == "UNI017"

    with_server(talk)


def test_a_network_is_drawn_and_scored(with_server) -> None:
    async def talk(session: ClientSession, ask: Ask) -> None:
        assert "flowchart" in await ask("render", net=SMALL)
        assert (await ask("render", net="micro_resnet", form="svg")).lstrip().startswith("<svg")
        found = await ask("score", net=SMALL, proxy="params")
        assert found["value"] == load(SMALL).cost.params
        scored = await ask("score", net=SMALL, proxy="naswot", img_size=16)
        assert scored == await ask("score", net=SMALL, proxy="naswot", img_size=16)
        assert scored["value"] == score(load(SMALL, img_size=16), "naswot", batch_size=4).value
        with pytest.raises(ValueError, match="expected the name of a proxy"):
            await ask("score", net=SMALL, proxy="os:remove")

    with_server(talk)


def test_searches_in_the_folder_that_a_user_names_can_be_looked_at(folder, with_server) -> None:
    async def talk(session: ClientSession, ask: Ask) -> None:
        assert await ask("runs") == ["first"]
        assert (await ask("status", run="first"))["candidates"] == 12
        (best,) = await ask("top", run="first", count=1, texts=True)
        assert load(best["text"]).cost.params == best["params"] == best["score"]
        for outside in ("../runs/first", str(folder / "runs" / "first"), "", ".", ".."):
            with pytest.raises(ValueError, match="expected the name of a run"):
                await ask("status", run=outside)

    with_server(talk)
